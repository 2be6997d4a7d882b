import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { packageRoot } from "../../../src/config/package-root.js";
import { parseQrels } from "../../../src/evaluate/beir.js";
import {
  depthOf,
  headlineMetrics,
  meanMetrics,
  parseMetric,
  runMetrics,
  type MetricName,
} from "../../../src/evaluate/metrics.js";
import { rank } from "../../../src/evaluate/run.js";
import { parseRun } from "../../../src/evaluate/run-file.js";

function fixture(name: string): string {
  return readFileSync(path.join(packageRoot, "test", "fixtures", "metrics", name), "utf8");
}

const grades = fc.dictionary(
  fc.constantFrom("a", "b", "c", "d", "e"),
  fc.integer({ min: 0, max: 3 }),
);
const hits = fc
  .uniqueArray(fc.constantFrom("a", "b", "c", "d", "e", "f", "g"))
  .map((ids) => ids.map((id, i) => ({ id, score: 10 - i })));

describe("metrics", () => {
  it("are pytrec_eval's: grades, ties, judgements of -1 and 0, queries without hits or judgements", () => {
    const { queries } = JSON.parse(fixture("expected.json")) as {
      queries: Record<string, Record<MetricName, number>>;
    };
    const names = Object.keys(Object.values(queries)[0]!) as MetricName[];
    const qrels = parseQrels(fixture("qrels.tsv"), "qrels.tsv");
    const run = parseRun(fixture("run.txt"), "run.txt");
    assert.ok(run.has("unjudged") && !run.has("q11"));
    const perQuery = runMetrics(run, qrels, names);
    assert.deepEqual([...perQuery.keys()].sort(), Object.keys(queries).sort());
    for (const [query, expected] of Object.entries(queries)) {
      for (const name of names) {
        const actual = perQuery.get(query)![name]!;
        assert.ok(
          Math.abs(actual - expected[name]!) < 5e-6,
          `${query} ${name}: ${actual} ≠ ${expected[name]}`,
        );
      }
    }
  });

  it("have names of a measure and a number of hits, and no others", () => {
    assert.equal(parseMetric("ndcg@20"), "ndcg@20");
    assert.equal(parseMetric("recall@1000"), "recall@1000");
    for (const wrong of ["ndcg", "ndcg@0", "ndcg@1001", "ndcg@05", "bpref@10", "ndcg@1.5"]) {
      assert.equal(parseMetric(wrong), undefined, wrong);
    }
    assert.equal(depthOf([]), 100);
    assert.equal(depthOf(["ndcg@5", "recall@1000"]), 1000);
  });

  it("rank ties as trec_eval does: by descending id", () => {
    const ranked = rank([
      { id: "d1", score: 1 },
      { id: "d10", score: 1 },
      { id: "d2", score: 1 },
      { id: "d0", score: 1.00001 },
    ]);
    assert.deepEqual(
      ranked.map(({ id }) => id),
      ["d0", "d2", "d10", "d1"],
    );
  });

  it("do not depend on the order in which a system lists its hits", () => {
    fc.assert(
      fc.property(hits, grades, (list, judged) => {
        const qrels = new Map([["q", new Map(Object.entries(judged))]]);
        const one = runMetrics(new Map([["q", list]]), qrels);
        const other = runMetrics(new Map([["q", [...list].reverse()]]), qrels);
        assert.deepEqual(one, other);
        for (const name of headlineMetrics) {
          const value = one.get("q")![name];
          assert.ok(value >= 0 && value <= 1 + 1e-12);
        }
      }),
    );
  });

  it("count a query that a system has no answer for", () => {
    const qrels = new Map([
      ["q1", new Map([["a", 1]])],
      ["q2", new Map([["a", 1]])],
    ]);
    const mean = meanMetrics(runMetrics(new Map([["q1", [{ id: "a", score: 1 }]]]), qrels));
    assert.equal(mean["ndcg@10"], 0.5);
  });
});
