import assert from "node:assert/strict";
import type { Capabilities } from "../../../src/cluster/capabilities.js";
import { chooseDialect } from "../../../src/query/query-dialect.js";

function cluster(changes: Partial<Capabilities>): Capabilities {
  return {
    distribution: "opensearch",
    version: "3.6.0",
    major: 3,
    minor: 6,
    neural_sparse: false,
    sparse_vector_query: false,
    hides_vectors: false,
    plugins: [],
    max_clause_count: 1024,
    ...changes,
  };
}

describe("query dialect", () => {
  it("is neural_sparse only where the plugin takes raw tokens", () => {
    assert.equal(chooseDialect(cluster({ neural_sparse: true })), "neural_sparse");
    assert.equal(chooseDialect(cluster({})), "rank_feature");
    const old = cluster({ neural_sparse: true, major: 2, minor: 11 });
    assert.equal(chooseDialect(old), "rank_feature");
  });

  it("is sparse_vector on Elasticsearch only for a field of that type", () => {
    const elastic = cluster({
      distribution: "elasticsearch",
      major: 8,
      minor: 15,
      sparse_vector_query: true,
    });
    assert.equal(chooseDialect(elastic, "sparse_vector"), "sparse_vector");
    assert.equal(chooseDialect(elastic, "rank_features"), "rank_feature");
    assert.equal(
      chooseDialect({ ...elastic, sparse_vector_query: false }, "sparse_vector"),
      "rank_feature",
    );
  });
});
