import assert from "node:assert/strict";
import { compareResults, type QueryResults } from "../../../src/evaluate/compare-results.js";
import { metricsOf, runMetrics } from "../../../src/evaluate/metrics.js";

function results(name: string, ndcg: Readonly<Record<string, number>>): QueryResults {
  return {
    name,
    per_query: new Map(
      Object.entries(ndcg).map(([query, value]) => [query, metricsOf([], () => value)]),
    ),
  };
}

describe("comparison of two results", () => {
  const before = results("before", { a: 0.5, b: 0.2, c: 0.9, d: 0 });
  const after = results("after", { a: 0.6, b: 0.9, c: 0.7, d: 0 });

  it("counts wins, losses and ties of the second one, and gives its difference", () => {
    const comparison = compareResults(before, after);
    assert.equal(comparison.queries, 4);
    const ndcg = comparison.metrics.get("ndcg@10")!;
    assert.deepEqual([ndcg.wins, ndcg.losses, ndcg.ties], [2, 1, 1]);
    assert.ok(Math.abs(ndcg.difference - 0.15) < 1e-12);
    assert.ok(Math.abs(ndcg.second - ndcg.first - ndcg.difference) < 1e-12);
    // ±0.1 ±0.7 ±0.2: 6 of 8 assignments are at least 0.6 from 0.
    assert.equal(ndcg.p_value, 6 / 8);
  });

  it("lists the queries that changed, the most changed first, and no others", () => {
    assert.deepEqual(
      compareResults(before, after).changed.map(({ query, difference }) => [
        query,
        Math.round(difference * 10) / 10,
      ]),
      [
        ["b", 0.7],
        ["c", -0.2],
        ["a", 0.1],
      ],
    );
    assert.deepEqual(compareResults(before, before).changed, []);
  });

  it("compares the metrics that both have", () => {
    const qrels = new Map([["q", new Map([["d", 1]])]]);
    const more: QueryResults = {
      name: "more",
      per_query: runMetrics(new Map(), qrels, ["ndcg@5"]),
    };
    const less: QueryResults = { name: "less", per_query: runMetrics(new Map(), qrels) };
    assert.ok(compareResults(more, more).metrics.has("ndcg@5"));
    assert.ok(!compareResults(more, less).metrics.has("ndcg@5"));
  });

  it("refuses results over other queries, naming one", () => {
    const other = results("other", { a: 1, b: 1, c: 1 });
    assert.throws(() => compareResults(before, other), /other does not judge the query d/);
    assert.throws(() => compareResults(other, before), /other does not judge the query d/);
  });
});
