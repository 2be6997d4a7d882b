import assert from "node:assert/strict";
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { connect, type AddressInfo } from "node:net";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import {
  startRecordingUpstream,
  type RecordingUpstream,
} from "../../support/recording-upstream.js";
import { answerLookups, send } from "../../support/sent-as-is.js";

describe("the gateway as a proxy", function () {
  this.timeout(60_000);
  let upstream: RecordingUpstream;
  let gateway: TestGateway;
  before(async () => {
    upstream = await startRecordingUpstream();
    gateway = await startTestGateway({ "opensearch.url": `${upstream.url}/prefix` });
  });
  beforeEach(() => {
    upstream.requests.length = 0;
    upstream.answer = (_request, response) => response.end("{}");
  });
  after(async () => {
    await gateway.stop();
    await upstream.close();
  });

  it("looks into bodies whatever the case of their type, and with a byte order mark", async () => {
    upstream.answer = answerLookups(() => gateway);
    for (const [type, body] of [
      ["Application/JSON; Charset=UTF-8", '{"query":{"csplade":"sleep"}}'],
      ["application/json", '\uFEFF{"query":{"csplade":"sleep"}}'],
    ] as const) {
      await send(`${gateway.url}/docs/_search`, "POST", { "content-type": type }, body);
      assert.match(upstream.requests.at(-1)!.body.toString(), /rank_feature/);
    }
  });

  it("asks the cluster nothing again for the same caller, whatever the headers of traces", async () => {
    upstream.answer = answerLookups(() => gateway);
    const ask = (headers: Readonly<Record<string, string>>) =>
      send(`${gateway.url}/docs/_search`, "POST", headers, '{"query":{"csplade":"sleep"}}');
    await ask({ authorization: "Basic dHJhY2U6eA==" });
    upstream.requests.length = 0;
    const traces = ["x-b3-traceid", "x-amzn-trace-id", "x-forwarded-for", "baggage", "x-any"];
    for (const [i, name] of traces.entries()) {
      await ask({ authorization: "Basic dHJhY2U6eA==", [name]: `${i}` });
    }
    assert.equal(upstream.requests.length, traces.length);
    await ask({ authorization: "Basic dHJhY2U6eA==", "x-forwarded-user": "another" });
    assert.ok(upstream.requests.length > traces.length + 1, "another user is another caller");
  });

  it("ends a request whose caller the cluster does not know before a clause is read", async () => {
    upstream.answer = (_request, response) => response.writeHead(401).end('{"status":401}');
    const clauses = Array.from(
      { length: 500 },
      () => '{"csplade":{"query_tokens":{"nonsense":1}}}',
    );
    const body = `{"query":{"bool":{"should":[${clauses.join(",")}]}}}`;
    const headers = { authorization: "Basic c3RyYW5nZXI6eA==" };
    assert.equal((await send(`${gateway.url}/docs/_search`, "POST", headers, body)).status, 401);
    const lines = Array.from(
      { length: 500 },
      (_, i) => `{"index":"i${i}"}\n{"query":{"csplade":"x"}}\n`,
    );
    const many = await send(
      `${gateway.url}/_msearch`,
      "POST",
      headers,
      lines.join("").slice(0, 20_000),
    );
    assert.equal(many.status, 401);
    assert.equal(upstream.requests.length, 2, "one look-up for each, and no other");
  });

  it("looks up so many different indices for one request and no more", async () => {
    upstream.answer = answerLookups(() => gateway);
    const lines = Array.from(
      { length: 200 },
      (_, i) => `{"index":"many-${i}"}\n{"query":{"csplade":"x"}}\n`,
    );
    const headers = { authorization: "Basic bWFueTp4" };
    const refused = await send(`${gateway.url}/_msearch`, "POST", headers, lines.join(""));
    assert.equal(refused.status, 413);
    assert.match(refused.body.toString(), /more than 64 different indices/);
    const lookups = upstream.requests.filter(({ url }) => url.includes("/_mapping"));
    assert.ok(lookups.length <= 64, `${lookups.length}`);
    assert.ok(!upstream.requests.some(({ url }) => url.endsWith("/_msearch")));
  });

  it("cuts off who sends headers slowly, with 408", async () => {
    const impatient = await startTestGateway({ "gateway.idle_timeout_ms": 200 });
    const { port } = new URL(impatient.url);
    const answer = await new Promise<string>((resolve) => {
      let all = "";
      const socket = connect(Number(port), "127.0.0.1", () => socket.write("GET / HTTP/1.1\r\nho"));
      socket.on("data", (data) => (all += data.toString()));
      socket.on("error", () => {});
      socket.on("close", () => resolve(all));
    });
    assert.match(answer, /^HTTP\/1.1 408 .*headers did not come in time/s);
    await impatient.stop();
  });

  it("refuses requests of other sites' pages, and lets programs and its own pages be", async () => {
    const { host } = new URL(gateway.url);
    const table: [string, Record<string, string>, number][] = [
      ["POST", { origin: "https://evil.example" }, 403],
      ["DELETE", { origin: "null" }, 403],
      ["GET", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" }, 403],
      ["POST", { "sec-fetch-site": "same-site", "sec-fetch-mode": "navigate" }, 403],
      ["GET", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" }, 200],
      ["POST", { origin: `http://${host}`, "sec-fetch-site": "same-origin" }, 200],
      ["POST", {}, 200],
    ];
    for (const [method, headers, status] of table) {
      const answer = await send(`${gateway.url}/docs/_doc/1`, method, headers, undefined);
      assert.equal(answer.status, status, JSON.stringify([method, headers]));
    }
  });

  it("keeps idle connections longer than clients and balancers do", async () => {
    const { headers } = await send(`${gateway.url}/x`, "GET", { connection: "keep-alive" });
    const given = String(headers["keep-alive"]);
    assert.ok(Number(/timeout=(\d+)/.exec(given)?.[1]) >= 600, given);
  });

  it("passes hundreds of the cluster's warnings on", async () => {
    const warnings = Array.from({ length: 400 }, (_, i) => [
      "warning",
      `299 t "${"w".repeat(200)} ${i}"`,
    ]);
    upstream.answer = (_request, response) => response.writeHead(200, warnings.flat()).end();
    const count = await new Promise<number>((resolve, reject) => {
      const options = { maxHeaderSize: 1_000_000 };
      httpRequest(`${gateway.url}/x`, options, (response) => {
        response.resume();
        resolve(response.rawHeaders.filter((name) => name.toLowerCase() === "warning").length);
      })
        .on("error", reject)
        .end();
    });
    assert.equal(count, 400);
  });

  it("waits with a body until the cluster wants it, and gives an early refusal at once", async () => {
    const early = createServer();
    let wanted = false;
    early.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
      if (request.url?.includes("large") === true) response.writeHead(413).end("too large");
      else {
        wanted = true;
        response.writeContinue();
        request.resume().once("end", () => response.end("taken"));
      }
    });
    // An answer while the body still comes, and the rest thrown away, as clusters do it.
    early.on("request", (request: IncomingMessage, response: ServerResponse) => {
      request.once("data", () => response.writeHead(413).end("too large"));
      request.resume();
    });
    await new Promise<void>((resolve) => early.listen(0, "127.0.0.1", resolve));
    const other = await startTestGateway({
      "opensearch.url": `http://127.0.0.1:${(early.address() as AddressInfo).port}`,
    });
    const upload = (path: string, headers: Record<string, string>) =>
      new Promise<[number, string, boolean]>((resolve, reject) => {
        let asked = false;
        const request = httpRequest(
          other.url + path,
          { method: "POST", headers: { "transfer-encoding": "chunked", ...headers } },
          (response) => {
            let text = "";
            response.on("data", (chunk: Buffer) => (text += chunk.toString()));
            response.on("end", () => resolve([response.statusCode ?? 0, text, asked]));
          },
        ).on("error", reject);
        const body = Buffer.alloc(20_000_000, "x");
        if (headers.expect === undefined) request.end(body);
        else {
          request.on("continue", () => {
            asked = true;
            request.end(body);
          });
          request.flushHeaders();
        }
      });
    const expect = "100-continue";
    assert.deepEqual(await upload("/_bulk", { expect }), [200, "taken", true]);
    assert.ok(wanted);
    assert.deepEqual(await upload("/large/_bulk", { expect }), [413, "too large", false]);
    assert.deepEqual(await upload("/_bulk", {}), [413, "too large", false]);
    await other.stop();
    early.closeAllConnections();
    early.close();
  });

  it("gives its old names away to indices, and keeps its own path", async () => {
    upstream.answer = ({ method, url }, response) =>
      method === "HEAD" && url.endsWith("/metrics")
        ? response.end()
        : response.writeHead(404).end();
    const headers = { authorization: "Basic bmFtZXM6eA==" };
    await send(`${gateway.url}/metrics`, "GET", headers);
    assert.deepEqual(
      upstream.requests.map(({ method, url }) => `${method} ${url}`),
      ["HEAD /prefix/metrics", "GET /prefix/metrics"],
    );
    for (const path of ["/health", "/_csplade/health", "/_csplade/metrics", "/_csplade/ready"]) {
      for (const method of ["GET", "HEAD"]) {
        assert.equal((await send(gateway.url + path, method, headers)).status, 200, path);
      }
    }
    assert.equal((await send(`${gateway.url}/_csplade/encode`, "GET", headers)).status, 405);
    const encoded = await send(
      `${gateway.url}/_csplade/encode`,
      "POST",
      {},
      '\uFEFF{"text":"sleep"}',
    );
    assert.equal(encoded.status, 200);
  });
});
