import assert from "node:assert/strict";
import fc from "fast-check";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";

type Query = Readonly<Record<string, unknown>>;

/** Queries that hold no other: ours, stock ones, and some that only look like ours. */
const leaf: fc.Arbitrary<Query> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .constantFrom("fear of spaces", "sleep", "", "海", "a b c d e f")
      .map((csplade) => ({ csplade })),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      csplade: fc.record(
        {
          query_text: fc.string({ maxLength: 30 }),
          boost: fc.double({ min: 0.001, max: 1_000, noNaN: true }),
          _name: fc.string({ minLength: 1, maxLength: 5 }),
          dialect: fc.constantFrom("rank_feature", "neural_sparse"),
        },
        { requiredKeys: ["query_text"] },
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc
      .dictionary(
        fc.nat({ max: 1023 }).map(String),
        fc.double({ min: 1e-30, max: 1e6, noNaN: true }),
        { minKeys: 1, maxKeys: 5 },
      )
      .map((query_tokens) => ({ csplade: { query_tokens } })),
  },
  fc.constantFrom<Query>(
    { match_all: {} },
    { match: { text: "fear" } },
    { term: { "kind.keyword": "csplade" } },
    { range: { year: { gte: 1990 } } },
    { exists: { field: "title" } },
    { multi_match: { query: "csplade", fields: ["title", "text"] } },
  ),
);

const query: fc.Arbitrary<Query> = fc.letrec<{ query: Query }>((tie) => {
  const list = fc.array(tie("query"), { minLength: 1, maxLength: 3 });
  const one = tie("query");
  const oneOrMore = fc.oneof(one, list);
  return {
    query: fc.oneof(
      { maxDepth: 4, depthIdentifier: "query" },
      leaf,
      fc
        .record(
          { must: oneOrMore, should: oneOrMore, filter: oneOrMore, must_not: oneOrMore },
          { requiredKeys: [] },
        )
        .map((bool) => ({ bool })),
      one.map((filter) => ({ constant_score: { filter } })),
      list.map((queries) => ({ dis_max: { queries, tie_breaker: 0.3 } })),
      fc
        .tuple(one, one)
        .map(([positive, negative]) => ({ boosting: { positive, negative, negative_boost: 0.2 } })),
      fc.tuple(one, one).map(([inner, filter]) => ({
        function_score: { query: inner, functions: [{ filter, weight: 2 }], boost_mode: "sum" },
      })),
      one.map((inner) => ({ script_score: { query: inner, script: { source: "_score + 1" } } })),
    ),
  };
}).query;

const body = fc
  .record(
    {
      query,
      post_filter: query,
      rescore: fc
        .tuple(query)
        .map(([rescore_query]) => ({ window_size: 5, query: { rescore_query } })),
      aggs: fc.record({
        csplade: query.map((filter) => ({ filter, aggs: { csplade: { filter } } })),
        many: fc.tuple(query, query).map((filters) => ({ filters: { filters } })),
      }),
      min_score: fc.constant(0.01),
      explain: fc.boolean(),
      collapse: fc.constant({ field: "kind.keyword", inner_hits: { name: "csplade", size: 1 } }),
      highlight: query.map((highlight_query) => ({ fields: { text: { highlight_query } } })),
    },
    { requiredKeys: ["query"] },
  )
  // The cluster itself refuses these two together.
  .map(({ collapse, ...rest }) =>
    "rescore" in rest ? rest : { ...rest, ...(collapse === undefined ? {} : { collapse }) },
  );

describe("random search bodies through the gateway", () => {
  let gateway: TestGateway;
  let cluster: Cluster;
  let index: string;
  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    gateway = await startTestGateway({ "opensearch.url": testServers().opensearchUrl });
    index = await fillEncodedIndex(cluster, gateway.encoder);
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await gateway.stop();
    await cluster.close();
  });

  it("with csplade clauses anywhere are accepted by the real OpenSearch", async function () {
    this.timeout(300_000);
    await fc.assert(
      fc.asyncProperty(body, async (search) => {
        const answer = await gateway.post(`/${index}/_search`, search);
        const text = await answer.text();
        assert.equal(answer.status, 200, `${JSON.stringify(search)}\n${text}`);
        assert.ok(!text.includes('"failures"'), text);
      }),
      { numRuns: 150 },
    );
  });
});
