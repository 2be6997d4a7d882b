/** The nearest documents by their dense vectors, as each cluster is asked for them. */
import type { Capabilities } from "../cluster/capabilities.js";
import { oneFilter, type QueryClause } from "./query-clause.js";

/** A question's dense vector (`denseBytes`), and the field to compare it with. */
export interface DenseQuestion {
  readonly field: string;
  readonly vector: readonly number[];
}

/** Neighbours that Elasticsearch looks at for each that it returns. */
const CANDIDATES = 2;

/** Most candidates that Elasticsearch takes. */
const MOST_CANDIDATES = 10_000;

/**
 * A clause that finds the `k` nearest documents of each shard: `knn` as a query, which
 * Elasticsearch knows from 8.12 on.
 */
export function nearestClause(
  { distribution }: Capabilities,
  { field, vector }: DenseQuestion,
  k: number,
  filter: QueryClause | readonly QueryClause[] | undefined,
): QueryClause {
  const only = oneFilter(filter);
  const narrowed = only === undefined ? {} : { filter: only };
  if (distribution === "elasticsearch") return { knn: elasticNearest(field, vector, k, narrowed) };
  return { knn: { [field]: { vector, k, ...narrowed } } };
}

/** Elasticsearch: the `knn` retriever of its `rrf`. */
export function nearestRetriever(
  { field, vector }: DenseQuestion,
  k: number,
  filter: QueryClause | readonly QueryClause[] | undefined,
): Readonly<Record<string, unknown>> {
  const only = oneFilter(filter);
  const narrowed = only === undefined ? {} : { filter: only };
  return { knn: { ...elasticNearest(field, vector, k, narrowed), k } };
}

function elasticNearest(
  field: string,
  query_vector: readonly number[],
  k: number,
  narrowed: { readonly filter?: QueryClause },
) {
  const num_candidates = Math.min(MOST_CANDIDATES, CANDIDATES * k);
  return { field, query_vector, num_candidates, ...narrowed };
}
