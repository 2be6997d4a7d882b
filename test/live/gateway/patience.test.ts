import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Agent, createServer, request as httpRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { answerLookups, send } from "../../support/sent-as-is.js";

const MINUTE_AND_MORE_MS = 70_000;

/** What no real cluster does when it is asked to: silence for 70 seconds, and an upload that is only counted. */
describe("large, slow and hostile requests", function () {
  this.timeout(300_000);
  let upstream: Server;
  let gateway: TestGateway;
  const connections = new Set<unknown>();

  before(async () => {
    const lookups = answerLookups(() => gateway);
    upstream = createServer((request, response) => {
      const { method = "", url = "", rawHeaders, headers } = request;
      const hash = createHash("sha256");
      let bytes = 0;
      request.on("data", (chunk: Buffer) => {
        hash.update(chunk);
        bytes += chunk.length;
      });
      request.on("end", () => {
        if (url.endsWith("/slow/_search"))
          setTimeout(() => response.end("late"), MINUTE_AND_MORE_MS);
        else if (url.endsWith("/_bulk")) response.end(`${bytes} ${hash.digest("hex")}`);
        else lookups({ method, url, rawHeaders, headers, body: Buffer.alloc(0) }, response);
      });
    });
    await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
    gateway = await startTestGateway({
      "opensearch.url": `http://127.0.0.1:${(upstream.address() as AddressInfo).port}/prefix`,
      "gateway.rules": [{ index: "*", fields: ["text"], vector_fields: ["emb"] }],
    });
  });
  after(async () => {
    await gateway.stop();
    upstream.closeAllConnections();
    upstream.close();
  });

  it("waits for a search of 70 seconds, and keeps a connection that was idle as long", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    agent.on("free", (socket: unknown) => connections.add(socket));
    const get = () =>
      new Promise<number | undefined>((resolve, reject) => {
        httpRequest(`${gateway.url}/x`, { agent }, (response) => {
          connections.add(response.socket);
          response.resume().once("end", () => resolve(response.statusCode));
        })
          .on("error", reject)
          .end();
      });
    const idle = async () => {
      assert.equal(await get(), 200);
      await sleep(MINUTE_AND_MORE_MS);
      assert.equal(await get(), 200);
    };
    const [late] = await Promise.all([
      send(`${gateway.url}/slow/_search`, "POST", {}, '{"query":{"match_all":{}}}'),
      idle(),
    ]);
    assert.deepEqual([late.status, late.body.toString()], [200, "late"]);
    assert.equal(connections.size, 1, "the idle connection was used again");
    agent.destroy();
  });

  for (const framing of ["chunked", "of a known length"] as const) {
    it(`passes 110 MB on, ${framing}`, async () => {
      const chunk = Buffer.from(`{"index":{}}\n{"text":"${"x".repeat(1_000_000)}"}\n`);
      const hash = createHash("sha256");
      const count = 110;
      const answer = await new Promise<string>((resolve, reject) => {
        const headers = {
          "content-type": "application/x-ndjson",
          ...(framing === "chunked" ? {} : { "content-length": String(count * chunk.length) }),
        };
        const options = { method: "POST", headers };
        const request = httpRequest(`${gateway.url}/_bulk`, options, (response) => {
          let text = "";
          response.on("data", (part: Buffer) => (text += part.toString()));
          response.on("end", () => resolve(text));
        }).on("error", reject);
        let sent = 0;
        const more = (): void => {
          while (sent < count) {
            sent += 1;
            hash.update(chunk);
            if (!request.write(chunk)) return void request.once("drain", more);
          }
          request.end();
        };
        more();
      });
      assert.equal(answer, `${count * chunk.length} ${hash.digest("hex")}`);
    });
  }

  const many = (count: number, text: string) => Array<string>(count).fill(text).join(",");
  const tokens = (count: number) => Array.from({ length: count }, (_, i) => `"${i}":1`).join(",");
  /** Bodies that once stopped everything for seconds. */
  const hostile: readonly (readonly [string, string, string])[] = [
    [
      "a pattern of stars",
      "/docs/_search",
      '{"query":{"multi_match":{"query":"hello world","fields":["**************x"]}}}',
    ],
    [
      "10 MB of terms beside a clause",
      "/docs/_search",
      `{"query":{"bool":{"must":[{"csplade":"sleep"},{"terms":{"id":[${many(1_200_000, '"1234"')}]}}]}}}`,
    ],
    [
      "200,000 clauses",
      "/docs/_search",
      `{"query":{"bool":{"should":[${many(200_000, '{"csplade":{"query_tokens":{"1":1}}}')}]}}}`,
    ],
    [
      "a vector of a million terms",
      "/docs/_search",
      `{"query":{"csplade":{"query_tokens":{${tokens(1_000_000)}}}}}`,
    ],
    [
      "20,000 indices",
      "/_msearch",
      Array.from(
        { length: 20_000 },
        (_, i) => `{"index":"i${i}"}\n{"query":{"csplade":"x"}}\n`,
      ).join(""),
    ],
    [
      "many questions for a rule",
      "/docs/_search",
      `{"query":{"bool":{"should":[${many(60_000, '{"match":{"text":"a b"}}')}]}}}`,
    ],
    ["a body of brackets", "/docs/_search", `{"csplade":${"[".repeat(5_000_000)}`],
    ["a long word", "/docs/_search", `{"query":{"csplade":"${"a".repeat(1_000_000)}"}}`],
  ];

  /** The longest time that nothing else came to its turn, milliseconds, while `work` goes on. */
  async function longestStop(work: () => Promise<unknown>): Promise<number> {
    let [longest, going, last] = [0, true, performance.now()];
    const tick = (): void => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      if (going) setTimeout(tick, 1);
    };
    tick();
    await work();
    going = false;
    return longest;
  }

  it("goes on with others' requests whatever is in a body", async () => {
    for (const [what, path, body] of hostile) {
      const bytes = Buffer.from(body);
      const stops: number[] = [];
      // Of several, since others use this machine as well.
      for (let i = 0; i < 3 && (stops.length === 0 || Math.min(...stops) > 250); i++) {
        stops.push(
          await longestStop(async () => {
            const answer = await send(
              gateway.url + path,
              "POST",
              { "content-type": "application/json", authorization: `Basic aG9zdGlsZTp4${i}` },
              bytes,
            );
            assert.ok(answer.status < 500, `${what}: ${answer.status} ${answer.body.toString()}`);
          }),
        );
      }
      assert.ok(
        Math.min(...stops) < 1_000,
        `${what} stopped the gateway for ${stops.join(", ")} ms`,
      );
    }
  });
});
