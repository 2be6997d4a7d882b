import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import net from "node:net";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import {
  startRecordingUpstream,
  type RecordingUpstream,
} from "../../support/recording-upstream.js";
import { answerLookups, send } from "../../support/sent-as-is.js";

describe("forwarding", function () {
  this.timeout(60_000);
  let upstream: RecordingUpstream;
  let gateway: TestGateway;
  before(async () => {
    upstream = await startRecordingUpstream();
    const { host } = new URL(upstream.url);
    gateway = await startTestGateway({
      "opensearch.url": `http://own:secret@${host}/prefix`,
      "gateway.max_body_bytes": 100_000,
    });
  });
  beforeEach(() => {
    upstream.requests.length = 0;
    upstream.answer = (_request, response) => response.end("{}");
  });
  after(async () => {
    await gateway.stop();
    await upstream.close();
  });

  it("passes method, path, headers and body on as they came, whatever they are", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"),
        fc.constantFrom(
          "/",
          "/a%2Fb/_doc/%C3%A4?x=%20",
          "/_bulk",
          "/i/_search",
          "/%zz",
          "/i/_msearch?a=b",
        ),
        fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes)),
        async (method, path, body) => {
          upstream.requests.length = 0;
          const headers = { "Content-Type": "application/json", "X-Odd-Case": "O" };
          await send(
            gateway.url + path,
            method,
            { ...headers, "content-length": String(body.length) },
            body,
          );
          const [got] = upstream.requests;
          assert.equal(got?.method, method);
          assert.equal(got.url, `/prefix${path}`);
          assert.ok(got.body.equals(body));
          assert.equal(got.rawHeaders[got.rawHeaders.indexOf("X-Odd-Case") + 1], "O");
        },
      ),
      { numRuns: 60 },
    );
  });

  it("leaves every search without a csplade clause byte-identical, numbers beyond JavaScript's included", async () => {
    const spaced =
      '{ "query" : {"terms":{"id":[12345678901234567890, 1.0, 1e2]}}, /* csplade */ "size":1 }\n';
    for (const body of [
      spaced,
      '{"aggs":{"csplade":{"terms":{"field":"csplade"}}}}',
      "{broken csplade",
    ]) {
      await send(
        `${gateway.url}/docs/_search`,
        "POST",
        { "content-type": "application/json" },
        body,
      );
      assert.equal(upstream.requests.at(-1)!.body.toString(), body);
    }
    const packed = gzipSync('{"query":{"match_all":{}}}');
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    await send(`${gateway.url}/docs/_search`, "POST", headers, packed);
    assert.ok(upstream.requests.at(-1)!.body.equals(packed));
    assert.equal(upstream.requests.at(-1)!.headers["content-encoding"], "gzip");
  });

  it("leaves random bodies byte-identical that say csplade everywhere but where a query stands", async () => {
    const name = fc.constantFrom("csplade", "query", "bool", "must", "filter", "aggs", "x");
    const { json } = fc.letrec<{ json: unknown }>((tie) => ({
      json: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom<unknown>("csplade", 1, null, 12.5),
        fc.array(tie("json"), { maxLength: 3 }),
        fc.dictionary(name, tie("json"), { maxKeys: 3 }),
      ),
    }));
    const query = fc.constantFrom({ match: { csplade: "x" } }, { bool: {} }, { csplades: {} });
    const body = fc.record(
      {
        query,
        script_fields: json.map((params) => ({ csplade: { script: { source: "1", params } } })),
        runtime_mappings: json,
        _source: json,
        suggest: json,
        ext: json,
        aggs: json.map((csplade) => ({ csplade: { terms: csplade } })),
        csplade: json,
      },
      { requiredKeys: ["query", "csplade"] },
    );
    await fc.assert(
      fc.asyncProperty(body, fc.nat({ max: 3 }), async (search, indent) => {
        const text = JSON.stringify(search, null, indent);
        await send(`${gateway.url}/docs/_search`, "POST", {}, text);
        assert.equal(upstream.requests.at(-1)!.body.toString(), text);
        assert.match(upstream.requests.at(-1)!.url, /_search$/);
      }),
      { numRuns: 100 },
    );
  });

  it("changes only the clause of a search, packed or not", async () => {
    upstream.answer = answerLookups(() => gateway);
    const before =
      '{"size":3, "query":{"bool":{"filter":{"term":{"id":12345678901234567890}},"must":';
    const after = '}},\n "track_total_hits" : true}';
    const body = `${before}{"csplade":"sleep"}${after}`;
    for (const [packed, encoding] of [
      [Buffer.from(body), undefined],
      [gzipSync(body), "gzip"],
    ] as const) {
      await send(
        `${gateway.url}/docs/_search`,
        "POST",
        {
          "content-type": "application/vnd.elasticsearch+json; compatible-with=8",
          ...(encoding === undefined ? {} : { "content-encoding": encoding }),
        },
        packed,
      );
      const got = upstream.requests.at(-1)!;
      const text = got.body.toString();
      assert.ok(text.startsWith(before) && text.endsWith(after), text);
      assert.match(text, /"rank_feature":\{"field":"csplade\.\d+"/);
      assert.equal(got.headers["content-encoding"], undefined);
      assert.equal(got.headers["content-length"], String(got.body.length));
      assert.match(got.headers["content-type"]!, /vnd\.elasticsearch/);
    }
  });

  it("uses the caller's credentials for everything it asks, and its own for nothing", async () => {
    upstream.answer = answerLookups(() => gateway);
    const body = '{"query":{"csplade":"sleep"}}';
    for (const authorization of ["Basic YTpi", "ApiKey xyz", undefined]) {
      upstream.requests.length = 0;
      await send(
        `${gateway.url}/docs/_search`,
        "POST",
        authorization === undefined ? {} : { authorization },
        body,
      );
      // Without credentials the test before has asked already.
      const asked = authorization === undefined ? 1 : 4;
      assert.ok(upstream.requests.length >= asked, "what one caller saw is not for another");
      for (const request of upstream.requests) {
        assert.equal(request.headers.authorization, authorization);
      }
    }
    upstream.requests.length = 0;
    await send(`${gateway.url}/docs/_search`, "POST", { authorization: "ApiKey xyz" }, body);
    assert.equal(upstream.requests.length, 1, "the same caller's look-ups are remembered");
  });

  it("passes the cluster's refusal of a look-up on: no search is sent in its place", async () => {
    const refusal = {
      error: { type: "security_exception", reason: "no permissions" },
      status: 403,
    };
    upstream.answer = (_request, response) => {
      response.writeHead(403, { "content-type": "application/json" });
      response.end(JSON.stringify(refusal));
    };
    const body = '{"query":{"csplade":"sleep"}}';
    const answer = await send(`${gateway.url}/secret/_search`, "POST", {}, body);
    assert.equal(answer.status, 403);
    assert.deepEqual(JSON.parse(answer.body.toString()), refusal);
    assert.ok(upstream.requests.every((request) => !request.url.includes("_search")));
  });

  it("streams answers as they come, and tells the cluster when the client goes away", async () => {
    let finish = () => {};
    upstream.answer = (_request, response) => {
      response.writeHead(200, { "x-own": "kept", "content-encoding": "gzip" });
      response.write("first");
      finish = () => response.end("last");
    };
    const answer = await new Promise<{ first: string; rest: Promise<string>; own: unknown }>(
      (resolve) => {
        httpRequest(`${gateway.url}/x`, (response) => {
          let all = "";
          const rest = new Promise<string>((done) => response.on("end", () => done(all)));
          response.once("data", (chunk: Buffer) =>
            resolve({ first: chunk.toString(), rest, own: response.headers["x-own"] }),
          );
          response.on("data", (chunk: Buffer) => (all += chunk.toString()));
        }).end();
      },
    );
    assert.equal(answer.first, "first");
    assert.equal(answer.own, "kept");
    finish();
    assert.equal(await answer.rest, "firstlast");

    const abandoned = new Promise<void>((resolve) => (upstream.onAbandoned = resolve));
    upstream.answer = () => {};
    const request = httpRequest(`${gateway.url}/slow`);
    request.on("error", () => {});
    request.end();
    setTimeout(() => request.destroy(), 100);
    await abandoned;
  });

  it("streams a body larger than the limit to any route, and refuses it only where a clause is in it", async () => {
    const large = Buffer.alloc(3_000_000, "x");
    const ndjson = { "content-type": "application/x-ndjson" };
    for (const path of ["/_bulk", "/_msearch", "/x/_search"]) {
      for (const framing of [{}, { "transfer-encoding": "chunked" }]) {
        await send(gateway.url + path, "POST", { ...ndjson, ...framing }, large);
        assert.ok(upstream.requests.at(-1)!.body.equals(large), path);
      }
    }
    const clause = Buffer.concat([Buffer.from('{"query":{"csplade":"'), large]);
    const refused = await send(`${gateway.url}/_msearch`, "POST", ndjson, clause);
    assert.equal(refused.status, 413);
    assert.match(refused.body.toString(), /max_body_bytes/);
    // What cannot be unpacked, or not within the limit, is the cluster's to judge.
    for (const [encoding, body] of [
      ["gzip", gzipSync(Buffer.alloc(3_000_000, " "))],
      ["gzip", Buffer.from("no gzip")],
      ["constructor", Buffer.from("{}")],
    ] as const) {
      const packed = { "content-type": "application/json", "content-encoding": encoding };
      await send(`${gateway.url}/x/_search`, "POST", packed, body);
      assert.ok(upstream.requests.at(-1)!.body.equals(body));
    }
  });

  it("cuts the connection when the cluster breaks off in the middle of an answer", async () => {
    upstream.answer = (_request, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write("part");
      setTimeout(() => response.destroy(), 20);
    };
    await assert.rejects(send(`${gateway.url}/x`, "GET", {}));
  });

  it("survives clients that leave at any moment", async () => {
    const lookups = answerLookups(() => gateway);
    upstream.answer = (request, response) => {
      if (!request.url.includes("_search")) lookups(request, response);
      else {
        response.write("[");
        setTimeout(() => response.end("]"), 15);
      }
    };
    const bodies = [
      '{"query":{"csplade":"sleep"}}',
      "x".repeat(90_000),
      '{"query":{"match_all":{}}}',
    ];
    const leaving = Array.from({ length: 200 }, (_, i) => {
      const path = ["/docs/_search", "/encode", "/docs/_bulk", "/_csplade/compare"][i % 4] ?? "/";
      return new Promise<void>((resolve) => {
        const body = bodies[i % bodies.length] ?? "";
        const headers = { "content-length": String(body.length + (i % 5 === 0 ? 10 : 0)) };
        const request = httpRequest(gateway.url + path, { method: "POST", headers });
        request.on("error", () => {});
        request.on("close", resolve);
        request.on("response", (response) => response.resume().on("error", () => {}));
        request.write(body);
        if (i % 5 !== 0) request.end();
        setTimeout(() => request.destroy(), (i * 7) % 40);
      });
    });
    await Promise.all(leaving);
    const answer = await send(`${gateway.url}/encode`, "POST", {}, '{"text":"still here"}');
    assert.equal(answer.status, 200);
    const metrics = (await send(`${gateway.url}/_csplade/metrics`, "GET", {})).body.toString();
    assert.match(metrics, /^csplade_encode_queue_texts 0$/m);
  });

  it("answers what is no HTTP with 400, and stays up", async () => {
    const { port } = new URL(gateway.url);
    const reply = await new Promise<string>((resolve) => {
      const socket = net.connect(Number(port), "127.0.0.1", () => socket.write("nonsense\r\n\r\n"));
      socket.once("data", (data) => resolve(data.toString()));
    });
    assert.match(reply, /400 Bad Request/);
    assert.equal((await send(`${gateway.url}/health`, "GET", {})).status, 200);
  });
});

