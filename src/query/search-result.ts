/** What a search gives back. */
import type { Contribution } from "./explanation.js";
import type { QueryDialect } from "./query-dialect.js";
import type { SearchMode } from "./search-mode.js";

/** A hit's place in one of the fused rankings. */
export interface RankingPart {
  /** From 1. */
  readonly rank: number;
  /** Score in that ranking. */
  readonly score: number;
  /** What the ranking adds to the fused score. */
  readonly share: number;
}

/** One hit. */
export interface Hit {
  readonly id: string;
  readonly index: string;
  /** 0 where `track_scores: false` asked for none beside a `sort`. */
  readonly score: number;
  /** The document as it was indexed, without vectors; empty where no source was asked for. */
  readonly source: Readonly<Record<string, unknown>>;
  /** Its JSON text with the digits that `source` cannot hold, where `source: "stored"` was asked for. */
  readonly source_text?: string;
  /**
   * Terms that made the score, largest first; empty unless `explain` was asked for. In mode
   * `hybrid` they add up to `fusion.csplade.score`, else to `score`.
   */
  readonly contributions: readonly Contribution[];
  /** Nested passages: position of the one that matched best, counted from 0. */
  readonly passage?: number;
  /** Value of the field that hits were collapsed by. */
  readonly collapsed_by?: string;
  /** Mode `hybrid` with `explain`: the rankings that have the hit, whose shares add up to the score. */
  readonly fusion?: {
    readonly bm25?: RankingPart;
    readonly csplade?: RankingPart;
    readonly dense?: RankingPart;
  };
  /** Fields that were asked for around the search. */
  readonly fields?: Readonly<Record<string, readonly unknown[]>>;
  /** Fragments, where highlighting was asked for around the search. */
  readonly highlight?: Readonly<Record<string, readonly string[]>>;
  /** Sort values, where `sort` was asked for: what `search_after` takes. */
  readonly sort?: readonly unknown[];
  /** Names of the caller's own queries (`_name`) that the hit matches. */
  readonly matched_queries?: readonly string[];
  /** Mode `lexical`: the words that the model added to the question and that stand in the document. */
  readonly added_words?: readonly string[];
  /** Of the caller's own nested queries, by name. */
  readonly inner_hits?: Readonly<Record<string, unknown>>;
}

/** What a search gave. */
export interface SearchResult {
  readonly hits: readonly Hit[];
  /**
   * Matching documents; a lower bound when `total_relation` is `gte`. In mode
   * `two_phase`, which looks only at candidates, it counts those.
   */
  readonly total: number;
  readonly total_relation: "eq" | "gte";
  /** The cluster's own time, milliseconds; of requests that ran at the same time the longer one. */
  readonly took_ms: number;
  readonly mode: SearchMode;
  readonly dialect: QueryDialect;
  /** Query terms left out to stay within the cluster's clause limit. */
  readonly dropped_terms: number;
  /** Sentences for people about what was left out. */
  readonly notes: readonly string[];
  /** Aggregations over all matching documents, where they were asked for. */
  readonly aggregations?: Readonly<Record<string, unknown>>;
  readonly suggest?: Readonly<Record<string, unknown>>;
}

/** The text of some of a hit's fields, as it was encoded; the values of a list one after the other. */
export function fieldsText({ source }: Pick<Hit, "source">, fields: readonly string[]): string {
  const texts = fields.flatMap((field): unknown[] => {
    const value = source[field];
    return Array.isArray(value) ? (value as unknown[]) : [value];
  });
  return texts.filter((text) => typeof text === "string").join(" ");
}
