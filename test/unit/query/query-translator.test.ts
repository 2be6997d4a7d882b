import assert from "node:assert/strict";
import fc from "fast-check";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { estimateClauses } from "../../../src/query/query-clause.js";
import { translateQuery, type TranslationRequest } from "../../../src/query/query-translator.js";
import { EMPTY_VECTOR, sparseVector } from "../../../src/sparse/sparse-vector.js";
import { vectors } from "../sparse/arbitrary-vector.js";

const vector = sparseVector([
  [7, 0.5],
  [123, 2.5],
]);

function translated(changes: Partial<TranslationRequest> = {}) {
  return translateQuery({
    vector,
    dialect: "rank_feature",
    fields: [{ name: "csplade" }],
    max_clause_count: 1024,
    ...changes,
  });
}

describe("query translator", () => {
  it("writes one linear rank_feature clause per term", () => {
    assert.deepEqual(translated().query, {
      bool: {
        should: [
          { rank_feature: { field: "csplade.123", boost: 2.5, linear: {} } },
          { rank_feature: { field: "csplade.7", boost: 0.5, linear: {} } },
        ],
        minimum_should_match: 1,
      },
    });
  });

  it("writes neural_sparse with raw tokens, never with a text", () => {
    assert.deepEqual(translated({ dialect: "neural_sparse" }).query, {
      neural_sparse: { csplade: { query_tokens: { "7": 0.5, "123": 2.5 } } },
    });
  });

  it("writes Elasticsearch's sparse_vector without its own pruning", () => {
    assert.deepEqual(translated({ dialect: "sparse_vector" }).query, {
      sparse_vector: {
        field: "csplade",
        query_vector: { "7": 0.5, "123": 2.5 },
        prune: false,
      },
    });
  });

  it("keeps neural_sparse weights within (0, 64] without changing the score", () => {
    const anyWeight = fc.float({ min: Math.fround(1e-3), max: Math.fround(1e6), noNaN: true });
    fc.assert(
      fc.property(vectors(50, anyWeight), (any) => {
        if (any.ids.length === 0) return;
        const { query } = translated({ vector: any, dialect: "neural_sparse" });
        const { csplade } = query.neural_sparse as {
          csplade: { query_tokens: Record<string, number>; boost?: number };
        };
        for (const [i, id] of any.ids.entries()) {
          const weight = csplade.query_tokens[id]!;
          assert.ok(weight > 0 && weight <= 64);
          assert.equal(Math.fround(weight) * (csplade.boost ?? 1), any.weights[i]);
        }
      }),
    );
  });

  it("puts a filter where it narrows and does not score", () => {
    const filter = { term: { lang: "en" } };
    const { query } = translated({ filter });
    assert.deepEqual(query, { bool: { must: [translated().query], filter: [filter] } });
    assert.deepEqual(translated({ filter: [filter] }).query, query);
    assert.deepEqual(translated({ filter: [] }).query, translated().query);
  });

  it("adds the scores of several fields, each with its boost", () => {
    const { query } = translated({
      fields: [{ name: "title_vector", boost: 2 }, { name: "csplade" }],
    });
    const { should } = query.bool as { should: { bool: { boost?: number } }[] };
    assert.deepEqual(
      should.map((clause) => clause.bool.boost),
      [2, undefined],
    );
  });

  it("scores nested passages by the best one", () => {
    const { query } = translated({
      fields: [{ name: "csplade_passages.csplade", nested_path: "csplade_passages" }],
      inner_hits: { size: 1 },
    });
    const { nested } = query as { nested: Record<string, unknown> };
    assert.equal(nested.path, "csplade_passages");
    assert.equal(nested.score_mode, "max");
    assert.deepEqual(nested.inner_hits, { name: "csplade_passages.csplade", size: 1 });
  });

  it("drops the weakest terms above the clause limit, and says so", () => {
    const { query, vector: sent, dropped_terms, notes } = translated({ max_clause_count: 3 });
    assert.deepEqual((query.bool as { should: unknown[] }).should, [
      { rank_feature: { field: "csplade.123", boost: 2.5, linear: {} } },
    ]);
    assert.equal(sent.ids.length, 1);
    assert.equal(dropped_terms, 1);
    assert.match(notes[0]!, /1 weakest of 2 .* 3 clauses/);
  });

  it("never sends more clauses than the cluster takes, filters and fields included", () => {
    const clause = fc.record({ range: fc.record({ year: fc.record({ gte: fc.integer() }) }) });
    fc.assert(
      fc.property(
        vectors(300),
        fc.array(clause, { maxLength: 10 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 64, max: 300 }),
        (any, filter, fields, limit) => {
          const { vector: sent, dropped_terms } = translated({
            vector: any,
            filter,
            fields: Array.from({ length: fields }, (_, i) => ({ name: `f${i}` })),
            max_clause_count: limit,
          });
          assert.equal(sent.ids.length + dropped_terms, any.ids.length);
          // Lucene turns one `range` into two clauses.
          const terms = sent.ids.length;
          assert.ok(terms * fields + filter.length * 2 <= limit || terms === 1);
        },
      ),
    );
  });

  it("matches nothing for a vector without terms, and says why", () => {
    const { query, notes } = translated({ vector: EMPTY_VECTOR, filter: { match_all: {} } });
    assert.deepEqual(query, { match_none: {} });
    assert.match(notes[0]!, /no terms/);
  });

  it("refuses fields and filters that are none, by name", () => {
    const wrong: Partial<TranslationRequest>[] = [
      { fields: [] },
      { fields: [{ name: "csplade", boost: 0 }] },
      { fields: [{ name: "csplade", boost: NaN }] },
      { filter: [3] as never },
      { filter: "lang:en" as never },
    ];
    for (const changes of wrong) {
      assert.throws(
        () => translated(changes),
        (error) => error instanceof CspladeError && error.code === "query_invalid",
      );
    }
  });

  it("estimates at least as many clauses as Lucene makes of common filters", () => {
    assert.ok(estimateClauses({ range: { year: { gte: 2000 } } }) >= 2);
    assert.ok(estimateClauses({ match: { text: "three word query" } }) >= 3);
    assert.ok(estimateClauses({ query_string: { query: "a OR b OR c" } }) >= 3);
    assert.equal(estimateClauses([]), 0);
  });
});
