/**
 * Quantization: fewer significant bits per weight. Lucene's feature field keeps a term
 * frequency of 16 bits, the upper half of the float32 shifted by one (`FeatureField`):
 * sign aside, 8 exponent bits and 8 of the 23 fraction bits, so 9 significant bits, the
 * rest cut off. Rounding to nearest before sending halves the error of that cut; what is sent
 * then in fewer digits (`storedFeaturesJson`) is stored as the same weight.
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { SparseVector } from "./sparse-vector.js";

/** Significant bits (the leading one included) of a weight in Lucene's feature field. */
export const LUCENE_BITS = 9;

const LUCENE_DROPPED_BITS = 24 - LUCENE_BITS;
const LARGEST_FLOAT32 = 0x7f7fffff;

const float = new Float32Array(1);
const pattern = new Uint32Array(float.buffer);

/** Bit pattern of a float32. */
function bitsOf(weight: number): number {
  float[0] = weight;
  return pattern[0] as number;
}

function floatOf(bits: number): number {
  pattern[0] = bits;
  return float[0] as number;
}

/** What Lucene keeps of a positive weight's bits: less than 65,536, the same for what it stores alike. */
export function luceneBits(weight: number): number {
  return bitsOf(weight) >>> LUCENE_DROPPED_BITS;
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
  return floatOf(roundBits(bitsOf(weight), 24 - bits));
}

/** A positive float32's bit pattern without its lowest `dropped` bits, rounded. */
function roundBits(bits: number, dropped: number): number {
  if (dropped === 0) return bits;
  const lowestKept = (bits >>> dropped) & 1;
  const half = 1 << (dropped - 1);
  const rounded = ((bits + half - 1 + lowestKept) >>> dropped) << dropped;
  return rounded > LARGEST_FLOAT32 ? (LARGEST_FLOAT32 >>> dropped) << dropped : rounded;
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
  const weights = vector.weights.slice();
  // Every written document comes by here: the weights' bits are rounded where they are.
  const patterns = new Uint32Array(weights.buffer, weights.byteOffset, weights.length);
  for (let i = 0; i < patterns.length; i++) {
    patterns[i] = roundBits(patterns[i] as number, 24 - bits);
  }
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
