/**
 * A second look at hits that are already ranked: their sources, or why each scored. Modes
 * that rank in more than one step ask for it once the ranking is final.
 */
import { accepted, isNested, post, shownParts, type AskedSearch } from "./asked-search.js";
import { translateQuery } from "./query-translator.js";
import { hitKey, readHit, type AnsweredHit } from "./search-answer.js";
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
  asked: AskedSearch,
  hits: readonly AnsweredHit[],
  what: "why" | "all",
): Promise<HitDetails> {
  if (hits.length === 0) return { hits: new Map(), took_ms: 0 };
  const { query } = translateQuery({
    ...asked.translation,
    filter: undefined,
    other_clauses: OTHER_CLAUSES,
  });
  const ids = [...new Set(hits.map((hit) => hit._id))];
  // Indices behind one name may share ids: room for each of them.
  const indices = new Set(hits.map((hit) => hit._index)).size;
  const answer = await accepted(
    asked,
    await post(asked, {
      ...(what === "all" ? shownParts(asked) : { _source: false }),
      query: { bool: { filter: [{ ids: { values: ids } }], should: [query] } },
      size: Math.min(10_000, ids.length * indices),
      track_total_hits: false,
      ...(asked.request.explain === true ? { explain: true } : {}),
    }),
  );
  return {
    hits: new Map(answer.hits.map((hit) => [hitKey(hit), hit])),
    took_ms: answer.took_ms,
  };
}

/** Hits that were ranked and returned in one request, with what only a second one can tell. */
export async function withReasons(
  asked: AskedSearch,
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
