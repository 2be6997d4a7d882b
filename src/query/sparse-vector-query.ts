/** Elasticsearch's `sparse_vector` query with a ready `query_vector` (8.15 and later). */
import { toFeatures } from "../sparse/features.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import type { QueryClause } from "./query-clause.js";

/**
 * Score: Σ query weight × stored document weight over the shared terms, times `boost`.
 * Elasticsearch's own token pruning (by default on from 9.1) is switched off: which terms
 * matter was decided by our pruning.
 * @param field path of a `sparse_vector` field (not `rank_features`: that is refused).
 */
export function sparseVectorQuery(field: string, vector: SparseVector, boost: number): QueryClause {
  return {
    sparse_vector: {
      field,
      query_vector: toFeatures(vector),
      prune: false,
      ...(boost === 1 ? {} : { boost }),
    },
  };
}
