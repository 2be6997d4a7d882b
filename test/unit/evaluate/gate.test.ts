import assert from "node:assert/strict";
import {
  demandGood,
  judgeSystem,
  parseRequirement,
  SIGNIFICANT,
} from "../../../src/evaluate/gate.js";
import { meanMetrics, metricsOf, type Metrics } from "../../../src/evaluate/metrics.js";

/** A result in which a query's every metric has one value. */
function resultOf(values: readonly number[]) {
  const per_query = new Map<string, Metrics>(
    values.map((value, i) => [`q${i}`, metricsOf([], () => value)]),
  );
  return { per_query, metrics: meanMetrics(per_query) };
}

const half = resultOf(Array.from({ length: 20 }, () => 0.5));

describe("the evaluation gate", () => {
  it("reads requirements, and nothing that is none", () => {
    assert.deepEqual(parseRequirement("ndcg@10>=0.40"), { metric: "ndcg@10", at_least: 0.4 });
    assert.deepEqual(parseRequirement(" Recall@100 >= 1 "), { metric: "recall@100", at_least: 1 });
    for (const wrong of [
      "ndcg@10",
      "ndcg@10>0.4",
      "ndcg>=0.4",
      "ndcg@10>=40",
      "ndcg@10>=",
      ">=1",
    ]) {
      assert.equal(parseRequirement(wrong), undefined, wrong);
    }
  });

  it("passes what is just reached and fails what is below, with the figures", () => {
    const at = (at_least: number) =>
      judgeSystem(half, { require: [{ metric: "ndcg@10", at_least }] });
    assert.equal(at(0.5).passed, true);
    const failed = at(0.51);
    assert.equal(failed.passed, false);
    assert.match(
      failed.checks[0]?.sentence ?? "",
      /ndcg@10 is 0\.5000; at least 0\.51 is required/,
    );
    assert.throws(() => demandGood(failed, "It", "Mend it."), {
      code: "quality_too_low",
      message: /ndcg@10 is 0\.5000/,
    });
  });

  it("fails a result that is worse on every query, and says p", () => {
    const reference = { name: "old.json", per_query: half.per_query };
    const worse = resultOf(Array.from({ length: 20 }, () => 0.4));
    const { passed, checks } = judgeSystem(worse, { require: [], reference });
    assert.equal(passed, false);
    assert.match(checks[0]?.sentence ?? "", /0\.4000 against 0\.5000 of old\.json.*\(p < 0\.001\)/);
  });

  it("passes one that is better, the same, or worse no more than chance explains", () => {
    const reference = { name: "old.json", per_query: half.per_query };
    const mixed = resultOf(Array.from({ length: 20 }, (_, i) => (i === 0 ? 0.3 : 0.5)));
    for (const other of [resultOf(Array.from({ length: 20 }, () => 0.6)), half, mixed]) {
      const { passed, checks } = judgeSystem(other, { require: [], reference });
      assert.equal(passed, true, checks[0]?.sentence);
    }
    const [check] = judgeSystem(mixed, { require: [], reference }).checks;
    assert.ok((check?.p_value ?? 0) >= SIGNIFICANT);
    assert.match(check?.sentence ?? "", /which may be chance/);
  });

  it("fails where nothing relevant is found at all, as with judgements of other documents", () => {
    const none = resultOf([0, 0, 0]);
    const reference = { name: "BM25", per_query: none.per_query };
    assert.equal(judgeSystem(none, { require: [], reference }).passed, false);
  });

  it("refuses a reference over other queries", () => {
    const reference = { name: "old.json", per_query: resultOf([0.5]).per_query };
    assert.throws(() => judgeSystem(half, { require: [], reference }), { code: "file_invalid" });
  });
});
