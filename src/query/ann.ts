/**
 * Approximate search over a `sparse_vector` field (OpenSearch 3.3 and later, the SEISMIC
 * algorithm of Bruch et al. 2024, arXiv 2404.18812): it finds candidates among clustered,
 * byte-quantized postings; the exact weights of the `rank_features` field then rank them, so
 * that every score is a plain score.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { toFeatures } from "../sparse/features.js";
import { mapVector, type IdMap } from "../sparse/id-map.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { oneFilter, type QueryClause } from "./query-clause.js";
import { demandWithin } from "./page-depth.js";
import { translateQuery, type TranslationRequest } from "./query-translator.js";
import type { RankedBody } from "./search-body.js";

/** The approximately searched field of an index, and its numbering of token ids. */
export interface AnnField {
  readonly name: string;
  readonly ids: IdMap;
}

/** Named as in `method_parameters` of the `neural_sparse` query. */
export interface AnnOptions {
  /** Candidates of each shard that are ranked by exact weights, 1…10,000. */
  readonly k: number;
  /** The heaviest query terms whose postings are visited, ≥ 1. */
  readonly top_n: number;
  /** How readily a cluster of documents is skipped, > 0: higher finds more and takes longer. */
  readonly heap_factor: number;
}

const DEFAULTS: AnnOptions = { k: 100, top_n: 10, heap_factor: 1 };

/**
 * The field quantizes query weights to a byte below a ceiling, 16 unless its mapping says so;
 * scores of candidates are not kept, so weights are spread over that whole range.
 */
const HEAVIEST = 16;

/** An approximate search. */
export interface AnnBody extends RankedBody {
  readonly query: QueryClause;
  /** Query terms that no document of the index had when its ids were numbered. */
  readonly unnumbered: number;
}

/**
 * The search body, or nothing if no term of the query has a number: then no document has it.
 * @param plain terms of a plain search, within the clause limit.
 * @param depth hits asked for: `from` and `size` together.
 * @throws CspladeError `query_invalid` for options out of range.
 */
export function annBody(
  field: AnnField,
  request: TranslationRequest,
  plain: SparseVector,
  options: Partial<AnnOptions> | undefined,
  depth: number,
): AnnBody | undefined {
  const { k, top_n, heap_factor } = checked({ ...DEFAULTS, ...options });
  const { vector, dropped } = mapVector(plain, field.ids);
  if (vector.ids.length === 0) return undefined;
  demandWithin(k, "ann.k", depth);
  const window = k;
  const { query: rescore_query } = translateQuery({
    ...request,
    vector: plain,
    filter: undefined,
    inner_hits: undefined,
  });
  const filter = oneFilter(request.filter);
  return {
    unnumbered: dropped,
    window,
    query: {
      neural_sparse: {
        [field.name]: {
          query_tokens: toFeatures(spread(vector)),
          method_parameters: {
            k: window,
            top_n,
            heap_factor,
            ...(filter === undefined ? {} : { filter }),
          },
        },
      },
    },
    parts: {
      rescore: {
        window_size: window,
        query: { rescore_query, query_weight: 0, rescore_query_weight: 1 },
      },
    },
  };
}

function spread(vector: SparseVector): SparseVector {
  const factor = HEAVIEST / (vector.weights[0] ?? HEAVIEST);
  return sparseVector(Array.from(termsOf(vector), ([id, weight]) => [id, weight * factor]));
}

function checked(options: AnnOptions): AnnOptions {
  const { k, top_n, heap_factor } = options;
  const problem = !(Number.isInteger(k) && k >= 1 && k <= 10_000)
    ? `k is ${k}; it must be a whole number from 1 to 10,000`
    : !(Number.isInteger(top_n) && top_n >= 1)
      ? `top_n is ${top_n}; it must be a whole number of at least 1`
      : !(heap_factor > 0 && Number.isFinite(heap_factor))
        ? `heap_factor is ${heap_factor}; it must be a number above 0`
        : undefined;
  if (problem !== undefined) throw new CspladeError("query_invalid", `${problem}.`);
  return options;
}
