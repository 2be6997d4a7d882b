/**
 * The parts of a search body that are the caller's own: aggregations, sorting, highlighting.
 * They go around the query as they are, except where a mode needs them done another way.
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { SearchMode } from "./search-mode.js";

/** Body parts that a search makes itself, and the option that stands for them. */
const OWN_PARTS: ReadonlyMap<string, string> = new Map([
  ["query", "vector, and filter for what narrows the hits"],
  ["size", "size"],
  ["from", "from"],
  ["_source", "source"],
  ["explain", "explain"],
  ["collapse", "collapse"],
  ["retriever", "mode: hybrid"],
  ["knn", "vector"],
  ["rescore", "mode: two_phase"],
  ["search_pipeline", "mode: hybrid"],
]);

/** Own parts that nothing of ours stands for in a plain search. */
const FREE_IN_PLAIN: ReadonlySet<string> = new Set(["rescore", "search_pipeline"]);

/** Why a mode takes no `sort`, and what to do; the other modes sort what they find. */
const UNSORTED: Readonly<Partial<Record<SearchMode, string>>> = {
  hybrid: "its scores are made of places in two rankings",
  ann: "it ranks the best that an approximate index finds, and there is no order but theirs",
};

/** Parts that decide which documents are ranked, or how many are counted. */
const RANKING: ReadonlySet<string> = new Set([
  "post_filter",
  "track_total_hits",
  "timeout",
  "terminate_after",
  "indices_boost",
]);

/** Parts that are about all matching documents. */
const WHOLE: ReadonlySet<string> = new Set(["aggs", "aggregations", "suggest"]);

/** Parts of a search body. */
export type BodyParts = Readonly<Record<string, unknown>>;

/** The caller's parts, sorted by who takes care of them. */
export interface SearchBody {
  /** Which documents are ranked, how many are counted. */
  readonly ranking: BodyParts;
  /** What is asked of all matching documents: aggregations. */
  readonly whole: BodyParts;
  /** What is asked of the hits shown: highlighting, fields, sorting. */
  readonly shown: BodyParts;
  /** Least score of a hit, if any was asked for. */
  readonly min_score: number | undefined;
}

/**
 * Checks and sorts the caller's parts.
 * @throws CspladeError `query_invalid` for a part that the search makes itself, or that the
 * mode cannot keep.
 */
export function checkSearchBody(body: BodyParts | undefined, mode: SearchMode): SearchBody {
  const { min_score: least, ...given } = body ?? {};
  const parts = withoutIdleSort(given, mode);
  for (const name of Object.keys(parts)) {
    const option = OWN_PARTS.get(name);
    if (option !== undefined && !(mode === "plain" && FREE_IN_PLAIN.has(name))) {
      throw new CspladeError(
        "query_invalid",
        `The search body's ${name} is made from the request and cannot be given besides.`,
        { hint: `Use the option ${option}.` },
      );
    }
    const unsorted = UNSORTED[mode];
    if ((name === "sort" || name === "search_after") && unsorted !== undefined) {
      throw new CspladeError(
        "query_invalid",
        `A search in mode ${mode} takes no ${name}: ${unsorted}.`,
        {
          hint: `Leave ${name} out and page with from and size, or search in mode plain or two_phase.`,
        },
      );
    }
  }
  if (least !== undefined && (typeof least !== "number" || !Number.isFinite(least))) {
    throw new CspladeError("query_invalid", `min_score is a number; got ${JSON.stringify(least)}.`);
  }
  if (parts.search_after !== undefined && parts.sort === undefined) {
    throw new CspladeError("query_invalid", "search_after goes on from the last hit of a sort.", {
      hint: 'Give the same sort as before, its last key unique to a document, such as {"_score": "desc"} and {"id": "asc"}.',
    });
  }
  const pick = (wanted: (name: string) => boolean) =>
    Object.fromEntries(Object.entries(parts).filter(([name]) => wanted(name)));
  return {
    ranking: pick((name) => RANKING.has(name)),
    whole: pick((name) => WHOLE.has(name)),
    shown: pick((name) => !RANKING.has(name) && !WHOLE.has(name)),
    min_score: least,
  };
}

/** Sorting by the score alone is what every mode does; engines take it beside `rescore`, too. */
function withoutIdleSort(parts: BodyParts, mode: SearchMode): BodyParts {
  const { sort, ...rest } = parts;
  const idle = mode !== "plain" && rest.search_after === undefined && isByScore(sort);
  return idle ? rest : parts;
}

function isByScore(sort: unknown): boolean {
  if (Array.isArray(sort)) return sort.length === 1 && isByScore(sort[0]);
  if (sort === "_score") return true;
  if (sort === null || typeof sort !== "object" || Object.keys(sort).length !== 1) return false;
  const { _score: order } = sort as { readonly _score?: unknown };
  return order === "desc" || JSON.stringify(order) === '{"order":"desc"}';
}

/** What a mode that ranks only the best hits of a first look puts into the search body besides its query. */
export interface RankedBody {
  /** Parts of the body that make the ranking: `rescore`, `search_pipeline`. */
  readonly parts: BodyParts;
  /** Hits of each shard that are ranked; never fewer than are asked for. */
  readonly window: number;
}
