/**
 * Guided search, after Mallia et al. 2022, "Faster Learned Sparse Retrieval with Guided
 * Traversal" (arXiv 2204.11314): BM25, whose postings are short and whose bounds are tight,
 * decides which documents are looked at, the learned weights decide their scores. There it
 * steers the traversal inside the engine; here, over a search API, it hands the learned
 * weights a window of candidates to `rescore`.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { demandWithin } from "./page-depth.js";
import { translateQuery, type TranslationRequest } from "./query-translator.js";
import type { RankedBody } from "./search-body.js";

/** How far BM25 is trusted. Named as in the `rescore` part of a search body. */
export interface GuidedOptions {
  /** BM25's best hits on each shard that are scored by learned weights, 1…10,000; pages end there. */
  readonly window_size: number;
  /** Share of the BM25 score in the final score, ≥ 0. With 0 scores are plain scores. */
  readonly query_weight: number;
  /** Factor of the learned score, > 0. */
  readonly rescore_query_weight: number;
}

/** What a guided search adds to the body. */
export interface GuidedBody extends RankedBody {
  readonly weights: Pick<GuidedOptions, "query_weight" | "rescore_query_weight">;
}

const DEFAULTS: GuidedOptions = { window_size: 1000, query_weight: 0, rescore_query_weight: 1 };

/**
 * The window and the `rescore` of a guided search; its query is BM25's.
 * @param depth hits asked for: `from` and `size` together.
 * @throws CspladeError `query_invalid` for options out of range.
 */
export function guided(
  request: TranslationRequest,
  options: Partial<GuidedOptions> | undefined,
  depth: number,
): GuidedBody {
  const { window_size, query_weight, rescore_query_weight } = { ...DEFAULTS, ...options };
  if (!(Number.isInteger(window_size) && window_size >= 1 && window_size <= 10_000)) {
    throw new CspladeError(
      "query_invalid",
      `window_size is ${window_size}; it must be a whole number from 1 to 10,000.`,
    );
  }
  const weighted = Number.isFinite(query_weight + rescore_query_weight);
  if (!(weighted && query_weight >= 0 && rescore_query_weight > 0)) {
    throw new CspladeError(
      "query_invalid",
      `query_weight is ${query_weight} and rescore_query_weight ${rescore_query_weight}: the first must be at least 0, the second above 0.`,
    );
  }
  demandWithin(window_size, "guided.window_size", depth);
  const { query: rescore_query } = translateQuery({
    ...request,
    filter: undefined,
    inner_hits: undefined,
  });
  return {
    window: window_size,
    weights: { query_weight, rescore_query_weight },
    parts: {
      rescore: {
        window_size,
        query: { rescore_query, query_weight, rescore_query_weight },
      },
    },
  };
}
