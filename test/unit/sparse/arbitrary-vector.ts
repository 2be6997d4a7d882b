/** Random sparse vectors for property tests. */
import fc from "fast-check";
import { MIN_WEIGHT, sparseVector, type SparseVector } from "../../../src/sparse/sparse-vector.js";

/** Weights a model can return: positive normal float32 up to 64. */
export const weights: fc.Arbitrary<number> = fc.float({
  min: Math.fround(1e-6),
  max: 64,
  noNaN: true,
});

/** Any positive normal float32. */
export const anyWeights: fc.Arbitrary<number> = fc.float({
  min: MIN_WEIGHT,
  max: Math.fround(3.4e38),
  noNaN: true,
});

/** Vectors of up to `maxTerms` terms over a 49,152-token vocabulary. */
export function vectors(
  maxTerms = 200,
  weight: fc.Arbitrary<number> = weights,
): fc.Arbitrary<SparseVector> {
  return fc
    .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 49_151 }), weight), {
      selector: ([id]) => id,
      maxLength: maxTerms,
    })
    .map((terms) => sparseVector(terms));
}
