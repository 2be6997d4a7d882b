/**
 * OpenSearch's `neural_sparse` query with raw `query_tokens`. Scores equal those of
 * {@link rankFeatureQuery}; the neural-search plugin can also run it in two phases.
 *
 * Always tokens, never `query_text`: without a model the plugin would tokenize with BERT's
 * vocabulary and match nonsense.
 */
import { toFeatures } from "../sparse/features.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import type { QueryClause } from "./query-clause.js";

/** The plugin refuses a token weight that is not in (0, 64]. */
const MAX_TOKEN_WEIGHT = 64;

/**
 * Score: Σ query weight × stored document weight over the shared terms, times `boost`.
 * A vector that goes over the plugin's limit is divided by a power of two, which loses
 * nothing, and the boost makes up for it.
 * @param field path of a `rank_features` field.
 */
export function neuralSparseQuery(field: string, vector: SparseVector, boost: number): QueryClause {
  const largest = vector.weights[0] ?? 0;
  const scale = largest > MAX_TOKEN_WEIGHT ? 2 ** Math.ceil(Math.log2(largest / 64)) : 1;
  const tokens = scale === 1 ? vector : divided(vector, scale);
  const total = boost * scale;
  return {
    neural_sparse: {
      [field]: { query_tokens: toFeatures(tokens), ...(total === 1 ? {} : { boost: total }) },
    },
  };
}

function divided(vector: SparseVector, divisor: number): SparseVector {
  return sparseVector(Array.from(termsOf(vector), ([id, weight]) => [id, weight / divisor]));
}
