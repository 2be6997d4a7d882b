import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { search } from "../../../src/query/search.js";
import { toFeatures } from "../../../src/sparse/features.js";
import type { SparseVector } from "../../../src/sparse/sparse-vector.js";
import { SENTENCES, fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";

interface Answer {
  readonly hits: {
    readonly total: { readonly value: number };
    readonly hits: readonly {
      readonly _id: string;
      readonly _score: number | null;
      readonly matched_queries?: readonly string[];
      readonly inner_hits?: object;
    }[];
  };
  readonly aggregations?: Readonly<Record<string, { doc_count: number }>>;
  readonly _scroll_id?: string;
}

const QUESTION = "fear of closed spaces";
const CLAUSE = { csplade: QUESTION };
const ALL = { match_all: {} };

describe("the gateway's search proxy", () => {
  let gateway: TestGateway;
  let cluster: Cluster;
  let index: string;
  let nested: string;
  let vector: SparseVector;
  /** Ids and scores that a search of our own gives. */
  let expected: readonly (readonly [id: string, score: number])[];

  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    gateway = await startTestGateway({ "opensearch.url": testServers().opensearchUrl });
    index = await fillEncodedIndex(cluster, gateway.encoder);
    nested = await fillEncodedIndex(cluster, gateway.encoder, "nested");
    const [encoded] = await gateway.encoder.encodeQueries([QUESTION]);
    vector = encoded!.passages[0]!.vector;
    const { hits } = await search(cluster, { index, vector, size: 50 });
    expected = hits.map((hit) => [hit.id, hit.score]);
    assert.ok(expected.length > 5 && expected[0]![0] === "0");
  });
  after(async () => {
    for (const name of [index, nested]) await cluster.send({ method: "DELETE", path: `/${name}` });
    await gateway.stop();
    await cluster.close();
  });

  async function ask(path: string, body: unknown): Promise<unknown> {
    const answer = await gateway.post(path, body);
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    return JSON.parse(text) as unknown;
  }

  const searchIn = async (path: string, body: object) =>
    (await ask(path, { size: 50, ...body })) as Answer;
  const searched = (query: unknown, more: object = {}) =>
    searchIn(`/${index}/_search`, { query, ...more });

  function sameScores(answer: Answer, factor = 1): void {
    const found = answer.hits.hits.map((hit) => [hit._id, hit._score] as const);
    assert.deepEqual(found.map(([id]) => id).sort(), expected.map(([id]) => id).sort());
    for (const [id, score] of found) {
      const own = expected.find(([each]) => each === id)![1] * factor;
      assert.ok(Math.abs(score! - own) < 1e-4 * own, `${id}: ${score} is not ${own}`);
    }
  }

  it("turns a csplade clause into the weighted query, with the scores of our own search", async () => {
    sameScores(await searched(CLAUSE));
    sameScores(await searched({ csplade: { query_text: QUESTION } }));
    sameScores(await searched({ csplade: { query_text: QUESTION, boost: 2.5 } }), 2.5);
    sameScores(await searched({ csplade: { query_tokens: toFeatures(vector) } }));
    for (const dialect of ["rank_feature", "neural_sparse"]) {
      sameScores(await searched({ csplade: { query_text: QUESTION, dialect } }));
    }
    const cut = { query_text: QUESTION, prune_type: "top_k", prune_ratio: 1 };
    const few = await searched({ csplade: cut });
    assert.ok(few.hits.hits.length < expected.length);
  });

  it("does so in every query that scores", async () => {
    sameScores(await searched({ bool: { must: [{ match_all: { boost: 0 } }, CLAUSE] } }));
    sameScores(await searched({ bool: { should: CLAUSE } }));
    sameScores(await searched({ dis_max: { queries: [CLAUSE] } }));
    const functions = [{ filter: CLAUSE, weight: 3 }];
    sameScores(await searched({ function_score: { query: CLAUSE, functions } }), 3);
    const script = { source: "_score * 2" };
    sameScores(await searched({ script_score: { query: CLAUSE, script } }), 2);
    const negative = { match_none: {} };
    sameScores(await searched({ boosting: { positive: CLAUSE, negative, negative_boost: 0.1 } }));
    const hybrid = await searched({ hybrid: { queries: [{ match: { text: "fear" } }, CLAUSE] } });
    assert.ok(hybrid.hits.hits.length >= expected.length);
    const query = { rescore_query: CLAUSE, query_weight: 0, rescore_query_weight: 1 };
    const rescored = await searched(ALL, { rescore: { window_size: 50, query } });
    assert.equal(rescored.hits.hits[0]!._id, expected[0]![0]);
  });

  it("does so in every filter", async () => {
    const matching = async (query: unknown, more: object = {}) =>
      (await searched(query, more)).hits.hits.length;
    assert.equal(await matching({ bool: { filter: [CLAUSE] } }), expected.length);
    assert.equal(
      await matching({ bool: { must_not: CLAUSE } }),
      SENTENCES.length - expected.length,
    );
    assert.equal(await matching({ constant_score: { filter: CLAUSE } }), expected.length);
    assert.equal(await matching(ALL, { post_filter: CLAUSE }), expected.length);
    const counted = await searched(ALL, {
      aggs: {
        csplade: { filter: CLAUSE, aggs: { years: { max: { field: "year" } } } },
        both: { filters: { filters: { csplade: CLAUSE } } },
        pairs: { adjacency_matrix: { filters: { a: CLAUSE } } },
        best: {
          top_hits: { size: 1, highlight: { fields: { text: { highlight_query: CLAUSE } } } },
        },
      },
    });
    assert.equal(counted.aggregations!.csplade!.doc_count, expected.length);
    const sort = [{ "comments.stars": { order: "asc", mode: "min" } }];
    assert.equal(await matching(CLAUSE, { sort }), expected.length);
    const inner_hits = { name: "all", size: 2, sort: [{ year: "asc" }] };
    const collapse = { field: "kind.keyword", inner_hits };
    assert.equal(await matching(CLAUSE, { collapse }), 2);
  });

  it("keeps filter, sort, search_after, min_score, explain and names around it working", async () => {
    const filter = { range: { year: { lt: 1995 } } };
    const narrowed = await searched({ bool: { must: CLAUSE, filter } });
    assert.ok(narrowed.hits.hits.length > 0);
    assert.ok(narrowed.hits.hits.every((hit) => Number(hit._id) < 5));
    const sort = [{ _score: "desc" }, { year: "asc" }];
    const [first, second] = (await searched(CLAUSE, { sort, size: 2 })).hits.hits;
    const search_after = [first!._score, 1990 + Number(first!._id)];
    const next = await searched(CLAUSE, { sort, size: 1, search_after });
    assert.equal(next.hits.hits[0]!._id, second!._id);
    const min_score = expected[2]![1] - 1e-3;
    const strong = await searched(CLAUSE, { min_score, explain: true });
    assert.equal(strong.hits.hits.length, 3);
    const named = await searched({ csplade: { query_text: QUESTION, _name: "meaning" } });
    assert.deepEqual(named.hits.hits[0]!.matched_queries, ["meaning"]);
  });

  it("asks nested passages where the index keeps them so, wrapped once and only once", async () => {
    sameScores(await searchIn(`/${nested}/_search`, { query: CLAUSE }));
    const wrapped = { nested: { path: "csplade_passages", query: CLAUSE, score_mode: "max" } };
    sameScores(await searchIn(`/${nested}/_search`, { query: wrapped }));
    const shown = { csplade: { query_text: QUESTION, inner_hits: { size: 1, _source: false } } };
    const answer = await searchIn(`/${nested}/_search`, { query: shown });
    assert.equal(Object.keys(answer.hits.hits[0]!.inner_hits!).length, 1);
  });

  it("answers _count, _validate/query, _explain and _msearch", async () => {
    const query = CLAUSE;
    const { count } = (await ask(`/${index}/_count`, { query })) as { count: number };
    assert.equal(count, expected.length);
    const validated = (await ask(`/${index}/_validate/query`, { query })) as { valid: boolean };
    assert.equal(validated.valid, true);
    const explained = (await ask(`/${index}/_explain/0`, { query })) as {
      explanation: { value: number };
    };
    assert.ok(Math.abs(explained.explanation.value - expected[0]![1]) < 1e-4 * expected[0]![1]);
    const lines = [
      { index },
      { query, size: 50 },
      {},
      { query: ALL, size: 0 },
      { index: [nested] },
      { query, size: 50 },
    ];
    const ndjson = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    const many = (await ask(`/${index}/_msearch`, ndjson)) as { responses: Answer[] };
    sameScores(many.responses[0]!);
    assert.equal(many.responses[1]!.hits.total.value, SENTENCES.length);
    sameScores(many.responses[2]!);
  });

  it("pages by scroll and by point in time, which names no index", async () => {
    const first = (await ask(`/${index}/_search?scroll=1m`, { query: CLAUSE, size: 3 })) as Answer;
    const scroll = { scroll: "1m", scroll_id: first._scroll_id };
    const second = (await ask("/_search/scroll", scroll)) as Answer;
    assert.deepEqual(
      [...first.hits.hits, ...second.hits.hits].map((hit) => hit._id),
      expected.slice(0, 6).map(([id]) => id),
    );
    const opened = await ask(`/${index}/_search/point_in_time?keep_alive=1m`, "");
    const { pit_id: id } = opened as { pit_id: string };
    sameScores(await searchIn("/_search", { pit: { id }, query: CLAUSE }));
    await fetch(`${gateway.url}/_search/point_in_time/_all`, { method: "DELETE" });
  });

  it("finds the indices behind aliases and patterns, other indices beside them", async () => {
    const other = `${index}-plain`;
    await cluster.demand(
      {
        method: "PUT",
        path: `/${other}/_doc/1`,
        query: { refresh: true },
        body: { text: "fear" },
      },
      "Adding an index without vectors",
    );
    try {
      sameScores(await searchIn(`/${index},${other}/_search`, { query: CLAUSE }));
      sameScores(await searchIn(`/${index}*/_search`, { query: CLAUSE }));
      sameScores(await searchIn(`/${nested},${other}/_search`, { query: CLAUSE }));
      const alias = { add: { index, alias: `${index}-alias` } };
      await ask("/_aliases", { actions: [alias] });
      sameScores(await searchIn(`/${index}-alias/_search`, { query: CLAUSE }));
    } finally {
      await cluster.send({ method: "DELETE", path: `/${other}` });
    }
  });

  it("drops the weakest terms, with a warning, where the cluster would refuse the search", async () => {
    const should = Array.from({ length: 507 }, (_, i) => ({ term: { year: i } }));
    const answer = await gateway.post(`/${index}/_search`, {
      query: { bool: { should: [...should, CLAUSE] } },
    });
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.match(answer.headers.get("warning") ?? "", /299 csplade ".*weakest terms/);
    const blank = await gateway.post(`/${index}/_search`, { query: { csplade: "  " } });
    assert.match(blank.headers.get("warning") ?? "", /no terms/);
    assert.equal(((await blank.json()) as Answer).hits.total.value, 0);
    const blanks = Array.from({ length: 200 }, () => ({ csplade: "" }));
    const many = await gateway.post(`/${index}/_search`, { query: { bool: { should: blanks } } });
    assert.match(many.headers.get("warning") ?? "", /192 more warnings/);
  });

  it("leaves alone what only looks like a clause: fields, aggregations and parameters named csplade", async () => {
    const should = [
      { match: { csplade_parent: "csplade" } },
      { neural_sparse: { csplade: { query_tokens: { 1: 1 } } } },
    ];
    const script = { source: "params.csplade", params: { csplade: 1 } };
    const answer = await searched(
      { bool: { filter: [{ exists: { field: "title" } }], should } },
      {
        aggs: { csplade: { terms: { field: "kind.keyword" } } },
        script_fields: { csplade: { script } },
      },
    );
    assert.equal(answer.hits.total.value, SENTENCES.length);
  });
});
