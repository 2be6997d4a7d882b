/** Which query a cluster gets for one and the same vector. */
import type { Capabilities } from "../cluster/capabilities.js";

/**
 * `neural_sparse`: OpenSearch with the neural-search plugin. `sparse_vector`: Elasticsearch
 * on a field of that type. `rank_feature`: every OpenSearch and Elasticsearch.
 */
export type QueryDialect = "rank_feature" | "neural_sparse" | "sparse_vector";

/** Mapping types that hold a sparse vector. */
export type VectorFieldType = "rank_features" | "sparse_vector";

/**
 * The dialect that fits a cluster and the type of its vector field. All give the same scores.
 * Raw `query_tokens` came to neural-search in 2.14.
 */
export function chooseDialect(
  capabilities: Capabilities,
  fieldType: VectorFieldType = "rank_features",
): QueryDialect {
  const { distribution, major, minor } = capabilities;
  if (distribution === "elasticsearch") {
    return fieldType === "sparse_vector" && capabilities.sparse_vector_query
      ? "sparse_vector"
      : "rank_feature";
  }
  const takesTokens = major > 2 || (major === 2 && minor >= 14);
  return capabilities.neural_sparse && takesTokens ? "neural_sparse" : "rank_feature";
}
