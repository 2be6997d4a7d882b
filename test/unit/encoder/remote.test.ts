/** Encoding by a server: a real gateway, and a front that answers as text-embeddings-inference does. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const texts = [
  "A fear of closed spaces.",
  "",
  "Stars and fossils 🙂 naïve. ".repeat(120),
  ...Array.from({ length: 40 }, (_, i) => `Text number ${i} about subject ${i % 7}.`),
];

/** Before a gateway: answers each request with a status first, and then passes it on or not. */
async function startFront(answer: (path: string, body: unknown) => Promise<[number, unknown]>) {
  const server = createServer((request, response) => {
    void (async () => {
      const body = request.method === "POST" ? await json(request) : undefined;
      const [status, said] = await answer(request.url ?? "", body);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(said));
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { server, url: `http://127.0.0.1:${port}` };
}

const shut = (server: Server) => {
  server.closeAllConnections();
  return new Promise<void>((resolve) => server.close(() => resolve()));
};

for (const variant of ["bi", "lexical"] as const) {
  describe(`an encoder of a gateway (${variant})`, function () {
    this.timeout(60_000);
    let gateway: TestGateway;
    let remote: Encoder;
    const path = { "model.path": tinyCheckpoint(variant) };
    before(async () => {
      gateway = await startTestGateway({ ...path, "gateway.api_key": "secret" });
      remote = await openEncoder(
        testConfig({ ...path, "model.remote": gateway.url, "model.remote_key": "secret" }),
      );
    });
    after(async () => {
      await remote.close();
      await gateway.stop();
    });

    for (const options of [{}, { merged: true, words: true }, { max_passages: 1 }]) {
      it(`gives what one in this process gives, with ${JSON.stringify(options)}`, async () => {
        const here = await gateway.encoder.encodeDocuments(texts, options);
        assert.deepEqual(await remote.encodeDocuments(texts, options), here);
        assert.ok((here[2]?.passages.length ?? 0) >= 1);
      });
    }

    it("gives the same for questions, and counts and tells its health", async () => {
      const some = texts.slice(0, 20);
      const here = await gateway.encoder.encodeQueries(some);
      assert.deepEqual(await remote.encodeQueries(some), here);
      assert.deepEqual(await remote.literals(some), await gateway.encoder.literals(some));
      assert.ok(remote.totals().tokens > 0);
      assert.equal(remote.health().state, "ready");
    });
  });
}

describe("an encoder of a server", function () {
  this.timeout(60_000);
  let gateway: TestGateway;
  before(async () => (gateway = await startTestGateway()));
  after(() => gateway.stop());

  const open = (url: string, more = {}) =>
    openEncoder(testConfig({ "model.remote": url, ...more }));

  it("is refused where the server has another model, before any work", async () => {
    const wrong = open(gateway.url, { "model.path": tinyCheckpoint("lexical") });
    await assert.rejects(wrong, { code: "model_mismatch" });
  });

  it("waits for a server that is busy or away, and takes no text for the cause", async () => {
    let refusals = 0;
    const { server, url } = await startFront(async (path, body) => {
      if (path === "/encode" && refusals++ < 3) return [[429, 503, 500][refusals - 1] ?? 429, {}];
      const answer = body === undefined ? fetch(gateway.url + path) : gateway.post(path, body);
      const { status } = await answer;
      return [status, await (await answer).json()];
    });
    const remote = await open(url);
    const some = texts.slice(0, 5);
    assert.deepEqual(
      await remote.encodeDocuments(some),
      await gateway.encoder.encodeDocuments(some),
    );
    assert.equal(refusals, 4);
    await remote.close();
    await shut(server);
  });

  it("ends with device_failed where the server stays away or forbids it, and is broken then", async () => {
    let status = 401;
    const { server, url } = await startFront(async (path) =>
      path === "/encode"
        ? [status, { error: "no" }]
        : [200, await (await fetch(gateway.url + path)).json()],
    );
    for (status of [401, 503]) {
      const remote = await open(url, { "write.max_wait_ms": 1_000 });
      await assert.rejects(remote.encodeDocuments(["a text"]), { code: "device_failed" });
      assert.equal(remote.broken.aborted, true);
      assert.equal(remote.health().state, "broken");
      await remote.close();
    }
    await shut(server);
    await assert.rejects(open(url, { "write.max_wait_ms": 500 }), { code: "device_failed" });
  });

  it("fails only the text that the server refuses while it takes others; refusing all, the server is at fault", async () => {
    let all = false;
    const { server, url } = await startFront(async (path, body) => {
      if (body === undefined) return [200, await (await fetch(gateway.url + path)).json()];
      const { texts: asked } = body as { texts: string[] };
      if (all || asked.includes("bad")) return [413, { error: "too large" }];
      return [200, await (await gateway.post(path, body)).json()];
    });
    const remote = await open(url);
    const some = ["one", "two", "bad", "three"];
    const encoded = await remote.encodeDocuments(some);
    assert.deepEqual(
      encoded.map(({ failure }) => failure !== undefined),
      [false, false, true, false],
    );
    all = true;
    await assert.rejects(remote.encodeDocuments(some), { code: "device_failed" });
    await remote.close();
    await shut(server);
  });

  it("is text-embeddings-inference too, which encodes passages that are cut here", async () => {
    const { server, url } = await startFront(async (path, body) => {
      if (path === "/info") return [200, { model_id: "someone/splade" }];
      if (path !== "/embed_sparse") return [404, {}];
      const answer = await gateway.post(path, body);
      return [answer.status, await answer.json()];
    });
    const remote = await open(url);
    const some = texts.slice(0, 8);
    const here = await gateway.encoder.encodeDocuments(some);
    const there = await remote.encodeDocuments(some);
    assert.deepEqual(
      there.map(({ passages }) => passages.map(({ start, end }) => [start, end])),
      here.map(({ passages }) => passages.map(({ start, end }) => [start, end])),
    );
    const [one] = there[0]?.passages ?? [];
    assert.deepEqual(one?.vector.ids, here[0]?.passages[0]?.vector.ids);
    assert.deepEqual(one?.vector.weights, here[0]?.passages[0]?.vector.weights);
    await remote.close();
    const lexical = open(url, { "model.path": tinyCheckpoint("lexical") });
    await assert.rejects(lexical, { code: "provider_unsuitable" });
    await shut(server);
  });
});
