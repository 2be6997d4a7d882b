/**
 * Measuring several ways to do the same work on a machine that is not quiet: they take turns in
 * rounds, so that whatever else runs meets all alike, and are compared round by round.
 */

/** A ratio of two ways, from rounds. */
export interface PairedRatio {
  /** Median over the rounds. */
  readonly ratio: number;
  /** Bounds of the interval that holds the true median with at least 95 % certainty. */
  readonly low: number;
  readonly high: number;
}

/**
 * Runs every way once per round, each round beginning with the next one.
 * @returns the results by way, in order of rounds
 */
export async function inRounds<T>(
  rounds: number,
  ways: readonly (() => T | Promise<T>)[],
  onRound?: (round: number) => void,
): Promise<T[][]> {
  const results = ways.map((): T[] => []);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < ways.length; turn++) {
      const way = (round + turn) % ways.length;
      const result = await (ways[way] as () => T | Promise<T>)();
      (results[way] as T[]).push(result);
    }
    onRound?.(round + 1);
  }
  return results;
}

/**
 * The median of `ours[i] / theirs[i]` and its confidence interval from order statistics, which
 * supposes nothing about how noise is distributed: a round that another program spoilt moves
 * neither. Fewer than six rounds cannot give 95 %: then the interval is all that was seen.
 */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): PairedRatio {
  if (ours.length === 0 || ours.length !== theirs.length) {
    throw new RangeError(
      `Paired rounds are as many on both sides, not ${ours.length}, ${theirs.length}.`,
    );
  }
  const ratios = ours.map((value, i) => value / (theirs[i] as number)).sort((a, b) => a - b);
  const cut = ordersOutside(ratios.length);
  return {
    ratio: median(ratios),
    low: ratios[cut] as number,
    high: ratios[ratios.length - 1 - cut] as number,
  };
}

/** The middle value; of an even number, the mean of both in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? (sorted[Math.floor(middle)] as number)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

/** How many values may be left out at each end of n sorted ones, the median staying inside at 95 %. */
function ordersOutside(n: number): number {
  let probability = 0.5 ** n;
  let below = probability;
  let cut = 0;
  while (2 * below <= 0.05) {
    cut++;
    probability *= (n - cut + 1) / cut;
    below += probability;
  }
  return Math.max(0, cut - 1);
}
