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

  it("waste little on padding: neighbours in a batch have neighbouring lengths", () => {
    const lengths = Array.from({ length: 512 }, (_, i) => 5 + ((i * 7919) % 250));
    let padded = 0;
    for (const batch of planBatches(lengths, 2048)) {
      padded += batch.length * Math.max(...batch.map((index) => lengths[index]!));
    }
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    assert.ok(padded / tokens < 1.1, `padded ${padded} of ${tokens}`);
  });
});
