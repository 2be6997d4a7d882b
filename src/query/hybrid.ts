/**
 * Hybrid search: BM25 and the learned weights each rank documents, and the two rankings are
 * fused. What each cluster takes for that in one request.
 */
import type { Capabilities } from "../cluster/capabilities.js";
import { CspladeError } from "../errors/csplade-error.js";
import { demandWithin, PAGINATION_DEPTH } from "./page-depth.js";
import { minMax, reciprocalRank, type Fused, type Ranked } from "./fusion.js";
import type { QueryClause } from "./query-clause.js";

/** How rankings are fused. Named as in OpenSearch's `hybrid` query and its processors. */
export interface HybridOptions {
  /** `rrf`: by reciprocal rank. `min_max`: by the weighted sum of scores spread over 0…1. */
  readonly technique: "rrf" | "min_max";
  /** `rrf`: how little the first ranks differ, ≥ 1; 60 in the paper and the default. */
  readonly rank_constant: number;
  /** `min_max`: share of BM25 and of the learned weights, together 1. */
  readonly weights: readonly [bm25: number, csplade: number];
  /** Hits of each ranking that are fused, 1…10,000; pages end there. */
  readonly pagination_depth: number;
  /**
   * `one`: the cluster fuses. `two`: both rankings are asked for at the same time and fused
   * here, which gives the same on an index of one shard (OpenSearch's `hybrid` query takes
   * `pagination_depth` hits from every shard). Without it one request where the cluster can,
   * two where hits are explained or collapsed.
   */
  readonly requests?: "one" | "two" | undefined;
}

const DEFAULTS: HybridOptions = {
  technique: "rrf",
  rank_constant: 60,
  weights: [0.5, 0.5],
  pagination_depth: PAGINATION_DEPTH,
};

/**
 * Completes and checks options.
 * @param depth hits asked for: `from` and `size` together.
 * @throws CspladeError `query_invalid` for options out of range.
 */
export function hybridOptions(
  options: Partial<HybridOptions> | undefined,
  depth: number,
): HybridOptions {
  const all = { ...DEFAULTS, ...options };
  const { rank_constant, weights, pagination_depth: window } = all;
  const total = weights[0] + weights[1];
  const problem = !(
    Number.isInteger(rank_constant) &&
    rank_constant >= 1 &&
    rank_constant <= 10_000
  )
    ? `rank_constant is ${rank_constant}; it must be a whole number from 1 to 10,000`
    : !(Math.min(...weights) >= 0 && Math.abs(total - 1) < 1e-6)
      ? `The weights ${weights.join(" and ")} do not fit: none is below 0, together they are 1`
      : !(Number.isInteger(window) && window >= 1 && window <= 10_000)
        ? `pagination_depth is ${window}; it must be a whole number from 1 to 10,000`
        : undefined;
  if (problem !== undefined) throw new CspladeError("query_invalid", `${problem}.`);
  demandWithin(window, "hybrid.pagination_depth", depth);
  return all;
}

/** Fuses the two rankings, BM25's first. */
export function fuse(rankings: readonly (readonly Ranked[])[], options: HybridOptions): Fused[] {
  return options.technique === "rrf"
    ? reciprocalRank(rankings, options.rank_constant)
    : minMax(rankings, options.weights);
}

/** Whether a cluster fuses by itself, as far as its version tells. */
export function fusesByItself(
  { distribution, major, minor, neural_sparse }: Capabilities,
  { technique }: HybridOptions,
): boolean {
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

/** Elasticsearch: the `rrf` retriever over two standard ones. The body then has no `query`. */
export function rrfRetriever(
  queries: readonly QueryClause[],
  { rank_constant, pagination_depth }: HybridOptions,
): Readonly<Record<string, unknown>> {
  return {
    retriever: {
      rrf: {
        retrievers: queries.map((query) => ({ standard: { query } })),
        rank_constant,
        rank_window_size: pagination_depth,
      },
    },
  };
}
