/** Prunings side by side: what each saves of an index, and what it costs, on judged queries. */
import type { Cluster } from "../cluster/cluster.js";
import { deleteIndex } from "../index/csplade-index.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import { makePrunedIndex } from "./pruned-index.js";
import type { PruneOptions } from "../sparse/prune.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import type { TestQuery } from "./beir.js";
import { searchVector, type EvaluationRequest } from "./evaluate.js";
import { measureIndex, mergeSegments } from "./index-footprint.js";
import {
  depthOf,
  meanMetrics,
  runMetrics,
  valuesOf,
  type MetricName,
  type Metrics,
  type Qrels,
} from "./metrics.js";
import { rank, type RankedDocument } from "./run.js";
import { compareSystems, type Significance } from "./significance.js";

/** What is compared. */
export interface PruningComparisonRequest {
  readonly cluster: Cluster;
  readonly writer: BulkWriter;
  /** It is only read; its vectors are in `_source`. */
  readonly index: string;
  readonly target: Pick<EvaluationRequest, "fields" | "collapse">;
  readonly queries: readonly TestQuery[];
  readonly qrels: Qrels;
  readonly prunings: readonly PruneOptions[];
  /** Metrics besides the headline ones. */
  readonly metrics?: readonly MetricName[] | undefined;
  /** The queries' vectors, in their order, as they are put to that index: idf may be the index's own. */
  readonly weigh: (index: string) => Promise<readonly SparseVector[]>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((pruning: PruneOptions) => void) | undefined;
}

/** One row of the comparison. */
export interface ComparedPruning extends PruneOptions {
  readonly metrics: Metrics;
  /** nDCG@10 minus that of the index as it is; absent from its own row. */
  readonly versus_whole?: Significance;
  readonly index_bytes: number;
  readonly avg_doc_terms: number | null;
}

const WHOLE: PruneOptions = { prune_type: "none", prune_ratio: 0 };

/**
 * Compares copies of the index, one as it is first, then one with each pruning; each is gone when it
 * is measured. All are merged to one segment, so that their bytes compare.
 * @throws CspladeError as {@link makePrunedIndex} and a search do.
 */
export async function comparePrunings(
  request: PruningComparisonRequest,
): Promise<ComparedPruning[]> {
  const { cluster, writer, index, prunings, signal } = request;
  const rows: ComparedPruning[] = [];
  let whole: ReadonlyMap<string, number> | undefined;
  for (const [i, pruning] of [WHOLE, ...prunings].entries()) {
    signal?.throwIfAborted();
    request.onProgress?.(pruning);
    const into = `${index}-pruned-${i}`;
    await makePrunedIndex(cluster, writer, { from: index, into, pruning, signal });
    try {
      await mergeSegments(cluster, into);
      const { row, ndcg } = await judge(request, into);
      const versus = whole === undefined ? {} : { versus_whole: compareSystems(ndcg, whole) };
      rows.push({ ...pruning, ...row, ...versus });
      whole ??= ndcg;
    } finally {
      await deleteIndex(cluster, into);
    }
  }
  return rows;
}

/**
 * The smallest index that keeps this share of the whole one's nDCG@10.
 * @param share 0 to 1.
 */
export function smallestWithin(
  rows: readonly ComparedPruning[],
  share: number,
): ComparedPruning | undefined {
  const [whole] = rows;
  if (whole === undefined) return undefined;
  return rows
    .filter(({ metrics }) => metrics["ndcg@10"] >= share * whole.metrics["ndcg@10"])
    .reduce((best, row) => (row.index_bytes < best.index_bytes ? row : best), whole);
}

async function judge(
  { cluster, target, queries, qrels, metrics = [], weigh, signal }: PruningComparisonRequest,
  index: string,
) {
  const vectors = await weigh(index);
  const run = new Map<string, readonly RankedDocument[]>();
  for (const [i, { id }] of queries.entries()) {
    signal?.throwIfAborted();
    const place = { cluster, index, ...target, signal };
    run.set(id, rank(await searchVector(place, vectors[i] as SparseVector, depthOf(metrics))));
  }
  const perQuery = runMetrics(run, qrels, metrics);
  const { index_bytes, avg_doc_terms } = await measureIndex(cluster, index);
  return {
    ndcg: valuesOf(perQuery, "ndcg@10"),
    row: { metrics: meanMetrics(perQuery), index_bytes, avg_doc_terms },
  };
}
