/**
 * `sort` in the modes whose `rescore` ranks the best of a first look: the engine refuses the two
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

/** How a mode finds documents, and what makes up their scores. */
export interface FirstLook {
  /** Clauses of its query: the cluster takes so many in all. */
  readonly clauses: number;
  /** Factors of its own score and of the learned one; 0 and 1 where scores are plain. */
  readonly query_weight: number;
  readonly rescore_query_weight: number;
}

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
 * @param send sends what a builder makes of the query of the first look, its filter included.
 * @throws CspladeError as a search does.
 */
export async function searchSorted(
  asked: PreparedSearch,
  look: FirstLook,
  send: (body: (first: QueryClause) => BodyParts) => Promise<ClusterResponse>,
): Promise<SortedHits> {
  const { collapse } = asked.request;
  const least = asked.body.min_score;
  const answer = await accepted(
    asked,
    await send((first) => ({
      ...pageParts(asked),
      query: wholeQuery(asked, first, look),
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

/** The first look decides which documents match, the learned weights add their score. */
function wholeQuery(
  { translation, plain }: PreparedSearch,
  first: QueryClause,
  { clauses, query_weight, rescore_query_weight }: FirstLook,
): QueryClause {
  const { query: learned } = translateQuery({
    ...translation,
    vector: plain.vector,
    filter: undefined,
    inner_hits: undefined,
    other_clauses: clauses,
  });
  return {
    bool: {
      ...(query_weight === 0 ? { filter: [first] } : { must: [times(first, query_weight)] }),
      should: [times(learned, rescore_query_weight)],
    },
  };
}

function times(query: QueryClause, boost: number): QueryClause {
  return boost === 1 ? query : { bool: { must: [query], boost } };
}
