/**
 * Two-phase search: some terms of the query find candidates, the others only rescore the best of
 * them. Those that find are the question's own words, where it is known which these are: BM25 guides
 * the learned weights (Mallia et al. 2022, "Faster Learned Sparse Retrieval with Guided Traversal",
 * arXiv 2204.11314), by the words' weights in the vectors. Otherwise they are the heavy terms.
 * Parameters as in neural-search's `neural_sparse_two_phase_processor`, which does the same to
 * `neural_sparse` alone; written as a `rescore` of the search body it works in every dialect and
 * without a pipeline.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { demandWithin, PAGINATION_DEPTH } from "./page-depth.js";
import { split, splitBy, type PruneOptions, type SplitVector } from "../sparse/prune.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
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
  /** Hits rescored on a shard for each of those, at least 1; 2 where words find, else 5. */
  readonly expansion_rate: number;
  /** Most hits rescored on a shard, 50…10,000; never fewer than pages reach. */
  readonly max_window_size: number;
}

/** What of a search decides its phases. */
interface TwoPhaseRequest {
  readonly two_phase?: Partial<TwoPhaseOptions> | undefined;
  /** Ids of the terms that stand in the question. */
  readonly own_terms?: ReadonlySet<number> | undefined;
}

/** Both phases. */
export interface TwoPhaseBody extends RankedBody {
  /** The query of the strong terms. */
  readonly query: QueryClause;
  /** How many those are. */
  readonly strong_terms: number;
}

/**
 * Where no word of the question is known, terms at least half as heavy as the heaviest find
 * candidates. It is the cheapest cut tried that
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
 * What the model adds is light beside a question's own words and lifts no document far: 2 keeps all of
 * plain scoring's nDCG@10, and rescoring is what two phases cost (docs/search-measurements.md).
 */
const RATE_BY_WORDS = 2;

/**
 * The search body of two phases, or nothing where all terms find (then a plain search is the
 * same). Every hit has its plain score, to float32 precision; documents that share only the other
 * terms with the query are not found, nor those that these would have lifted from beyond the
 * window.
 * @param plain the same request, translated for a plain search.
 * @param depth hits asked for: `from` and `size` together.
 * @param hits_per_document hits that are collapsed to one, about.
 * @throws CspladeError `query_invalid`, `config_invalid` for parameters out of range.
 */
export function twoPhase(
  request: TranslationRequest,
  plain: TranslatedQuery,
  { two_phase: options, own_terms }: TwoPhaseRequest,
  depth: number,
  hits_per_document: number,
): TwoPhaseBody | undefined {
  const given = options?.prune_type !== undefined || options?.prune_ratio !== undefined;
  const byWords = given ? undefined : wordsFirst(plain.vector, own_terms);
  const parameters = {
    ...(given ? NEURAL_SEARCH_CUT : CUT),
    ...WINDOW,
    ...(byWords === undefined ? {} : { expansion_rate: RATE_BY_WORDS }),
    ...options,
  };
  checkParameters(parameters);
  const { strong, weak } = byWords ?? split(plain.vector, parameters);
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

/** The question's own words before the others, if it has any. */
function wordsFirst(
  vector: SparseVector,
  own: ReadonlySet<number> | undefined,
): SplitVector | undefined {
  const halves = own === undefined ? undefined : splitBy(vector, own);
  return halves === undefined || halves.strong.ids.length === 0 ? undefined : halves;
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
