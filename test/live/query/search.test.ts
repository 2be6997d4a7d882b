/** Scores, explanations and errors of real searches: what each dialect promises, OpenSearch keeps. */
import assert from "node:assert/strict";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { CspladeError, type ErrorCode } from "../../../src/errors/csplade-error.js";
import type { VectorField } from "../../../src/query/query-translator.js";
import { search } from "../../../src/query/search.js";
import type { SearchRequest } from "../../../src/query/search-request.js";
import { toFeatures } from "../../../src/sparse/features.js";
import { luceneStored, quantize } from "../../../src/sparse/quantize.js";
import {
  maxMerge,
  sparseVector,
  termsOf,
  type SparseVector,
} from "../../../src/sparse/sparse-vector.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";
import { randomVectors } from "../../support/random-vectors.js";

const INDEX = "csplade-search-test";
const DOCUMENTS = 300;
const NESTED: readonly VectorField[] = [
  { name: "csplade_passages.csplade", nested_path: "csplade_passages" },
];

const random = randomVectors(20);
/** Every other document is quantized as ours are, the rest as a model returns it. */
const documents = Array.from({ length: DOCUMENTS }, (_, i) =>
  i % 2 === 1 ? quantize(random(60, 400), 9) : random(60, 400),
);
const passages = Array.from(
  { length: DOCUMENTS },
  () => [random(30, 400), random(30, 400)] as const,
);
const queries = Array.from({ length: 10 }, () => random(25, 400));

/** Σ boost · stored weight, as the cluster must score it. */
function exactScore(query: SparseVector, document: SparseVector): number {
  const weights = new Map(termsOf(query));
  let score = 0;
  for (const [id, weight] of termsOf(document)) {
    score += (weights.get(id) ?? 0) * luceneStored(weight);
  }
  return score;
}

function close(actual: number, expected: number, message?: string): void {
  const tolerance = 1e-6 * Math.max(1, Math.abs(expected));
  assert.ok(Math.abs(actual - expected) <= tolerance, `${message ?? ""} ${actual} ≠ ${expected}`);
}

async function failure(searching: Promise<unknown>): Promise<CspladeError> {
  try {
    await searching;
  } catch (thrown) {
    if (thrown instanceof CspladeError) return thrown;
    throw thrown;
  }
  throw new assert.AssertionError({ message: "The search did not fail." });
}

