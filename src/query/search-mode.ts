/** The ways to search: which documents are looked at, and what their scores mean. */

/**
 * - `plain`: every document that shares a term with the query, by dot product.
 * - `two_phase`: the question's own words retrieve, what the model added rescores the best hits.
 * - `ann`: an approximate index retrieves, the learned weights rank its best hits.
 * - `lexical`: BM25 with the words that the model adds to the question; the index needs no vectors.
 * - `hybrid`: BM25 and the learned weights each rank, and the two rankings are fused.
 */
export const searchModes = ["plain", "two_phase", "ann", "lexical", "hybrid"] as const;

/** One of {@link searchModes}. */
export type SearchMode = (typeof searchModes)[number];

/** Modes that read the words of the question besides its vector. */
export function needsText(mode: SearchMode): boolean {
  return mode === "hybrid" || mode === "lexical";
}
