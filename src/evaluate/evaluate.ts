/** Evaluation: the judged queries of a collection, put to a real index by CSPLADE and by BM25. */
import type { Cluster } from "../cluster/cluster.js";
import type { VectorField } from "../query/query-translator.js";
import { search } from "../query/search.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import type { TestQuery } from "./beir.js";
import { bm25 } from "./bm25.js";
import {
  depthOf,
  meanMetrics,
  runMetrics,
  valuesOf,
  type MetricName,
  type Metrics,
  type Qrels,
} from "./metrics.js";
import { rank, type RankedDocument, type Run } from "./run.js";
import { compareSystems, type Significance } from "./significance.js";

/** What is evaluated, and how. */
export interface EvaluationRequest {
  readonly cluster: Cluster;
  /** The index that holds the corpus; document ids are those of the qrels. */
  readonly index: string;
  readonly fields: readonly VectorField[];
  /** Keyword field of the document's id, where an index holds a document per passage. */
  readonly collapse?: string | undefined;
  /** Fields of the BM25 baseline. */
  readonly text_fields: readonly string[];
  readonly queries: readonly TestQuery[];
  readonly qrels: Qrels;
  /** Metrics besides the headline ones. */
  readonly metrics?: readonly MetricName[] | undefined;
  /** Encodes and prunes queries, in input order. */
  readonly encode: (texts: readonly string[]) => Promise<readonly SparseVector[]>;
  /** Searches in flight; 4 without it. */
  readonly concurrency?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** One system's result. */
export interface SystemResult {
  readonly metrics: Metrics;
  /** Query id → its metrics, of all judged queries. */
  readonly per_query: ReadonlyMap<string, Metrics>;
  readonly run: Run;
}

/** What an evaluation found. */
export interface Evaluation {
  readonly csplade: SystemResult;
  readonly bm25: SystemResult;
  /** nDCG@10 of CSPLADE minus BM25, and whether it could be chance. */
  readonly versus_bm25: Significance;
  /** Mean number of terms of the query vectors. */
  readonly avg_query_terms: number;
  /** The queries' vectors, in their order. */
  readonly vectors: readonly SparseVector[];
  /** Median time of one question asked alone, from its text to its ten hits, milliseconds. */
  readonly ms_per_query_p50: number;
}

/** Queries encoded in one call. */
const ENCODED_AT_ONCE = 256;

/** Queries that are timed, after all of them have run once. */
const TIMED_QUERIES = 50;

/**
 * Evaluates.
 * @throws CspladeError as {@link search} and the encoder do; one failed query fails the
 * whole, since figures over the rest would be wrong.
 */
export async function evaluate(request: EvaluationRequest): Promise<Evaluation> {
  const { cluster, index, queries, qrels, metrics = [], signal } = request;
  const depth = depthOf(metrics);
  const vectors: SparseVector[] = [];
  for (let start = 0; start < queries.length; start += ENCODED_AT_ONCE) {
    signal?.throwIfAborted();
    const texts = queries.slice(start, start + ENCODED_AT_ONCE).map((query) => query.text);
    vectors.push(...(await request.encode(texts)));
  }
  const baseline = bm25(cluster, {
    index,
    text_fields: request.text_fields,
    collapse: request.collapse,
  });
  const ours = new Map<string, readonly RankedDocument[]>();
  const theirs = new Map<string, readonly RankedDocument[]>();
  let done = 0;
  await eachBounded(queries, request.concurrency ?? 4, async (query, i) => {
    signal?.throwIfAborted();
    ours.set(query.id, rank(await searchVector(request, vectors[i] as SparseVector, depth)));
    theirs.set(query.id, rank(await baseline(query.text, depth, signal)));
    request.onProgress?.(++done, queries.length);
  });
  const resultOf = (run: Run): SystemResult => {
    const per_query = runMetrics(run, qrels, metrics);
    return { metrics: meanMetrics(per_query), per_query, run };
  };
  const [csplade, words] = [resultOf(ours), resultOf(theirs)];
  return {
    csplade,
    bm25: words,
    versus_bm25: compareSystems(
      valuesOf(csplade.per_query, "ndcg@10"),
      valuesOf(words.per_query, "ndcg@10"),
    ),
    avg_query_terms: mean(vectors.map((vector) => vector.ids.length)),
    vectors,
    ms_per_query_p50: await timeQueries(request),
  };
}

/** The documents that plain scoring finds for a vector. */
export async function searchVector(
  {
    cluster,
    index,
    fields,
    collapse,
    signal,
  }: Pick<EvaluationRequest, "cluster" | "index" | "fields" | "collapse" | "signal">,
  vector: SparseVector,
  size: number,
): Promise<RankedDocument[]> {
  const { hits } = await search(cluster, {
    index,
    vector,
    fields,
    size,
    source: false,
    collapse,
    signal,
  });
  return hits.map((hit) => ({ id: hit.collapsed_by ?? hit.id, score: hit.score }));
}

/** One question at a time, as a person asks it: text in, ten hits out. */
async function timeQueries(request: EvaluationRequest): Promise<number> {
  const step = Math.max(1, request.queries.length / TIMED_QUERIES);
  const times: number[] = [];
  for (let at = 0; at < request.queries.length; at += step) {
    const query = request.queries[Math.floor(at)] as TestQuery;
    request.signal?.throwIfAborted();
    const start = performance.now();
    const [vector] = await request.encode([query.text]);
    await searchVector(request, vector as SparseVector, 10);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return times[Math.floor(times.length / 2)] ?? 0;
}

/** Runs `work` for every item, at most `limit` at a time; the first failure stops the rest. */
async function eachBounded<T>(
  items: readonly T[],
  limit: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const waiting = items.entries();
  let failed = false;
  const lane = async () => {
    for (const [index, item] of waiting) {
      if (failed) return;
      try {
        await work(item, index);
      } catch (thrown) {
        failed = true;
        throw thrown;
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, lane));
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
