/**
 * Batches by token budget over length-sorted texts: rows × longest row ≤ budget,
 * so that memory stays bounded, and cut where padding would cost more than another call.
 */

/**
 * What one call of the model costs beside its tokens, in tokens: the weights are read once per
 * call. Measured on a CPU, 12 tokens for a 40 MB model; a device that wants larger batches also
 * has dearer calls, so it grows with the budget.
 */
function callCost(tokenBudget: number): number {
  return Math.max(12, tokenBudget / 32);
}

/**
 * Groups texts into the batches that compute the fewest tokens, padding and calls included.
 * @param lengths tokens per text, each ≥ 1
 * @param tokenBudget most padded tokens in a batch; a single longer text is a batch of its own
 * @returns indices into `lengths`, every index exactly once, longest texts first
 */
export function planBatches(lengths: readonly number[], tokenBudget: number): number[][] {
  const order = lengths.map((_, index) => index);
  order.sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b);
  const sorted = order.map((index) => lengths[index] as number);
  const perCall = callCost(tokenBudget);
  // From the back: the least cost of all texts from `start` on, and where their first batch ends.
  const cost = new Float64Array(sorted.length + 1);
  const ends = new Uint32Array(sorted.length);
  for (let start = sorted.length - 1; start >= 0; start--) {
    const longest = sorted[start] as number;
    let least = Infinity;
    for (let end = start + 1; end <= sorted.length; end++) {
      const rows = end - start;
      if (rows > 1 && rows * longest > tokenBudget) break;
      // The last text alone would be cheaper than its padding here.
      if (longest - (sorted[end - 1] as number) > perCall) break;
      const total = perCall + rows * longest + (cost[end] as number);
      if (total <= least) {
        least = total;
        ends[start] = end;
      }
    }
    cost[start] = least;
  }
  const batches: number[][] = [];
  for (let start = 0; start < sorted.length; start = ends[start] as number) {
    batches.push(order.slice(start, ends[start]));
  }
  return batches;
}
