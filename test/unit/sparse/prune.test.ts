import assert from "node:assert/strict";
import fc from "fast-check";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import {
  prune,
  split,
  splitBy,
  type PruneOptions,
  type PruneType,
} from "../../../src/sparse/prune.js";
import { EMPTY_VECTOR, sparseVector, termsOf } from "../../../src/sparse/sparse-vector.js";
import { vectors } from "./arbitrary-vector.js";

const vector = sparseVector([
  [7, 1],
  [3, 4],
  [9, 0.5],
  [1, 2],
  [4, 2],
]);

const options: fc.Arbitrary<PruneOptions> = fc.oneof(
  fc.constant({ prune_type: "none" as const, prune_ratio: 0 }),
  fc.record({
    prune_type: fc.constant("top_k" as const),
    prune_ratio: fc.integer({ min: 1, max: 300 }),
  }),
  fc.record({
    prune_type: fc.constantFrom("max_ratio" as const, "alpha_mass" as const),
    prune_ratio: fc.double({ min: 0, max: 0.999, noNaN: true }),
  }),
  fc.record({
    prune_type: fc.constant("abs_value" as const),
    prune_ratio: fc.double({ min: 0, max: 64, noNaN: true }),
  }),
);

describe("prune", () => {
  const cases: [PruneType, number, number[]][] = [
    ["none", 0, [3, 1, 4, 7, 9]],
    ["top_k", 2, [3, 1]],
    ["top_k", 9, [3, 1, 4, 7, 9]],
    ["max_ratio", 0.5, [3, 1, 4]],
    ["max_ratio", 0, [3, 1, 4, 7, 9]],
    ["abs_value", 1, [3, 1, 4, 7]],
    ["abs_value", 100, []],
    // 9.5 in all: 4 + 2 = 6 is within 0.7 of it, 8 is not.
    ["alpha_mass", 0.7, [3, 1]],
    ["alpha_mass", 0.4, []],
  ];
  for (const [prune_type, prune_ratio, ids] of cases) {
    it(`keeps what neural-search keeps with ${prune_type} ${prune_ratio}`, () => {
      assert.deepEqual([...prune(vector, { prune_type, prune_ratio }).ids], ids);
    });
  }

  it("keeps with alpha_mass a sum that is exactly the share", () => {
    const even = sparseVector([
      [1, 2],
      [2, 1],
      [3, 1],
    ]);
    const kept = prune(even, { prune_type: "alpha_mass", prune_ratio: 0.5 });
    assert.deepEqual([...kept.ids], [1]);
  });

  it("compares in float32 as neural-search does", () => {
    // The float32 nearest to 0.7 is below 0.7, so in double precision it would be dropped.
    const tight = sparseVector([
      [1, 1],
      [2, 0.7],
    ]);
    assert.equal(prune(tight, { prune_type: "max_ratio", prune_ratio: 0.7 }).ids.length, 2);
    assert.equal(prune(tight, { prune_type: "abs_value", prune_ratio: 0.7 }).ids.length, 2);
  });

  it("refuses a ratio that neural-search refuses, saying which are allowed", () => {
    const wrong: PruneOptions[] = [
      { prune_type: "top_k", prune_ratio: 0 },
      { prune_type: "top_k", prune_ratio: 1.5 },
      { prune_type: "max_ratio", prune_ratio: 1 },
      { prune_type: "alpha_mass", prune_ratio: -0.1 },
      { prune_type: "abs_value", prune_ratio: -1 },
      { prune_type: "abs_value", prune_ratio: NaN },
    ];
    for (const options of wrong) {
      assert.throws(
        () => prune(vector, options),
        (error) => error instanceof CspladeError && error.code === "config_invalid",
      );
    }
  });

  it("leaves an empty vector empty", () => {
    for (const prune_type of ["none", "max_ratio", "alpha_mass", "abs_value"] as const) {
      assert.equal(prune(EMPTY_VECTOR, { prune_type, prune_ratio: 0.5 }).ids.length, 0);
    }
  });

  it("splits every vector into two halves that hold each term once, strong before weak", () => {
    fc.assert(
      fc.property(vectors(), options, (any, how) => {
        const { strong, weak } = split(any, how);
        assert.deepEqual([...termsOf(strong), ...termsOf(weak)], [...termsOf(any)]);
        assert.deepEqual(prune(any, how), strong);
      }),
    );
  });

  it("splits every vector by ids into two vectors that hold each term once, with its weight", () => {
    const chosen = fc.array(fc.nat({ max: 200 }));
    fc.assert(
      fc.property(vectors(), chosen, (any, ids) => {
        const own = new Set([...ids, ...any.ids.filter((_, i) => i % 3 === 0)]);
        const { strong, weak } = splitBy(any, own);
        assert.ok([...strong.ids].every((id) => own.has(id)));
        assert.ok([...weak.ids].every((id) => !own.has(id)));
        const whole = new Map([...termsOf(strong), ...termsOf(weak)]);
        assert.deepEqual(whole, new Map(termsOf(any)));
        assert.equal(strong.ids.length + weak.ids.length, any.ids.length);
      }),
    );
  });

  it("keeps no term with max_ratio that weighs less than the share of the heaviest", () => {
    fc.assert(
      fc.property(vectors(), fc.double({ min: 0, max: 0.999, noNaN: true }), (any, ratio) => {
        const { strong, weak } = split(any, { prune_type: "max_ratio", prune_ratio: ratio });
        const limit = Math.fround(Math.fround(ratio) * (any.weights[0] ?? 0));
        assert.ok(strong.weights.every((weight) => weight >= limit));
        assert.ok(weak.weights.every((weight) => weight < limit));
      }),
    );
  });
});
