/** Inverse document frequency: how much it says that a text has a term. */

/** Least and greatest idf that counts. */
export type IdfRange = readonly [least: number, greatest: number];

/** How a model's vectors share the weight of a word out between a query and a document. */
export interface IdfScale {
  /** A document's side has √idf times this, a query's √idf over this. */
  readonly unit: number;
  readonly idf_range: IdfRange;
}

/**
 * BM25's idf, ln(1 + (N - n + ½) / (n + ½)), within a range.
 * @param documents N, how many documents there are.
 * @param found n, how many of them have the term; more than N counts as N.
 */
export function idf(documents: number, found: number, [least, greatest]: IdfRange): number {
  const without = Math.max(0, documents - found);
  return Math.min(greatest, Math.max(least, Math.log1p((without + 0.5) / (found + 0.5))));
}
