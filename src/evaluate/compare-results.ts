/** Two results over the same judged queries, side by side: which is better, and could it be chance? */
import { CspladeError } from "../errors/csplade-error.js";
import { meanMetrics, namesOf, valuesOf, type MetricName, type Metrics } from "./metrics.js";
import { compareSystems, type Significance } from "./significance.js";

/** The metrics of one system on every judged query. */
export interface QueryResults {
  /** What people call it: a file's name, say. */
  readonly name: string;
  /** Query id → its metrics. */
  readonly per_query: ReadonlyMap<string, Metrics>;
}

/** One metric of two results. Differences are second minus first. */
export interface MetricComparison extends Significance {
  readonly first: number;
  readonly second: number;
  /** Queries that the second one answers better, worse, and alike. */
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
}

/** A query and one metric of it in two results. */
export interface ChangedQuery {
  readonly query: string;
  readonly first: number;
  readonly second: number;
  /** Second minus first. */
  readonly difference: number;
}

/** What a comparison found. */
export interface ResultComparison {
  readonly queries: number;
  /** Every metric that both results have. */
  readonly metrics: ReadonlyMap<MetricName, MetricComparison>;
  /** The queries whose nDCG@10 changed, the most changed first. */
  readonly changed: readonly ChangedQuery[];
}

/** Values that differ by less are the same: sums in another order differ by rounding. */
const SAME = 1e-9;

/**
 * Compares two results.
 * @throws CspladeError `file_invalid` if they are not over the same queries.
 */
export function compareResults(first: QueryResults, second: QueryResults): ResultComparison {
  demandSameQueries(first, second);
  demandSameQueries(second, first);
  const [one, other] = [meanMetrics(first.per_query), meanMetrics(second.per_query)];
  const known = new Set(namesOf(other));
  const names = namesOf(one).filter((name) => known.has(name));
  return {
    queries: first.per_query.size,
    metrics: new Map(names.map((name) => [name, compareMetric(first, second, name)])),
    changed: changesOf(first, second, "ndcg@10").sort(
      (a, b) =>
        Math.abs(b.difference) - Math.abs(a.difference) ||
        (a.query < b.query ? -1 : Number(a.query > b.query)),
    ),
  };
}

function compareMetric(
  first: QueryResults,
  second: QueryResults,
  name: MetricName,
): MetricComparison {
  const changed = changesOf(first, second, name);
  const wins = changed.filter(({ difference }) => difference > 0).length;
  return {
    first: meanMetrics(first.per_query)[name] ?? 0,
    second: meanMetrics(second.per_query)[name] ?? 0,
    ...compareSystems(valuesOf(second.per_query, name), valuesOf(first.per_query, name)),
    wins,
    losses: changed.length - wins,
    ties: first.per_query.size - changed.length,
  };
}

function changesOf(first: QueryResults, second: QueryResults, name: MetricName): ChangedQuery[] {
  const after = valuesOf(second.per_query, name);
  return Array.from(valuesOf(first.per_query, name), ([query, before]) => {
    const value = after.get(query) ?? 0;
    return { query, first: before, second: value, difference: value - before };
  }).filter(({ difference }) => Math.abs(difference) > SAME);
}

function demandSameQueries(first: QueryResults, second: QueryResults): void {
  const missing = [...first.per_query.keys()].find((query) => !second.per_query.has(query));
  if (missing === undefined) return;
  throw new CspladeError(
    "file_invalid",
    `${first.name} and ${second.name} cannot be compared: ${second.name} does not judge the query ${missing}.`,
    { hint: "Compare results over the same collection, its queries and judgements." },
  );
}
