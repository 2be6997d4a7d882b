/**
 * `sort` in the mode whose `rescore` ranks the best of a first look: the engine refuses the two
 * together, and of the best by score, the newest, say, would be a chance selection. So every
 * document of the first look is scored in full, in one query, and sorted as asked.
 */
import type { ClusterResponse } from "../cluster/request.js";
import type { BodyParts } from "./search-body.js";
import { accepted, pageParts, type PreparedSearch } from "./prepared-search.js";
import { withReasons } from "./hit-details.js";
import type { QueryClause } from "./query-clause.js";
import { translateQuery } from "./query-translator.js";
import type { SearchAnswer } from "./search-answer.js";
import type { Hit } from "./search-result.js";

/** Hits in the order that was asked for. */
export interface SortedHits {
  readonly answer: SearchAnswer;
  readonly hits: readonly Hit[];
  /** Of the second look, where one was needed. */
  readonly took_ms: number;
  readonly note: string;
}

/** True where hits are to be sorted by anything but the score alone. */
export function isSorted({ body }: Pick<PreparedSearch, "body">): boolean {
  return body.shown.sort !== undefined;
}

/**
 * Searches with one query.
 * @param clauses of the query of the first look: the cluster takes so many in all.
 * @param send sends what a builder makes of the query of the first look, its filter included.
 * @throws CspladeError as a search does.
 */
export async function searchSorted(
  asked: PreparedSearch,
  clauses: number,
  send: (body: (first: QueryClause) => BodyParts) => Promise<ClusterResponse>,
): Promise<SortedHits> {
  const { collapse } = asked.request;
  const least = asked.body.min_score;
  const answer = await accepted(
    asked,
    await send((first) => ({
      ...pageParts(asked),
      query: wholeQuery(asked, first, clauses),
      ...(collapse === undefined ? {} : { collapse: { field: collapse } }),
      ...(least === undefined ? {} : { min_score: least }),
    })),
  );
  const { hits, took_ms } = await withReasons(asked, answer.hits);
  return {
    answer,
    took_ms,
    hits,
    note: `To sort, mode ${asked.mode} scores every document of its first look, not only the best: slower than without sort.`,
  };
}

/** The first look decides which documents match, the learned weights their scores. */
function wholeQuery(
  { translation, plain }: PreparedSearch,
  first: QueryClause,
  clauses: number,
): QueryClause {
  const { query: learned } = translateQuery({
    ...translation,
    vector: plain.vector,
    filter: undefined,
    inner_hits: undefined,
    other_clauses: clauses,
  });
  return { bool: { filter: [first], should: [learned] } };
}
