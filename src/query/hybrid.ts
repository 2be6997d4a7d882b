/**
 * Hybrid search: BM25 and the learned weights each rank documents, in an index with dense vectors these too,
 * and the rankings are fused. What each cluster takes for that in one request.
 */
import type { Capabilities } from "../cluster/capabilities.js";
import { CspladeError } from "../errors/csplade-error.js";
import { demandWithin, PAGINATION_DEPTH } from "./page-depth.js";
import { minMax, reciprocalRank, type Fused, type Ranked } from "./fusion.js";
import type { QueryClause } from "./query-clause.js";

/** A ranking: of the question's words, of the learned weights, of dense vectors. */
export type Ranking = (typeof ALL_RANKINGS)[number];

/** Every ranking that can be fused. */
export const ALL_RANKINGS = ["bm25", "csplade", "dense"] as const;

/** How rankings are fused. Named as in OpenSearch's `hybrid` query and its processors. */
export interface HybridOptions {
  /** `rrf`: by reciprocal rank. `min_max`: by the weighted sum of scores spread over 0…1. */
  readonly technique: "rrf" | "min_max";
  /** `rrf`: how little the first ranks differ, ≥ 1; 60 in the paper and the default. */
  readonly rank_constant: number;
  /**
   * Which rankings are fused, each at most once. Without it those of BM25 and of the learned weights, and that of
   * dense vectors where the index and the question have them.
   */
  readonly rankings: readonly Ranking[];
  /** `min_max`: the share of each ranking, together 1; equal ones without it. */
  readonly weights: readonly number[];
  /** Hits of each ranking that are fused, 1…10,000; pages end there. */
  readonly pagination_depth: number;
  /**
   * `one`: the cluster fuses. `two`: the rankings are asked for apart, at the same time, and fused
   * here, which gives the same on an index of one shard (OpenSearch's `hybrid` query takes
   * `pagination_depth` hits from every shard). Without it one request where the cluster can,
   * two where hits are explained or collapsed.
   */
  readonly requests?: "one" | "two" | undefined;
}

const DEFAULTS = {
  technique: "rrf",
  rank_constant: 60,
  pagination_depth: PAGINATION_DEPTH,
} as const;

/**
 * Completes and checks options.
 * @param depth hits asked for: `from` and `size` together.
 * @param hasDense the question and the index have dense vectors.
 * @throws CspladeError `query_invalid` for options out of range, and for dense vectors that are not there.
 */
export function hybridOptions(
  options: Partial<HybridOptions> | undefined,
  depth: number,
  hasDense = false,
): HybridOptions {
  const given = options?.weights;
  const usual = hasDense && given?.length !== 2 ? ALL_RANKINGS : ALL_RANKINGS.slice(0, 2);
  const rankings = options?.rankings ?? usual;
  const weights = given ?? rankings.map(() => 1 / rankings.length);
  const all = { ...DEFAULTS, ...options, rankings, weights };
  const { rank_constant, pagination_depth: window } = all;
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const fits = weights.length === rankings.length && Math.min(...weights) >= 0;
  if (rankings.includes("dense") && !hasDense) {
    throw new CspladeError(
      "query_invalid",
      "Dense vectors are to rank, and the index or the checkpoint has none.",
      {
        hint: "Encode the documents with document.dense and a checkpoint that gives dense vectors (csplade-minilm-words).",
      },
    );
  }
  const problem = !(
    Number.isInteger(rank_constant) &&
    rank_constant >= 1 &&
    rank_constant <= 10_000
  )
    ? `rank_constant is ${rank_constant}; it must be a whole number from 1 to 10,000`
    : !(fits && Math.abs(total - 1) < 1e-6)
      ? `The weights ${weights.join(" and ")} do not fit: each of the rankings ${rankings.join(", ")} has one, none below 0, together they are 1`
      : !(Number.isInteger(window) && window >= 1 && window <= 10_000)
        ? `pagination_depth is ${window}; it must be a whole number from 1 to 10,000`
        : undefined;
  if (problem !== undefined) throw new CspladeError("query_invalid", `${problem}.`);
  demandWithin(window, "hybrid.pagination_depth", depth);
  return all;
}

/** Fuses the rankings, in the order of the options. */
export function fuse(rankings: readonly (readonly Ranked[])[], options: HybridOptions): Fused[] {
  return options.technique === "rrf"
    ? reciprocalRank(rankings, options.rank_constant)
    : minMax(rankings, options.weights);
}

/** Whether a cluster fuses by itself, as far as its version tells. */
export function fusesByItself(
  { distribution, major, minor, neural_sparse }: Capabilities,
  { technique, rankings, weights }: HybridOptions,
): boolean {
  if (rankings.length < 2) return false;
  // OpenSearch takes no whole number for a weight, and JSON has no other spelling of 0 and 1.
  if (technique === "min_max" && weights.some(Number.isInteger)) return false;
  // Elasticsearch's linear retriever gives the last hit of a ranking 0 and not 0.001.
  if (distribution === "elasticsearch") {
    return technique === "rrf" && (major > 8 || (major === 8 && minor >= 16));
  }
  // The same plugin brings neural_sparse and hybrid; pagination_depth and rrf came with 2.19.
  return neural_sparse && (major > 2 || (major === 2 && minor >= 19));
}

/** OpenSearch: a `hybrid` query with a search pipeline that lives as long as the request. */
export function hybridQuery(
  queries: readonly QueryClause[],
  options: HybridOptions,
): Readonly<Record<string, unknown>> {
  const { technique, rank_constant, weights, pagination_depth } = options;
  return {
    query: { hybrid: { queries, pagination_depth } },
    search_pipeline: {
      phase_results_processors: [
        technique === "rrf"
          ? { "score-ranker-processor": { combination: { technique, rank_constant } } }
          : {
              "normalization-processor": {
                normalization: { technique },
                combination: { technique: "arithmetic_mean", parameters: { weights } },
              },
            },
      ],
    },
  };
}

/** Elasticsearch: the `rrf` retriever over others. The body then has no `query`. */
export function rrfRetriever(
  retrievers: readonly Readonly<Record<string, unknown>>[],
  { rank_constant, pagination_depth }: HybridOptions,
): Readonly<Record<string, unknown>> {
  return { retriever: { rrf: { retrievers, rank_constant, rank_window_size: pagination_depth } } };
}
