/**
 * The evaluation gate: is a system good enough to be taken into use? It has to reach figures, and must
 * not be worse than another result of the same queries beyond what chance explains.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { compareResults, type QueryResults } from "./compare-results.js";
import { parseMetric, type MetricName } from "./metrics.js";
import type { SystemResult } from "./evaluate.js";
import { pPhrase } from "./significance.js";

/** A metric and what it has to reach. */
export interface Requirement {
  readonly metric: MetricName;
  /** In [0, 1]. */
  readonly at_least: number;
}

/** What is demanded. */
export interface Gate {
  readonly require: readonly Requirement[];
  /** The result it must not be worse than: in nDCG@10, and in what else is required. */
  readonly reference?: QueryResults | undefined;
}

/** One thing that was demanded. */
export interface GateCheck {
  readonly metric: MetricName;
  readonly passed: boolean;
  readonly value: number;
  readonly at_least?: number;
  /** The reference's value, and whether the difference could be chance (two-sided). */
  readonly reference?: number;
  readonly p_value?: number;
  /** For people. */
  readonly sentence: string;
}

/** What the gate found. */
export interface GateVerdict {
  readonly passed: boolean;
  readonly checks: readonly GateCheck[];
}

/** A lower mean is worse where it has a smaller p-value than this. */
export const SIGNIFICANT = 0.05;

/** Reads `ndcg@10>=0.40`; undefined if it is no such thing. */
export function parseRequirement(text: string): Requirement | undefined {
  const [, name = "", value = ""] = /^\s*(\S+?)\s*>=\s*(\d*\.?\d+)\s*$/.exec(text) ?? [];
  const metric = parseMetric(name.toLowerCase());
  const at_least = Number(value);
  if (metric === undefined || value === "" || at_least > 1) return undefined;
  return { metric, at_least };
}

/**
 * Judges a system.
 * @param system with all metrics that the gate requires.
 * @throws CspladeError `file_invalid` if the reference is not over the same queries.
 */
export function judgeSystem(
  { metrics, per_query }: Pick<SystemResult, "metrics" | "per_query">,
  { require, reference }: Gate,
): GateVerdict {
  const checks: GateCheck[] = require.map(({ metric, at_least }) => {
    const value = metrics[metric] ?? 0;
    const passed = value >= at_least;
    const sentence = `${metric} is ${value.toFixed(4)}; at least ${at_least} is required.`;
    return { metric, passed, value, at_least, sentence };
  });
  if (reference !== undefined) {
    const compared = compareResults(reference, { name: "this result", per_query }).metrics;
    for (const metric of new Set<MetricName>(["ndcg@10", ...require.map((each) => each.metric)])) {
      const found = compared.get(metric);
      if (found === undefined) continue;
      const { first, second, difference, p_value } = found;
      const passed = difference >= 0 || p_value >= SIGNIFICANT;
      const how =
        difference < 0
          ? `${(-difference).toFixed(4)} lower, ${passed ? "which may be chance" : "no chance"}`
          : `${difference.toFixed(4)} higher`;
      checks.push({
        metric,
        passed,
        value: second,
        reference: first,
        p_value,
        sentence: `${metric} is ${second.toFixed(4)} against ${first.toFixed(4)} of ${reference.name}: ${how} (${pPhrase(p_value)}).`,
      });
    }
  }
  const found = [...per_query.values()].some((each) => each["recall@100"] > 0);
  if (!found) {
    checks.push({
      metric: "recall@100",
      passed: false,
      value: 0,
      sentence:
        "No relevant document is among the first 100 hits of any query: are these judgements of these documents?",
    });
  }
  return { passed: checks.every(({ passed }) => passed), checks };
}

/** What failed, for people; undefined where nothing did. */
export function notGoodEnough({ passed, checks }: GateVerdict, what: string): string | undefined {
  if (passed) return undefined;
  const failed = checks.filter((check) => !check.passed).map(({ sentence }) => sentence);
  return `${what} is not good enough: ${failed.join(" ")}`;
}

/** @throws CspladeError `quality_too_low` with what failed. */
export function demandGood(verdict: GateVerdict, what: string, hint: string): void {
  const failed = notGoodEnough(verdict, what);
  if (failed !== undefined) throw new CspladeError("quality_too_low", failed, { hint });
}
