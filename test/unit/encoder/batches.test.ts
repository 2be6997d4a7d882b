import assert from "node:assert/strict";
import fc from "fast-check";
import { planBatches } from "../../../src/encoder/batches.js";

describe("token-budget batches", () => {
  it("hold every text once and never exceed the budget, but for a single longer text", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 200 }),
        fc.integer({ min: 1, max: 500 }),
        (lengths, budget) => {
          const batches = planBatches(lengths, budget);
          assert.deepEqual(
            batches.flat().sort((a, b) => a - b),
            lengths.map((_, index) => index),
          );
          for (const batch of batches) {
            const longest = Math.max(...batch.map((index) => lengths[index]!));
            assert.ok(batch.length === 1 || batch.length * longest <= budget);
          }
        },
      ),
    );
  });

  it("cost no more than any other cut of the sorted texts, a call counting as tokens too", () => {
    const cost = (batches: readonly (readonly number[])[], budget: number): number =>
      batches.reduce(
        (sum, batch) => sum + batch.length * Math.max(...batch) + Math.max(12, budget / 32),
        0,
      );
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 1, maxLength: 9 }),
        fc.integer({ min: 16, max: 1000 }),
        (lengths, budget) => {
          const sorted = [...lengths].sort((a, b) => b - a);
          let least = Infinity;
          for (let cuts = 0; cuts < 2 ** (sorted.length - 1); cuts++) {
            const batches: number[][] = [[]];
            sorted.forEach((length, i) => {
              batches.at(-1)!.push(length);
              if ((cuts >> i) & 1 && i < sorted.length - 1) batches.push([]);
            });
            const allowed = batches.every(
              (batch) => batch.length === 1 || batch.length * batch[0]! <= budget,
            );
            if (allowed) least = Math.min(least, cost(batches, budget));
          }
          const planned = planBatches(lengths, budget).map((batch) =>
            batch.map((index) => lengths[index]!),
          );
          assert.equal(cost(planned, budget), least);
        },
      ),
    );
  });

  it("do not pad a short text to a long one because both would fit", () => {
    assert.deepEqual(planBatches([8, 250, 9, 240], 2048), [
      [1, 3],
      [2, 0],
    ]);
  });

  it("waste little on padding: neighbours in a batch have neighbouring lengths", () => {
    const lengths = Array.from({ length: 512 }, (_, i) => 5 + ((i * 7919) % 250));
    let padded = 0;
    for (const batch of planBatches(lengths, 512)) {
      padded += batch.length * Math.max(...batch.map((index) => lengths[index]!));
    }
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    assert.ok(padded / tokens < 1.02, `padded ${padded} of ${tokens}`);
  });
});
