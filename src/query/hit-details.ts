/**
 * A second look at hits that are already ranked: their sources, or why each scored. Modes
 * that rank in more than one step ask for it once the ranking is final.
 */
import { accepted, isNested, post, shownParts, type PreparedSearch } from "./prepared-search.js";
import { fitText, withBm25Query } from "./bm25-query.js";
import { estimateClauses, type QueryClause } from "./query-clause.js";
import { translateQuery } from "./query-translator.js";
import { hitKey, readHit, type AnsweredHit } from "./search-answer.js";
import { needsText } from "./search-mode.js";
import type { Hit } from "./search-result.js";

/** Clauses of the query below that are not the vector's terms. */
const OTHER_CLAUSES = 4;

/** Details by {@link hitKey}, and what they took. */
export interface HitDetails {
  readonly hits: ReadonlyMap<string, AnsweredHit>;
  readonly took_ms: number;
}

/**
 * Asks again for `hits`, by their ids; the score of each is its plain score.
 * @param what `why`: only explanations and best passages. `all`: sources and what was asked
 * around the search as well.
 */
export async function hitDetails(
  asked: PreparedSearch,
  hits: readonly AnsweredHit[],
  what: "why" | "all",
): Promise<HitDetails> {
  if (hits.length === 0) return { hits: new Map(), took_ms: 0 };
  // Sources and what was asked around the search come from the caller's own query: its filter names
  // queries and has inner hits, its words are what is highlighted.
  const whole = what === "all";
  const filter = whole ? asked.request.filter : undefined;
  const worded = whole && needsText(asked.mode);
  const limit = asked.translation.max_clause_count;
  const terms = Math.min(asked.plain.vector.ids.length, Math.floor(limit / 2));
  const { text, words } = fitText(
    worded ? asked.text : "",
    asked.text_fields,
    limit,
    terms + estimateClauses(filter) + OTHER_CLAUSES,
  );
  const { query } = translateQuery({
    ...asked.translation,
    filter: undefined,
    other_clauses: words * asked.text_fields.length + estimateClauses(filter) + OTHER_CLAUSES,
  });
  const narrowing = filter === undefined ? [] : [filter].flat();
  const ids = [...new Set(hits.map((hit) => hit._id))];
  // Indices behind one name may share ids: room for each of them.
  const indices = new Set(hits.map((hit) => hit._index)).size;
  const ask = (should: readonly QueryClause[]) =>
    post(asked, {
      ...(whole ? shownParts(asked) : { _source: false }),
      query: { bool: { filter: [{ ids: { values: ids } }, ...narrowing], should } },
      size: Math.min(10_000, ids.length * indices),
      track_total_hits: false,
      ...(asked.request.explain === true ? { explain: true } : {}),
    });
  // The words add nothing to the score: it is to be the plain one.
  const idle = (bm25: QueryClause) => ({ constant_score: { filter: bm25, boost: 0 } });
  const answer = await accepted(
    asked,
    await (words === 0
      ? ask([query])
      : withBm25Query(asked.cluster, text, asked.text_fields, (bm25) => ask([query, idle(bm25)]))),
  );
  return {
    hits: new Map(answer.hits.map((hit) => [hitKey(hit), hit])),
    took_ms: answer.took_ms,
  };
}

/** Hits that were ranked and returned in one request, with what only a second one can tell. */
export async function withReasons(
  asked: PreparedSearch,
  ranked: readonly AnsweredHit[],
): Promise<{ readonly hits: readonly Hit[]; readonly took_ms: number }> {
  const hits = ranked.map((hit) => readHit(hit, asked.request.collapse));
  if (asked.request.explain !== true && !isNested(asked)) return { hits, took_ms: 0 };
  const details = await hitDetails(asked, ranked, "why");
  return {
    hits: ranked.map((hit, i) => {
      const { contributions, passage } = readHit(details.hits.get(hitKey(hit)) ?? hit, undefined);
      return {
        ...(hits[i] as Hit),
        contributions,
        ...(passage === undefined ? {} : { passage }),
      };
    }),
    took_ms: details.took_ms,
  };
}