describe("search on OpenSearch", () => {
  let cluster: Cluster;
  const find = (vector: SparseVector, changes: Partial<SearchRequest> = {}) =>
    search(cluster, { index: INDEX, vector, ...changes });

  before(async () => {
    cluster = connectCluster(testConfig({ "opensearch.url": testServers().opensearchUrl }));
    await cluster.send({ method: "DELETE", path: `/${INDEX}` });
    const vectors = { type: "rank_features" };
    await cluster.demand(
      {
        method: "PUT",
        path: `/${INDEX}`,
        body: {
          mappings: {
            properties: {
              csplade: vectors,
              other: { properties: { csplade: vectors } },
              csplade_passages: { type: "nested", properties: { csplade: vectors } },
              text: { type: "text" },
              year: { type: "integer" },
              parent: { type: "keyword" },
            },
          },
        },
      },
      "Creating the test index",
    );
    const lines = documents.flatMap((vector, i) => [
      { index: { _id: String(i) } },
      {
        csplade: toFeatures(vector),
        other: { csplade: toFeatures(passages[i]![0]) },
        csplade_passages: passages[i]!.map((passage) => ({ csplade: toFeatures(passage) })),
        text: `document number ${i}`,
        year: 1900 + (i % 100),
        parent: String(i % 7),
      },
    ]);
    const body = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    const answer = (await cluster.demand(
      { method: "POST", path: `/${INDEX}/_bulk`, query: { refresh: true }, body },
      "Filling the test index",
    )) as { errors: boolean };
    assert.equal(answer.errors, false);
  });

  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${INDEX}` });
    await cluster.close();
  });

  for (const dialect of ["rank_feature", "neural_sparse"] as const) {
    it(`scores with ${dialect} the dot product of what Lucene stores, for every hit`, async () => {
      for (const query of queries) {
        const { hits, total } = await find(query, { dialect, size: DOCUMENTS });
        const expected = documents.map((document) => exactScore(query, document));
        assert.equal(total, expected.filter((score) => score > 0).length);
        assert.equal(hits.length, total);
        for (const hit of hits) close(hit.score, expected[Number(hit.id)]!, hit.id);
      }
    });
  }

  it("gives the same hits and scores in both dialects", async () => {
    for (const query of queries) {
      const [one, other] = await Promise.all(
        (["rank_feature", "neural_sparse"] as const).map((dialect) =>
          find(query, { dialect, size: 50 }),
        ),
      );
      assert.deepEqual(
        one!.hits.map((hit) => [hit.id, hit.score]),
        other!.hits.map((hit) => [hit.id, hit.score]),
      );
    }
  });

  it("chooses neural_sparse where the plugin is there, and leaves vectors out of the source", async () => {
    const { dialect, hits } = await find(queries[0]!);
    assert.equal(dialect, "neural_sparse");
    assert.equal(hits.length, 10);
    assert.equal(hits[0]!.source.csplade, undefined);
    assert.equal(typeof hits[0]!.source.text, "string");
    assert.deepEqual(
      (await find(queries[0]!, { source: ["year"] })).hits.map((hit) => Object.keys(hit.source)),
      hits.map(() => ["year"]),
    );
  });

  it("stores quantized weights exactly as they were sent", async () => {
    const { hits } = await find(queries[0]!, { explain: true, size: 50 });
    for (const hit of hits.filter(({ id }) => Number(id) % 2 === 1)) {
      const sent = new Map(termsOf(documents[Number(hit.id)]!));
      for (const term of hit.contributions) {
        assert.equal(Math.fround(term.document_weight), sent.get(term.id));
      }
    }
  });

  it("keeps scores with query weights above the plugin's limit of 64", async () => {
    const heavy = sparseVector(
      Array.from(termsOf(queries[0]!), ([id, weight]) => [id, weight * 1000]),
    );
    const [plain, scaled] = await Promise.all([
      find(heavy, { dialect: "rank_feature" }),
      find(heavy, { dialect: "neural_sparse" }),
    ]);
    for (const [i, hit] of plain.hits.entries()) {
      assert.equal(scaled.hits[i]!.id, hit.id);
      close(scaled.hits[i]!.score, hit.score);
    }
  });

  for (const dialect of ["rank_feature", "neural_sparse"] as const) {
    it(`explains every hit of ${dialect}: contributions add up to the score`, async () => {
      const query = queries[1]!;
      const weights = new Map(termsOf(query));
      const { hits } = await find(query, { dialect, explain: true, size: 40 });
      for (const hit of hits) {
        const stored = new Map(termsOf(documents[Number(hit.id)]!));
        close(
          hit.contributions.reduce((sum, term) => sum + term.contribution, 0),
          hit.score,
        );
        for (const term of hit.contributions) {
          close(term.query_weight, weights.get(term.id)!);
          close(term.document_weight, luceneStored(stored.get(term.id)!));
          close(term.contribution, term.query_weight * term.document_weight);
        }
      }
    });

    it(`finds the best nested passage with ${dialect}, and explains that one`, async () => {
      const query = queries[2]!;
      const { hits } = await find(query, { dialect, fields: NESTED, explain: true, size: 20 });
      assert.equal(hits.length, 20);
      for (const hit of hits) {
        const scores = passages[Number(hit.id)]!.map((passage) => exactScore(query, passage));
        close(hit.score, Math.max(...scores));
        assert.equal(hit.passage, scores.indexOf(Math.max(...scores)));
        close(
          hit.contributions.reduce((sum, term) => sum + term.contribution, 0),
          hit.score,
        );
      }
    });

    it(`adds up several fields with boosts in ${dialect}, and explains each`, async () => {
      const query = queries[3]!;
      const fields = [
        { name: "csplade", boost: 0.5 },
        { name: "other.csplade", boost: 3 },
      ];
      const { hits } = await find(query, { dialect, fields, explain: true });
      for (const hit of hits) {
        const i = Number(hit.id);
        const expected =
          0.5 * exactScore(query, documents[i]!) + 3 * exactScore(query, passages[i]![0]);
        close(hit.score, expected);
        close(
          hit.contributions.reduce((sum, term) => sum + term.contribution, 0),
          expected,
        );
      }
    });
  }

  it("narrows by a filter without changing scores", async () => {
    const query = queries[4]!;
    const all = await find(query, { size: DOCUMENTS });
    const some = await find(query, { size: DOCUMENTS, filter: { range: { year: { lt: 1930 } } } });
    assert.deepEqual(
      some.hits.map((hit) => [hit.id, hit.score]),
      all.hits.filter((hit) => Number(hit.id) % 100 < 30).map((hit) => [hit.id, hit.score]),
    );
  });

  it("pages without gaps", async () => {
    const query = queries[4]!;
    const whole = await find(query, { size: 30 });
    const pages = await Promise.all([0, 10, 20].map((from) => find(query, { from, size: 10 })));
    assert.deepEqual(
      pages.flatMap((page) => page.hits.map((hit) => hit.id)),
      whole.hits.map((hit) => hit.id),
    );
  });

  it("collapses hits that share a parent to the best one", async () => {
    const { hits } = await find(queries[4]!, { collapse: "parent", size: 50 });
    assert.equal(hits.length, 7);
    for (const hit of hits) assert.equal(hit.collapsed_by, String(Number(hit.id) % 7));
  });

  it("drops the weakest terms of a query the cluster would refuse", async () => {
    const long = maxMerge([random(1500, 40_000), queries[0]!]);
    assert.ok(long.ids.length > 1100);
    const filter = Array.from({ length: 5 }, (_, i) => ({ range: { year: { gte: 1900 - i } } }));
    for (const dialect of ["rank_feature", "neural_sparse"] as const) {
      for (const fields of [undefined, NESTED]) {
        for (const narrowed of [undefined, filter]) {
          const result = await find(long, { dialect, fields, filter: narrowed });
          assert.ok(result.hits.length > 0);
          assert.ok(result.dropped_terms >= long.ids.length - 1024);
          assert.equal(result.notes.length, 1);
        }
      }
    }
  });

  it("returns nothing for an empty vector, with a note", async () => {
    const result = await find(sparseVector([]));
    assert.equal(result.total, 0);
    assert.match(result.notes[0]!, /no terms/);
  });

  describe("that cannot work", () => {
    const term = sparseVector([[1, 1]]);
    const cases: [string, Partial<SearchRequest>, ErrorCode, RegExp][] = [
      [
        "an index that is not there",
        { index: "no-such-index" },
        "index_not_found",
        /no index no-such-index/,
      ],
      [
        "a filter that is no query",
        { filter: { trem: { year: 3 } } },
        "query_invalid",
        /filter is not valid.*trem/,
      ],
      [
        "a filter with a value of the wrong type",
        { filter: { range: { year: { gte: "soon" } } } },
        "query_invalid",
        /filter is not valid.*soon/,
      ],
      [
        "a filter that is malformed",
        { filter: { bool: [3] } },
        "query_invalid",
        /filter is not valid/,
      ],
      ["a size above the window", { size: 10_001 }, "query_invalid", /10,000/],
      [
        "a query this cluster does not know",
        { dialect: "sparse_vector" },
        "cluster_unsupported",
        /sparse_vector/,
      ],
    ];
    for (const [what, changes, code, message] of cases) {
      it(`names ${what}`, async () => {
        const error = await failure(find(term, changes));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
      });
    }

    for (const dialect of ["rank_feature", "neural_sparse"] as const) {
      it(`names a vector field that is missing or of another type (${dialect})`, async () => {
        const missing = await failure(find(term, { dialect, fields: [{ name: "vectors" }] }));
        assert.equal(missing.code, "index_invalid");
        assert.match(missing.message, /field vectors does not exist/);
        const text = await failure(find(term, { dialect, fields: [{ name: "text" }] }));
        assert.equal(text.code, "index_invalid");
        assert.match(text.message, /field text is of type text, not rank_features/);
      });
    }
  });
});
