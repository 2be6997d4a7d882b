/**
 * A sparse vector: token id → term weight, in CSPLADE's sense
 * `w_t(x) = max_i log(1 + ReLU(logit_{i,t}))` (Xu et al. 2025, arXiv 2504.10816).
 */
import { CspladeError } from "../errors/csplade-error.js";

/**
 * Two parallel arrays, sorted by descending weight (ties: ascending id).
 * Ids are unique; weights are positive, finite, normal float32 numbers.
 */
export interface SparseVector {
  /** Token ids of the checkpoint's vocabulary. */
  readonly ids: Uint32Array;
  /** Term weights, same length as `ids`. */
  readonly weights: Float32Array;
}

/** Smallest positive normal float32: OpenSearch refuses anything below it in `rank_features`. */
export const MIN_WEIGHT = 1.1754943508222875e-38;

/** A vector with no terms (an empty text has one). */
export const EMPTY_VECTOR: SparseVector = {
  ids: new Uint32Array(0),
  weights: new Float32Array(0),
};

/**
 * Builds a vector from unordered terms, dropping zeros.
 * @throws CspladeError `encode_failed` if a weight is NaN, infinite or negative, or an id repeats.
 */
export function sparseVector(terms: Iterable<readonly [id: number, weight: number]>): SparseVector {
  const kept: [number, number][] = [];
  const seen = new Set<number>();
  for (const [id, weight] of terms) {
    if (!Number.isInteger(id) || id < 0 || id > 0xffffffff) {
      throw new CspladeError("encode_failed", `A term id must be a whole number ≥ 0, got ${id}.`);
    }
    if (!Number.isFinite(weight) || weight < 0) {
      throw new CspladeError(
        "encode_failed",
        `Term ${id} has the weight ${weight}; weights are finite and ≥ 0.`,
      );
    }
    if (seen.has(id)) {
      throw new CspladeError("encode_failed", `Term ${id} appears twice in one vector.`);
    }
    seen.add(id);
    const single = Math.fround(weight);
    if (single >= MIN_WEIGHT && Number.isFinite(single)) kept.push([id, single]);
  }
  kept.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  return {
    ids: Uint32Array.from(kept, (term) => term[0]),
    weights: Float32Array.from(kept, (term) => term[1]),
  };
}

/** The vector's terms as `[id, weight]` pairs, heaviest first. */
export function* termsOf(vector: SparseVector): Generator<readonly [id: number, weight: number]> {
  for (let i = 0; i < vector.ids.length; i++) {
    yield [vector.ids[i] as number, vector.weights[i] as number];
  }
}

/**
 * Per-term maximum over several vectors. CSPLADE pools positions by maximum,
 * so this is the vector of a long document whose passages were encoded apart.
 */
export function maxMerge(vectors: readonly SparseVector[]): SparseVector {
  if (vectors.length === 1) return vectors[0] as SparseVector;
  const merged = new Map<number, number>();
  for (const vector of vectors) {
    for (const [id, weight] of termsOf(vector)) {
      if (weight > (merged.get(id) ?? 0)) merged.set(id, weight);
    }
  }
  return sparseVector(merged);
}
