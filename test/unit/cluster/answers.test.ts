import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { Client as ElasticClient } from "@elastic/elasticsearch";
import { Client } from "@opensearch-project/opensearch";
import { clusterOf, type Cluster } from "../../../src/cluster/client-cluster.js";
import { liftSources } from "../../../src/cluster/lifted-sources.js";
import type { CspladeError } from "../../../src/errors/csplade-error.js";
import { startFront, type Front } from "../../support/front.js";

const DOCUMENTS = [
  '{"n":9007199254740993,"price":1.0}',
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '{/* the cluster takes comments */"a":"]}"}',
];
const PAGE = `{"took":1,"hits":{"total":1,"hits":[${DOCUMENTS.map(
  (text, i) => `{"_id":"${i}","_source":${text}}`,
).join(",")}]},"_source":"not a document"}`;

const answers: Readonly<Record<string, string>> = {
  "/page": PAGE,
  "/broken": '{"took":1,',
  "/refused": '{"error":{"type":"t","reason":"__proto__"},"status":400}',
};

for (const [name, open] of [
  ["OpenSearch's client", (node: string) => new Client({ node })],
  ["Elasticsearch's client", (node: string) => new ElasticClient({ node })],
] as const) {
  describe(`answers through ${name}`, () => {
    let front: Front;
    let cluster: Cluster;

    before(async () => {
      front = await startFront((request, response) => {
        const path = request.url ?? "";
        response.setHeader("x-elastic-product", "Elasticsearch");
        response.setHeader("content-type", "application/json");
        if (path === "/plain") {
          response.setHeader("content-type", "text/plain").end("1.0");
        } else if (path === "/packed") {
          response.setHeader("content-encoding", "gzip").end(gzipSync(PAGE));
        } else if (path === "/stops") {
          response.write('{"took":');
        } else if (path === "/cut") {
          response.setHeader("content-length", "100");
          response.write('{"took":');
          setTimeout(() => response.destroy(), 20);
        } else {
          response.statusCode = path === "/refused" ? 400 : path === "/absent" ? 404 : 200;
          response.end(request.method === "HEAD" ? undefined : (answers[path] ?? "{}"));
        }
      });
      const client = open(front.url);
      cluster = clusterOf(client, { url: front.url, close: () => client.close() });
    });
    after(async () => {
      await cluster.close();
      await front.stop();
    });

    const codeOf = (path: string, more: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
      cluster.send({ method: "GET", path, ...more }).then(
        () => "none",
        (thrown: unknown) => (thrown as CspladeError).code,
      );

    for (const path of ["/page", "/packed"]) {
      it(`are the text that came, whatever documents are in it (${path})`, async () => {
        const text = await cluster.demandText({ method: "GET", path }, "Reading");
        assert.equal(text, PAGE);
        const { answer, sources } = liftSources(text, ["hits", "hits"], "test");
        assert.deepEqual(sources, DOCUMENTS);
        assert.deepEqual((answer as { hits: { hits: unknown[] } }).hits.hits[2], {
          _id: "2",
          _source: 2,
        });
      });
    }

    it("are values whatever keys are in them, and pollute nothing", async () => {
      const { body } = await cluster.send({ method: "GET", path: "/page" });
      const [, second] = (body as { hits: { hits: { _source: object }[] } }).hits.hits;
      assert.deepEqual(Object.keys(second?._source ?? {}), ["__proto__"]);
      assert.equal(({} as Record<string, unknown>).polluted, undefined);
    });

    it("are told apart from a cluster that is away, by their codes", async () => {
      assert.equal(await codeOf("/broken"), "cluster_answer_invalid");
      assert.equal(await codeOf("/cut"), "cluster_unreachable");
      assert.equal(await codeOf("/stops", { timeoutMs: 100 }), "deadline_exceeded");
      const signal = AbortSignal.timeout(50);
      assert.equal(await codeOf("/stops", { timeoutMs: 5_000, signal }), "aborted");
    });

    it("keep their status, and what is no JSON stays text", async () => {
      const refused = await cluster.send({ method: "GET", path: "/refused" });
      assert.equal(refused.status, 400);
      await assert.rejects(
        cluster.demand({ method: "GET", path: "/refused" }, "Asking"),
        /t: __proto__/,
      );
      assert.equal((await cluster.send({ method: "GET", path: "/plain" })).body, "1.0");
      for (const [path, there] of [
        ["/page", true],
        ["/absent", false],
      ] as const) {
        assert.equal((await cluster.send({ method: "HEAD", path })).body, there);
      }
    });
  });
}
