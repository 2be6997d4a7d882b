/**
 * Quantization: fewer significant bits per weight. Lucene's feature field keeps a term
 * frequency of 16 bits, the upper half of the float32 shifted by one (`FeatureField`):
 * sign aside, 8 exponent bits and 8 of the 23 fraction bits, so 9 significant bits, the
 * rest cut off. Rounding to nearest before sending halves the error of that cut; what is sent
 * then in fewer digits (`toStoredFeatures`) is stored as the same weight.
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { SparseVector } from "./sparse-vector.js";

/** Significant bits (the leading one included) of a weight in Lucene's feature field. */
export const LUCENE_BITS = 9;

const LUCENE_DROPPED_BITS = 24 - LUCENE_BITS;
const LARGEST_FLOAT32 = 0x7f7fffff;

const scratch = new DataView(new ArrayBuffer(4));

/** Bit pattern of a float32. */
function bitsOf(weight: number): number {
  scratch.setFloat32(0, weight);
  return scratch.getUint32(0);
}

function floatOf(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}

/**
 * The weight that Lucene stores for `weight` in a `rank_feature(s)` field: float32 truncated
 * toward zero to 9 significant bits (relative error < 2⁻⁸). Scores use this number.
 */
export function luceneStored(weight: number): number {
  return floatOf((bitsOf(weight) >>> LUCENE_DROPPED_BITS) << LUCENE_DROPPED_BITS);
}

/**
 * `weight` rounded to the nearest float32 with `bits` significant bits, ties to even; never
 * infinite (the largest weight that fits instead). `bits` in 1…24, 24 changes nothing.
 */
export function roundWeight(weight: number, bits: number): number {
  const dropped = 24 - bits;
  const pattern = bitsOf(weight);
  if (dropped === 0) return floatOf(pattern);
  const lowestKept = (pattern >>> dropped) & 1;
  const half = 2 ** (dropped - 1);
  const rounded = ((pattern + half - 1 + lowestKept) >>> dropped) << dropped;
  return floatOf(rounded > LARGEST_FLOAT32 ? (LARGEST_FLOAT32 >>> dropped) << dropped : rounded);
}

/**
 * Rounds every weight to `bits` significant bits (1…24). With `bits` ≤ 9 the result is what
 * Lucene stores: `luceneStored(w) === w` for each weight. Weights stay positive and normal.
 * @throws CspladeError `config_invalid` for another number of bits.
 */
export function quantize(vector: SparseVector, bits: number): SparseVector {
  if (!Number.isInteger(bits) || bits < 1 || bits > 24) {
    throw new CspladeError(
      "config_invalid",
      `A weight cannot be quantized to ${bits} bits: it must be a whole number from 1 to 24.`,
      { hint: "Lucene stores 9 bits; 24 switches quantization off." },
    );
  }
  if (bits === 24) return vector;
  const weights = vector.weights.map((weight) => roundWeight(weight, bits));
  const ids = vector.ids.slice();
  // Rounding keeps the order of weights; those that it makes equal go by their ids, few at a time.
  for (let last = 1; last < ids.length; last++) {
    for (let i = last; i > 0 && weights[i - 1] === weights[i]; i--) {
      const [before, id] = [ids[i - 1] as number, ids[i] as number];
      if (before < id) break;
      ids[i - 1] = id;
      ids[i] = before;
    }
  }
  return { ids, weights };
}
