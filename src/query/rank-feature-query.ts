/**
 * The dot product as stock OpenSearch and Elasticsearch compute it: a `bool` with one
 * `rank_feature` per term. `linear` must be named, the default function saturates.
 */
import { featureName, shortDecimal } from "../sparse/features.js";
import { termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import type { QueryClause } from "./query-clause.js";

/**
 * Score: Σ query weight × stored document weight over the shared terms, times `boost`.
 * @param field path of a `rank_features` field.
 */
export function rankFeatureQuery(field: string, vector: SparseVector, boost: number): QueryClause {
  const should: QueryClause[] = [];
  for (const [id, weight] of termsOf(vector)) {
    should.push({
      rank_feature: {
        field: `${field}.${featureName(id)}`,
        boost: shortDecimal(weight),
        linear: {},
      },
    });
  }
  return { bool: { should, minimum_should_match: 1, ...(boost === 1 ? {} : { boost }) } };
}
