/**
 * Retrieval metrics as trec_eval computes them (`ndcg_cut`, `recip_rank`, `recall`), to the
 * same figures as pytrec_eval, the judge of BEIR (Thakur et al. 2021, arXiv 2104.08663).
 */
import { rank, type RankedDocument, type Run } from "./run.js";

/** Query id → document id → judged grade. Only grades above 0 are relevant. */
export type Qrels = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Metrics of one query, or their means; each in [0, 1], higher is better. */
export interface Metrics {
  /** Normalized discounted cumulative gain of ten hits; the gain is the grade itself. */
  readonly "ndcg@10": number;
  /** One over the rank of the first relevant hit among ten. */
  readonly "mrr@10": number;
  /** Share of the relevant documents among a hundred hits. */
  readonly "recall@100": number;
}

/** Names of the metrics, in the order they are shown. */
export const metricNames = ["ndcg@10", "mrr@10", "recall@100"] as const;

/** Metrics of one query's hits (sorted here; see {@link rank}). */
function queryMetrics(
  hits: readonly RankedDocument[],
  judged: ReadonlyMap<string, number>,
): Metrics {
  const gains = rank(hits).map(({ id }) => Math.max(0, judged.get(id) ?? 0));
  const ideal = [...judged.values()].filter((grade) => grade > 0).sort((a, b) => b - a);
  const firstRelevant = gains.slice(0, 10).findIndex((gain) => gain > 0);
  const found = gains.slice(0, 100).filter((gain) => gain > 0).length;
  return {
    "ndcg@10": ratio(discounted(gains.slice(0, 10)), discounted(ideal.slice(0, 10))),
    "mrr@10": firstRelevant < 0 ? 0 : 1 / (firstRelevant + 1),
    "recall@100": ratio(found, ideal.length),
  };
}

/** Metrics of every judged query. A query that the run lacks scores 0 (trec_eval's `-c`). */
export function runMetrics(run: Run, qrels: Qrels): Map<string, Metrics> {
  return new Map(
    Array.from(qrels, ([query, judged]) => [query, queryMetrics(run.get(query) ?? [], judged)]),
  );
}

/** Means over queries; 0 for none. */
export function meanMetrics(perQuery: ReadonlyMap<string, Metrics>): Metrics {
  const mean = (name: keyof Metrics) =>
    ratio(
      [...perQuery.values()].reduce((sum, metrics) => sum + metrics[name], 0),
      perQuery.size,
    );
  return {
    "ndcg@10": mean("ndcg@10"),
    "mrr@10": mean("mrr@10"),
    "recall@100": mean("recall@100"),
  };
}

function discounted(gains: readonly number[]): number {
  return gains.reduce((sum, gain, index) => sum + gain / Math.log2(index + 2), 0);
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
