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
  ["rescore", "mode: two_phase or guided"],
  ["search_pipeline", "mode: hybrid"],
]);

/** Own parts that nothing of ours stands for in a plain search. */
const FREE_IN_PLAIN: ReadonlySet<string> = new Set(["rescore", "search_pipeline"]);

/** Parts that need a ranking by the query's own score. */
const PLAIN_ONLY: ReadonlySet<string> = new Set(["sort", "search_after"]);

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
export interface Around {
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
export function checkAround(around: BodyParts | undefined, mode: SearchMode): Around {
  const { min_score: least, ...parts } = around ?? {};
  for (const name of Object.keys(parts)) {
    const option = OWN_PARTS.get(name);
    if (option !== undefined && !(mode === "plain" && FREE_IN_PLAIN.has(name))) {
      throw new CspladeError(
        "query_invalid",
        `The search body's ${name} is made from the request and cannot be given besides.`,
        { hint: `Use the option ${option}.` },
      );
    }
    if (PLAIN_ONLY.has(name) && mode !== "plain") {
      throw new CspladeError(
        "query_invalid",
        `A search in mode ${mode} ranks by its own scores and takes no ${name}.`,
        { hint: "Page with from and size, or search in mode plain." },
      );
    }
  }
  if (least !== undefined && (typeof least !== "number" || !Number.isFinite(least))) {
    throw new CspladeError("query_invalid", `min_score is a number; got ${JSON.stringify(least)}.`);
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
