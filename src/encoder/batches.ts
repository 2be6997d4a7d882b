/**
 * Batches by token budget over length-sorted texts: rows × longest row ≤ budget,
 * so that little of a batch is padding and memory stays bounded.
 */

/**
 * Groups texts into batches.
 * @param lengths tokens per text, each ≥ 1
 * @param tokenBudget most padded tokens in a batch; a single longer text is a batch of its own
 * @returns indices into `lengths`, every index exactly once, longest texts first
 */
export function planBatches(lengths: readonly number[], tokenBudget: number): number[][] {
  const order = lengths.map((_, index) => index);
  order.sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  let longest = 0;
  for (const index of order) {
    if (batch.length > 0 && (batch.length + 1) * longest > tokenBudget) {
      batches.push(batch);
      batch = [];
    }
    if (batch.length === 0) longest = lengths[index] as number;
    batch.push(index);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}
