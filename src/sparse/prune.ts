/**
 * Pruning: keeping the heavy terms of a vector. Names, comparisons and float32
 * arithmetic follow OpenSearch's neural-search plugin (`prune_type`, `prune_ratio`
 * of the `sparse_encoding` processor and of `neural_sparse_two_phase_processor`),
 * so a ratio that was tuned there means the same here.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { sparseVector, termsOf, type SparseVector } from "./sparse-vector.js";

/** The ways to prune, by neural-search's names. */
export const pruneTypes = ["none", "top_k", "max_ratio", "alpha_mass", "abs_value"] as const;
/** One of them. */
export type PruneType = (typeof pruneTypes)[number];

/** How to prune one vector. */
export interface PruneOptions {
  readonly prune_type: PruneType;
  /**
   * `top_k`: how many terms stay, a whole number ≥ 1. `max_ratio`: terms stay that weigh at
   * least this share of the heaviest, [0, 1). `alpha_mass`: the heaviest terms stay whose sum
   * is at most this share of all weights, [0, 1). `abs_value`: terms stay that weigh at least
   * this much, ≥ 0. Ignored with `none`.
   */
  readonly prune_ratio: number;
}

/** A vector cut in two: `strong` is what {@link prune} keeps, `weak` the rest. */
export interface SplitVector {
  readonly strong: SparseVector;
  readonly weak: SparseVector;
}

/** Checks of `prune_ratio`, by type, and the sentence for a ratio that fails. */
const VALID_RATIO: Record<PruneType, readonly [valid: (ratio: number) => boolean, rule: string]> = {
  none: [() => true, ""],
  top_k: [(ratio) => Number.isInteger(ratio) && ratio > 0, "a whole number of at least 1"],
  max_ratio: [(ratio) => ratio >= 0 && ratio < 1, "at least 0 and below 1"],
  alpha_mass: [(ratio) => ratio >= 0 && ratio < 1, "at least 0 and below 1"],
  abs_value: [(ratio) => Number.isFinite(ratio) && ratio >= 0, "a number of at least 0"],
};

/** What a ratio must be to fit its type, if it does not: "at least 0 and below 1". */
export function pruningProblem({ prune_type, prune_ratio }: PruneOptions): string | undefined {
  const [valid, rule] = VALID_RATIO[prune_type];
  return valid(prune_ratio) ? undefined : rule;
}

/** Whether a ratio fits its type. */
export function isPruning(options: PruneOptions): boolean {
  return pruningProblem(options) === undefined;
}

/**
 * Checks a ratio against its type.
 * @throws CspladeError `config_invalid` for a ratio that neural-search would refuse as well.
 */
function checkPruning(options: PruneOptions): PruneOptions {
  const rule = pruningProblem(options);
  if (rule !== undefined) {
    throw new CspladeError(
      "config_invalid",
      `prune_ratio ${options.prune_ratio} does not fit prune_type ${options.prune_type}: it must be ${rule}.`,
      { hint: "Use prune_type none to keep every term." },
    );
  }
  return options;
}

/**
 * The terms that pruning keeps, with their weights untouched. `alpha_mass` may keep none:
 * neural-search also drops the heaviest term when it alone exceeds the share.
 * @throws CspladeError `config_invalid` (see {@link checkPruning}).
 */
export function prune(vector: SparseVector, options: PruneOptions): SparseVector {
  const kept = strongTerms(vector, checkPruning(options));
  return kept === vector.ids.length ? vector : slice(vector, 0, kept);
}

/**
 * Cuts a vector for two-phase search: the strong terms find candidates, the weak ones only
 * rescore them. Every term is in exactly one half.
 * @throws CspladeError `config_invalid` (see {@link checkPruning}).
 */
export function split(vector: SparseVector, options: PruneOptions): SplitVector {
  const kept = strongTerms(vector, checkPruning(options));
  return { strong: slice(vector, 0, kept), weak: slice(vector, kept, vector.ids.length) };
}

/** Cuts a vector in two: `strong` has the terms of `ids`, `weak` all others, each in its order. */
export function splitBy(vector: SparseVector, ids: ReadonlySet<number>): SplitVector {
  const terms = [...termsOf(vector)];
  return {
    strong: sparseVector(terms.filter(([id]) => ids.has(id))),
    weak: sparseVector(terms.filter(([id]) => !ids.has(id))),
  };
}

/** How many leading terms stay: vectors are sorted by weight, so every rule is a prefix. */
function strongTerms(vector: SparseVector, { prune_type, prune_ratio }: PruneOptions): number {
  const { weights } = vector;
  const ratio = Math.fround(prune_ratio);
  switch (prune_type) {
    case "none":
      return weights.length;
    case "top_k":
      return Math.min(weights.length, prune_ratio);
    case "max_ratio":
      return termsFrom(weights, Math.fround(ratio * (weights[0] ?? 0)));
    case "abs_value":
      return termsFrom(weights, ratio);
    case "alpha_mass":
      return termsWithin(weights, ratio);
  }
}

/** Leading weights that are at least `threshold`. */
function termsFrom(weights: Float32Array, threshold: number): number {
  const first = weights.findIndex((weight) => weight < threshold);
  return first < 0 ? weights.length : first;
}

/** Leading weights whose running float32 sum is at most `share` of the whole. */
function termsWithin(weights: Float32Array, share: number): number {
  let total = 0;
  for (const weight of weights) total += weight;
  const limit = Math.fround(share * Math.fround(total));
  let running = 0;
  for (let i = 0; i < weights.length; i++) {
    running = Math.fround(running + (weights[i] as number));
    if (running > limit) return i;
  }
  return weights.length;
}

function slice(vector: SparseVector, start: number, end: number): SparseVector {
  return { ids: vector.ids.slice(start, end), weights: vector.weights.slice(start, end) };
}
