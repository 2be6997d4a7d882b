/**
 * Fisher's paired randomization test: could the difference between two systems on the same
 * queries be chance? If the systems were equal, which of them gave which of a query's two values
 * would be a toss-up; so signs of the per-query differences are tossed again and again, and the
 * p-value is how often their sum comes out at least as far from 0 as it did (Smucker et al. 2007,
 * "A comparison of statistical significance tests for information retrieval evaluation").
 */

import { randomBits } from "./random-bits.js";

/** A difference between two systems. */
export interface Significance {
  /** Mean of the per-query differences, first system minus second. */
  readonly difference: number;
  /** Two-sided p-value in (0, 1]. */
  readonly p_value: number;
}

/** A p-value in words: `p = 0.031`. */
export function pPhrase(p: number): string {
  return p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
}

/** How the test tosses. */
export interface RandomizationOptions {
  /** Random sign assignments; the smallest p-value is 1 / (rounds + 1). 10,000 without it. */
  readonly rounds?: number;
  /** Start of the random numbers: the same seed gives the same p-value. 1 without it. */
  readonly seed?: number;
}

/** Sums of the same numbers in another order differ by rounding: that is no difference. */
const ROUNDING = 1e-9;

/**
 * Compares two systems by one metric. Where there are no more sign assignments than rounds, all of
 * them are counted and the p-value is exact; else it is an estimate whose standard error is
 * √(p (1 − p) / rounds), and the observed assignment counts as one of the drawn ones, so that it is
 * never 0.
 * @param first per-query values of the first system; only queries that both have count.
 */
export function compareSystems(
  first: ReadonlyMap<string, number>,
  second: ReadonlyMap<string, number>,
  { rounds = 10_000, seed = 1 }: RandomizationOptions = {},
): Significance {
  const differences: number[] = [];
  for (const [query, value] of first) {
    const other = second.get(query);
    if (other !== undefined) differences.push(value - other);
  }
  const total = differences.reduce((sum, difference) => sum + difference, 0);
  // A query that both answer alike adds 0 whatever its sign.
  const sizes = differences.filter((difference) => difference !== 0);
  const least = Math.abs(total) - ROUNDING;
  return {
    difference: differences.length === 0 ? 0 : total / differences.length,
    p_value:
      2 ** sizes.length <= rounds
        ? exactShare(sizes, least)
        : (drawnExtremes(sizes, least, rounds, seed) + 1) / (rounds + 1),
  };
}

/** Share of all sign assignments whose sum is at least `least` from 0. */
function exactShare(sizes: readonly number[], least: number): number {
  const assignments = 2 ** sizes.length;
  let extreme = 0;
  for (let signs = 0; signs < assignments; signs++) {
    let sum = 0;
    for (const [bit, size] of sizes.entries()) sum += (signs >>> bit) & 1 ? size : -size;
    if (Math.abs(sum) >= least) extreme += 1;
  }
  return extreme / assignments;
}

function drawnExtremes(
  sizes: readonly number[],
  least: number,
  rounds: number,
  seed: number,
): number {
  const next = randomBits(seed);
  let extreme = 0;
  for (let round = 0; round < rounds; round++) {
    let sum = 0;
    let bits = 0;
    for (const [i, size] of sizes.entries()) {
      if (i % 32 === 0) bits = next();
      sum += bits & 1 ? size : -size;
      bits >>>= 1;
    }
    if (Math.abs(sum) >= least) extreme += 1;
  }
  return extreme;
}
