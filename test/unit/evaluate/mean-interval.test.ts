import assert from "node:assert/strict";
import { meanInterval } from "../../../src/evaluate/mean-interval.js";

describe("interval of a mean", () => {
  it("is as wide as theory has it for many values, and the same each time", () => {
    // Values 0 and 1 in equal parts: the mean of 400 has a standard error of 0.025.
    const values = Array.from({ length: 400 }, (_, i) => i % 2);
    const { mean, low, high } = meanInterval(values);
    assert.equal(mean, 0.5);
    assert.ok(Math.abs(mean - low - 1.96 * 0.025) < 0.006, String(low));
    assert.ok(Math.abs(high - mean - 1.96 * 0.025) < 0.006, String(high));
    assert.deepEqual(meanInterval(values), { mean, low, high });
  });

  it("is a point for equal values, and nothing for none", () => {
    assert.deepEqual(meanInterval([0.5, 0.5, 0.5]), { mean: 0.5, low: 0.5, high: 0.5 });
    assert.deepEqual(meanInterval([]), { mean: 0, low: 0, high: 0 });
  });
});
