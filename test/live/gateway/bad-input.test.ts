import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { ensureIndex } from "../../../src/index/csplade-index.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster, testIndexRequest } from "../../support/test-index.js";

interface Refusal {
  readonly status: number;
  readonly error: {
    readonly type: string;
    readonly reason: string;
    readonly root_cause: readonly { readonly type: string; readonly reason: string }[];
    readonly line?: number;
    readonly col?: number;
  };
}

describe("bad input to the gateway's search proxy", () => {
  let gateway: TestGateway;
  let cluster: Cluster;
  let index: string;
  let nested: string;
  let foreign: string;

  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    gateway = await startTestGateway({ "opensearch.url": testServers().opensearchUrl });
    index = await fillEncodedIndex(cluster, gateway.encoder);
    nested = await fillEncodedIndex(cluster, gateway.encoder, "nested");
    const request = testIndexRequest();
    foreign = request.name;
    await ensureIndex(cluster, request);
    await cluster.demand(
      { method: "PUT", path: `/${index}-plain` },
      "Adding an index without vectors",
    );
  });
  after(async () => {
    for (const name of [index, nested, foreign, `${index}-plain`]) {
      await cluster.send({ method: "DELETE", path: `/${name}` });
    }
    await gateway.stop();
    await cluster.close();
  });

  async function refusal(path: string, body: unknown): Promise<Refusal> {
    const answer = await gateway.post(path, body);
    const text = await answer.text();
    assert.ok(answer.status >= 400 && answer.status < 600, `${answer.status} ${text}`);
    const parsed = JSON.parse(text) as Refusal;
    assert.equal(parsed.status, answer.status, text);
    assert.ok(parsed.error.type.length > 0 && parsed.error.reason.length > 0, text);
    assert.equal(parsed.error.root_cause.length, 1);
    return parsed;
  }

  const clause = (options: unknown, where = (query: object): object => query) => ({
    query: where({ csplade: options }),
  });

  /** What is sent, and what the answer must say. */
  const cases: [what: string, body: () => unknown, status: number, reason: RegExp][] = [
    ["malformed JSON around a clause", () => '{"query":{"csplade":"x"},', 400, /not JSON/],
    [
      "an unknown option",
      () => clause({ query_txt: "x", query_text: "x" }),
      400,
      /\[query\.csplade\] does not support \[query_txt\]/,
    ],
    [
      "no question at all",
      () => clause({ boost: 2 }),
      400,
      /query\.csplade.*query_text or query_tokens/,
    ],
    ["two questions", () => clause({ query_text: "x", query_tokens: { 1: 1 } }), 400, /either/],
    ["a clause that is a number", () => clause(3), 400, /query\.csplade/],
    ["a NaN weight", () => '{"query":{"csplade":{"query_tokens":{"5":NaN}}}}', 400, /NaN/],
    [
      "a weight beyond float32",
      () => '{"query":{"csplade":{"query_tokens":{"5":1e39}}}}',
      400,
      /query_tokens\.5/,
    ],
    [
      "an infinite weight",
      () => '{"query":{"csplade":{"query_tokens":{"5":1e999}}}}',
      400,
      /query_tokens\.5/,
    ],
    ["a negative weight", () => clause({ query_tokens: { 7: -1 } }), 400, /query_tokens\.7/],
    ["a token that is no id", () => clause({ query_tokens: { cat: 1 } }), 400, /query_tokens\.cat/],
    [
      "a token beyond the vocabulary",
      () => clause({ query_tokens: { 99999: 1 } }),
      400,
      /99999, which is none of the model/,
    ],
    ["a boost of zero", () => clause({ query_text: "x", boost: 0 }), 400, /query\.csplade\.boost/],
    [
      "a ratio that does not fit",
      () => clause({ query_text: "x", prune_type: "max_ratio", prune_ratio: 2 }),
      400,
      /prune_ratio/,
    ],
    [
      "a second key beside the clause",
      () => ({ query: { csplade: "x", match_all: {} } }),
      400,
      /one key/,
    ],
    [
      "a clause deep inside",
      () =>
        clause({ query_text: 1 }, (query) => ({
          bool: { must: [{ match_all: {} }, { bool: { should: query } }] },
        })),
      400,
      /query\.bool\.must\[1\]\.bool\.should\.csplade\.query_text/,
    ],
    [
      "a clause in an aggregation",
      () => ({ size: 0, aggs: { a: { filter: { csplade: {} } } } }),
      400,
      /aggs\.a\.filter\.csplade/,
    ],
    [
      "a clause inside other nested documents",
      () => clause("x", (query) => ({ nested: { path: "comments", query } })),
      400,
      /comments/,
    ],
    [
      "a clause 200 queries deep",
      () => clause("x", (query) => deep(query, 200)),
      400,
      /nested more than 256 levels/,
    ],
    [
      "a clause 20,000 brackets deep",
      () => `{"query":${'{"bool":{"must":'.repeat(10_000)}{"csplade":"x"}${"}}".repeat(10_000)}}`,
      400,
      /nested more than 256 levels/,
    ],
    [
      "inner_hits of a wrong type",
      () => clause({ query_text: "x", inner_hits: 3 }),
      400,
      /inner_hits/,
    ],
    [
      "a query that the cluster does not know",
      () => ({ query: { bool: { must: [{ csplade: "x" }, { trem: {} }] } } }),
      400,
      /trem/,
    ],
  ];

  for (const [what, body, status, reason] of cases) {
    it(`answers ${what} with ${status}, naming it`, async () => {
      const refused = await refusal(`/${index}/_search`, body());
      assert.equal(refused.status, status, JSON.stringify(refused));
      assert.match(JSON.stringify(refused.error), reason);
    });
  }

  it("says in which line and column a clause is wrong", async () => {
    const { error } = await refusal(
      `/${index}/_search`,
      '{\n  "query": {\n    "csplade": { "query_text": "x", "boost": -1 }\n  }\n}',
    );
    assert.deepEqual([error.line, error.col], [3, 46]);
  });

  it("names the index: one that is not there, has no vectors, or another model's", async () => {
    const query = { csplade: "x" };
    const missing = await refusal(`/no-such-index/_search`, { query });
    assert.deepEqual([missing.status, missing.error.type], [404, "index_not_found_exception"]);
    const plain = await refusal(`/${index}-plain/_search`, { query });
    assert.match(plain.error.reason, /No index .*-plain holds CSPLADE vectors/);
    const other = await refusal(`/${foreign}/_search`, { query });
    assert.equal(other.error.type, "model_mismatch_exception");
    assert.match(other.error.reason, /model-a.*csplade-tiny-bi/);
    const both = await refusal(`/${index},${nested}/_search`, { query });
    assert.match(both.error.reason, /passages/);
  });

  it("searches for 100,000 words and texts in any script, cutting what the model cannot read", async () => {
    const texts = [
      "word ".repeat(100_000),
      "日本語の検索",
      "الأماكن المغلقة",
      "🙂🙃\u0000\u200b",
      "\ud83d",
    ];
    for (const text of texts) {
      const answer = await gateway.post(`/${index}/_search`, { query: { csplade: text } });
      assert.equal(answer.status, 200, await answer.clone().text());
      if (text.length > 1_000)
        assert.match(answer.headers.get("warning") ?? "", /its end was left out/);
    }
  });

  it("refuses an _msearch whole when one of its clauses is wrong, and says which", async () => {
    const lines = [
      { index },
      { query: { match_all: {} } },
      { index },
      { query: { csplade: { boost: 1 } } },
    ];
    const ndjson = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    const refused = await refusal("/_msearch", ndjson);
    assert.match(refused.error.reason, /search 2.*query\.csplade/);
  });
});

function deep(query: object, levels: number): object {
  let tree = query;
  for (let i = 0; i < levels; i++) tree = { bool: { must: tree } };
  return tree;
}
