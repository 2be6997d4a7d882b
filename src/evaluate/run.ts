/** A run: what a system returned for each query, ranked as trec_eval ranks it. */

/** A document that a system returned, with its score. */
export interface RankedDocument {
  readonly id: string;
  readonly score: number;
}

/** Query id → documents, best first (see {@link rank}). A query without hits has an empty list. */
export type Run = ReadonlyMap<string, readonly RankedDocument[]>;

/**
 * Sorts as trec_eval does, whatever order a system returned: by descending float32 score,
 * ties by descending id in byte order. So every tool gives the same figures for one run.
 */
export function rank(documents: readonly RankedDocument[]): RankedDocument[] {
  return [...documents].sort(
    (a, b) =>
      Math.fround(b.score) - Math.fround(a.score) ||
      Buffer.compare(Buffer.from(b.id), Buffer.from(a.id)),
  );
}
