/**
 * Retrieval metrics as trec_eval computes them, to the same figures as pytrec_eval, the judge of
 * BEIR (Thakur et al. 2021, arXiv 2104.08663):
 *
 * | here          | trec_eval                              | of one query                                         |
 * | ------------- | -------------------------------------- | ---------------------------------------------------- |
 * | `ndcg@k`      | `ndcg_cut_k`                           | discounted gain over that of the ideal ranking       |
 * | `mrr@k`       | `recip_rank` of a run cut at k         | one over the rank of the first relevant hit          |
 * | `map@k`       | `map_cut_k`                            | mean, over all relevant documents, of the precision at each found one |
 * | `recall@k`    | `recall_k`                             | share of the relevant documents among k hits         |
 * | `precision@k` | `P_k`                                  | share of relevant documents among k hits             |
 *
 * A document is relevant if its grade is above 0; the gain of nDCG is the grade itself, discounted
 * by log2(rank + 1) (Järvelin and Kekäläinen 2002). A document without a judgement is not relevant.
 * Queries of the qrels count, all of them and no others: one that the run lacks, or of which no
 * document is relevant, scores 0, and one without judgements is left out (trec_eval's `-c`).
 */
import { rank, type RankedDocument, type Run } from "./run.js";

/** Query id → document id → judged grade. Only grades above 0 are relevant. */
export type Qrels = ReadonlyMap<string, ReadonlyMap<string, number>>;

const measures = ["ndcg", "mrr", "map", "recall", "precision"] as const;

/** A metric and the number of hits it looks at. */
export type MetricName = `${(typeof measures)[number]}@${number}`;

/** Metrics of one query, or their means; each in [0, 1], higher is better. */
export interface Metrics {
  readonly "ndcg@10": number;
  readonly "mrr@10": number;
  readonly "map@100": number;
  readonly "recall@100": number;
  /** Whatever else was asked for. */
  readonly [name: MetricName]: number;
}

/** The metrics that are always there, in the order they are shown. */
export const headlineMetrics = ["ndcg@10", "mrr@10", "map@100", "recall@100"] as const;

/** Hits per query that the headline metrics need. */
const HEADLINE_DEPTH = 100;

/** Most hits a metric may look at. */
const MOST_HITS = 1_000;

/** Reads a metric's name; undefined if it is none, or looks at no hit or more than 1,000. */
export function parseMetric(text: string): MetricName | undefined {
  const [, measure, k] = /^([a-z]+)@([1-9]\d{0,3})$/.exec(text) ?? [];
  if (!measures.some((known) => known === measure) || Number(k) > MOST_HITS) return undefined;
  return text as MetricName;
}

/** Hits per query that these metrics need, besides those of the headline metrics. */
export function depthOf(names: readonly MetricName[]): number {
  return Math.max(HEADLINE_DEPTH, ...names.map(cutoffOf));
}

/** Metrics of every judged query, the headline ones and `more`. */
export function runMetrics(
  run: Run,
  qrels: Qrels,
  more: readonly MetricName[] = [],
): Map<string, Metrics> {
  return new Map(
    Array.from(qrels, ([query, judged]) => [
      query,
      queryMetrics(run.get(query) ?? [], judged, more),
    ]),
  );
}

/** Means over queries; 0 for none. */
export function meanMetrics(perQuery: ReadonlyMap<string, Metrics>): Metrics {
  const [first] = perQuery.values();
  const names = first === undefined ? headlineMetrics : namesOf(first);
  return metricsOf(names, (name) =>
    ratio(
      [...perQuery.values()].reduce((sum, metrics) => sum + (metrics[name] ?? 0), 0),
      perQuery.size,
    ),
  );
}

/** The names of the metrics that are there, the headline ones first. */
export function namesOf(metrics: Metrics): MetricName[] {
  const others = Object.keys(metrics).flatMap((name) => parseMetric(name) ?? []);
  return [...new Set<MetricName>([...headlineMetrics, ...others])];
}

/** One metric of every query. */
export function valuesOf(
  perQuery: ReadonlyMap<string, Metrics>,
  name: MetricName,
): Map<string, number> {
  return new Map(Array.from(perQuery, ([query, metrics]) => [query, metrics[name] ?? 0]));
}

/** Metrics made one by one; the headline ones are always among them. */
export function metricsOf(
  names: readonly MetricName[],
  value: (name: MetricName) => number,
): Metrics {
  const all = new Set<MetricName>([...headlineMetrics, ...names]);
  return Object.fromEntries(Array.from(all, (name) => [name, value(name)])) as unknown as Metrics;
}

/** Metrics of one query's hits (sorted here; see {@link rank}). */
function queryMetrics(
  hits: readonly RankedDocument[],
  judged: ReadonlyMap<string, number>,
  more: readonly MetricName[],
): Metrics {
  const gains = rank(hits).map(({ id }) => Math.max(0, judged.get(id) ?? 0));
  const ideal = [...judged.values()].filter((grade) => grade > 0).sort((a, b) => b - a);
  return metricsOf(more, (name) => measure(name, gains, ideal));
}

/** @param gains of the hits, best hit first. @param ideal the grades of all relevant documents, highest first. */
function measure(name: MetricName, gains: readonly number[], ideal: readonly number[]): number {
  const k = cutoffOf(name);
  const seen = gains.slice(0, k);
  switch (name.split("@", 1)[0] as (typeof measures)[number]) {
    case "ndcg":
      return ratio(discounted(seen), discounted(ideal.slice(0, k)));
    case "mrr": {
      const first = seen.findIndex((gain) => gain > 0);
      return first < 0 ? 0 : 1 / (first + 1);
    }
    case "map":
      return ratio(precisions(seen), ideal.length);
    case "recall":
      return ratio(relevantIn(seen), ideal.length);
    case "precision":
      return relevantIn(seen) / k;
  }
}

function cutoffOf(name: MetricName): number {
  return Number(name.slice(name.indexOf("@") + 1));
}

/** Sum, over the relevant hits, of the precision at their rank. */
function precisions(gains: readonly number[]): number {
  let found = 0;
  return gains.reduce((sum, gain, index) => (gain > 0 ? sum + ++found / (index + 1) : sum), 0);
}

function relevantIn(gains: readonly number[]): number {
  return gains.filter((gain) => gain > 0).length;
}

function discounted(gains: readonly number[]): number {
  return gains.reduce((sum, gain, index) => sum + gain / Math.log2(index + 2), 0);
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