describe("forwarding to a cluster that does not answer", function () {
  this.timeout(60_000);
  it("says that it cannot be reached: 502 in the cluster's error shape", async () => {
    const gateway = await startTestGateway();
    for (const path of ["/", "/x/_search"]) {
      const body = path === "/" ? undefined : '{"query":{"csplade":"sleep"}}';
      const answer = await send(gateway.url + path, body === undefined ? "GET" : "POST", {}, body);
      assert.equal(answer.status, 502);
      const { error, status } = JSON.parse(answer.body.toString()) as {
        error: { type: string; root_cause: unknown[] };
        status: number;
      };
      assert.deepEqual(
        [error.type, error.root_cause.length, status],
        ["cluster_unreachable_exception", 1, 502],
      );
    }
    await gateway.stop();
  });

  it("leaves no socket hanging whose body does not come: own routes and searches", async () => {
    const gateway = await startTestGateway({ "gateway.request_timeout_ms": 300 });
    for (const path of ["/encode", "/x/_search"]) {
      const { port } = new URL(gateway.url);
      const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{`;
      const reply = await new Promise<string>((resolve) => {
        let all = "";
        const socket = net.connect(Number(port), "127.0.0.1", () => socket.write(head));
        socket.on("data", (data) => (all += data.toString()));
        socket.on("error", () => {});
        socket.on("close", () => resolve(all));
      });
      if (path !== "/encode") assert.match(reply, /504 .*deadline_exceeded/s);
    }
    await gateway.stop();
  });

  it("refuses more clauses in one search than texts are encoded at once, with 413", async () => {
    const upstream = await startRecordingUpstream();
    const gateway = await startTestGateway({ "opensearch.url": `${upstream.url}/prefix` });
    upstream.answer = answerLookups(() => gateway);
    const should = Array.from({ length: 300 }, (_, i) => ({ csplade: `question ${i}` }));
    const answer = await gateway.post("/docs/_search", { query: { bool: { should } } });
    assert.equal(answer.status, 413, await answer.clone().text());
    assert.match(await answer.text(), /300 csplade clauses; at most 256/);
    await gateway.stop();
    await upstream.close();
  });

  it("gives up after gateway.upstream_timeout_ms with 504", async () => {
    const upstream = await startRecordingUpstream();
    upstream.answer = () => {};
    const gateway = await startTestGateway({
      "opensearch.url": upstream.url,
      "gateway.upstream_timeout_ms": 1_000,
    });
    const answer = await send(`${gateway.url}/x`, "GET", {});
    assert.equal(answer.status, 504);
    await gateway.stop();
    await upstream.close();
  });
});
