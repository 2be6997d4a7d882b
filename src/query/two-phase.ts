/**
 * Two-phase search: the heavy terms of the query find candidates over short postings, the
 * light ones only rescore the best of them. Parameters as in neural-search's
 * `neural_sparse_two_phase_processor`, which does the same to `neural_sparse` alone; written
 * as a `rescore` of the search body it works in every dialect and without a pipeline.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { demandWithin, PAGINATION_DEPTH } from "./page-depth.js";
import { split, type PruneOptions } from "../sparse/prune.js";
import {
  translateQuery,
  type TranslatedQuery,
  type TranslationRequest,
} from "./query-translator.js";
import type { QueryClause } from "./query-clause.js";
import type { RankedBody } from "./search-body.js";

/** How the query is cut, and how many hits are rescored. */
export interface TwoPhaseOptions extends PruneOptions {
  /** Hits that pages reach, 1…10,000; 100 without it. */
  readonly pagination_depth: number;
  /** Hits rescored on a shard for each of those, at least 1. */
  readonly expansion_rate: number;
  /** Most hits rescored on a shard, 50…10,000; never fewer than pages reach. */
  readonly max_window_size: number;
}

/** Both phases. */
export interface TwoPhaseBody extends RankedBody {
  /** The query of the strong terms. */
  readonly query: QueryClause;
  /** How many those are. */
  readonly strong_terms: number;
}

/**
 * Terms at least half as heavy as the heaviest find candidates. It is the cheapest cut tried that
 * keeps 99 % of plain scoring's nDCG@10 on pages of ten (docs/search-measurements.md). A share of the sum
 * (`alpha_mass` 0.6) costs about the same, but leaves a short question two or three terms to be found by.
 */
const CUT: PruneOptions = { prune_type: "max_ratio", prune_ratio: 0.5 };

/** neural-search's cut. Options that name a type or a ratio alone mean what they mean there. */
const NEURAL_SEARCH_CUT: PruneOptions = { prune_type: "max_ratio", prune_ratio: 0.4 };

/** neural-search's window. */
const WINDOW = {
  pagination_depth: PAGINATION_DEPTH,
  expansion_rate: 5,
  max_window_size: 10_000,
};

/**
 * The search body of two phases, or nothing where no term is light (then a plain search is
 * the same). Every hit has its plain score, to float32 precision; documents that share only
 * light terms with the query are not found, nor those that the light terms would have lifted
 * from beyond the window.
 * @param plain the same request, translated for a plain search.
 * @param depth hits asked for: `from` and `size` together.
 * @param hits_per_document hits that are collapsed to one, about.
 * @throws CspladeError `query_invalid`, `config_invalid` for parameters out of range.
 */
export function twoPhase(
  request: TranslationRequest,
  plain: TranslatedQuery,
  options: Partial<TwoPhaseOptions> | undefined,
  depth: number,
  hits_per_document: number,
): TwoPhaseBody | undefined {
  const cut =
    options?.prune_type === undefined && options?.prune_ratio === undefined
      ? CUT
      : NEURAL_SEARCH_CUT;
  const parameters = { ...cut, ...WINDOW, ...options };
  checkParameters(parameters);
  const { strong, weak } = split(plain.vector, parameters);
  if (strong.ids.length === 0 || weak.ids.length === 0) return undefined;
  demandWithin(parameters.pagination_depth, "two_phase.pagination_depth", depth);
  const reached = Math.min(10_000, parameters.pagination_depth * hits_per_document);
  const window = Math.max(
    reached,
    Math.min(Math.floor(reached * parameters.expansion_rate), parameters.max_window_size),
  );
  const half = { ...request, inner_hits: undefined };
  // A nested document scores as its best passage, and the best by all terms need not be the
  // best by either half: the second phase then scores all terms anew.
  const nested = request.fields.some((field) => field.nested_path !== undefined);
  const rescored = nested ? plain.vector : weak;
  return {
    query: translateQuery({ ...half, vector: strong }).query,
    strong_terms: strong.ids.length,
    window,
    parts: {
      rescore: {
        window_size: window,
        query: {
          rescore_query: translateQuery({ ...half, vector: rescored, filter: undefined }).query,
          query_weight: nested ? 0 : 1,
          rescore_query_weight: 1,
        },
      },
    },
  };
}

function checkParameters(parameters: TwoPhaseOptions): void {
  const { pagination_depth, expansion_rate, max_window_size } = parameters;
  if (!(
    Number.isInteger(pagination_depth) &&
    pagination_depth >= 1 &&
    pagination_depth <= 10_000
  )) {
    throw new CspladeError(
      "query_invalid",
      `pagination_depth is ${pagination_depth}; it must be a whole number from 1 to 10,000.`,
    );
  }
  if (!(expansion_rate >= 1 && Number.isFinite(expansion_rate))) {
    throw new CspladeError(
      "query_invalid",
      `expansion_rate is ${expansion_rate}; it must be at least 1.`,
    );
  }
  if (!(Number.isInteger(max_window_size) && max_window_size >= 50 && max_window_size <= 10_000)) {
    throw new CspladeError(
      "query_invalid",
      `max_window_size is ${max_window_size}; it must be a whole number from 50 to 10,000.`,
    );
  }
}
