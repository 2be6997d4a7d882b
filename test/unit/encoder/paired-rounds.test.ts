import assert from "node:assert/strict";
import fc from "fast-check";
import { inRounds, median, pairedRatio } from "../../../src/encoder/paired-rounds.js";

describe("paired rounds", () => {
  it("give every way a turn per round, and another one the first turn each time", async () => {
    const turns: string[] = [];
    const results = await inRounds(
      3,
      ["a", "b", "c"].map((name) => () => turns.push(name)),
    );
    assert.equal(turns.join(""), "abcbcacab");
    assert.deepEqual(results, [
      [1, 6, 8],
      [2, 4, 9],
      [3, 5, 7],
    ]);
  });

  it("find a known ratio although one round was spoilt", () => {
    const theirs = [10, 11, 9, 10, 12, 10, 10, 9, 11];
    const ours = theirs.map((value) => 2 * value);
    ours[3] = 1;
    assert.deepEqual(pairedRatio(ours, theirs), { ratio: 2, low: 2, high: 2 });
  });

  it("give an interval that misses the true median in at most one of twenty cases", () => {
    let seed = 1;
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    for (const rounds of [6, 9, 15]) {
      let missed = 0;
      for (let trial = 0; trial < 4000; trial++) {
        // Skewed noise whose median is 1: a busy machine only ever slows down.
        const ours = Array.from({ length: rounds }, () => Math.log(1 / random()) / Math.LN2);
        const { low, high } = pairedRatio(
          ours,
          ours.map(() => 1),
        );
        if (low > 1 || high < 1) missed++;
      }
      assert.ok(missed / 4000 < 0.055, `${missed} of 4000 missed with ${rounds} rounds`);
    }
  });

  it("have a median between the extremes that half of the values do not exceed", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 1 }), (values) => {
        const middle = median(values);
        const below = values.filter((value) => value <= middle).length;
        const above = values.filter((value) => value >= middle).length;
        assert.ok(2 * below >= values.length && 2 * above >= values.length);
      }),
    );
  });
});
