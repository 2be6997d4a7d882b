/**
 * Fisher's paired randomization test: could the difference between two systems on the same
 * queries be chance? (Smucker et al. 2007, "A comparison of statistical significance tests
 * for information retrieval evaluation".)
 */

/** A difference between two systems. */
export interface Significance {
  /** Mean of the per-query differences, first system minus second. */
  readonly difference: number;
  /** Two-sided p-value in (0, 1]: how often random swaps give a difference at least as large. */
  readonly p_value: number;
}

/**
 * Compares two systems by one metric.
 * @param first per-query values of the first system; only queries that both have count.
 * @param rounds random sign assignments; the smallest p-value is 1 / (rounds + 1).
 */
export function compareSystems(
  first: ReadonlyMap<string, number>,
  second: ReadonlyMap<string, number>,
  rounds = 10_000,
): Significance {
  const differences: number[] = [];
  for (const [query, value] of first) {
    const other = second.get(query);
    if (other !== undefined) differences.push(value - other);
  }
  const total = differences.reduce((sum, difference) => sum + difference, 0);
  // Sums of the same numbers in another order differ by rounding: that is no difference.
  const least = Math.abs(total) - 1e-9;
  const random = coin();
  let asLarge = 0;
  for (let round = 0; round < rounds; round++) {
    let sum = 0;
    for (const difference of differences) sum += random() ? difference : -difference;
    if (Math.abs(sum) >= least) asLarge += 1;
  }
  return {
    difference: differences.length === 0 ? 0 : total / differences.length,
    p_value: (asLarge + 1) / (rounds + 1),
  };
}

/** A reproducible coin (xorshift32): the same two runs always give the same p-value. */
function coin(): () => boolean {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state > 0;
  };
}
