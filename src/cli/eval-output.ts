/** What `csplade eval` prints and saves of an evaluation. */
import pc from "picocolors";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import type { TestCollection } from "../evaluate/beir.js";
import type { ComparedMode } from "../evaluate/compare-modes.js";
import { smallestWithin, type ComparedPruning } from "../evaluate/compare-prunings.js";
import type { Evaluation } from "../evaluate/evaluate.js";
import type { GateVerdict } from "../evaluate/gate.js";
import { countTerms, type IndexFootprint } from "../evaluate/index-footprint.js";
import { metricsOf, namesOf, type Metrics } from "../evaluate/metrics.js";
import type { SavedEvaluation, SavedSystem } from "../evaluate/saved-evaluation.js";
import { pPhrase, type Significance } from "../evaluate/significance.js";
import type { IngestSummary } from "../pipeline/ingest-files.js";
import type { PruneOptions } from "../sparse/prune.js";
import { printLine } from "./outcome.js";

/** Everything that one evaluation found. */
export interface EvalFindings {
  readonly config: Config;
  readonly encoder: Pick<Encoder, "manifest">;
  readonly collection: TestCollection;
  readonly summary: IngestSummary;
  readonly evaluation: Evaluation;
  readonly footprint: IndexFootprint;
  /** With `--modes`: each of them, plain scoring and BM25. */
  readonly modes?: readonly ComparedMode[] | undefined;
  /** With `--prunings`. */
  readonly prunings?: PrunedIndices | undefined;
  /** With `--require` or `--no-worse-than`. */
  readonly gate?: GateVerdict | undefined;
}

/** Prunings that were compared, the index as it is first. */
export interface PrunedIndices {
  readonly rows: readonly ComparedPruning[];
  /** Share of nDCG@10 that the recommended one keeps. */
  readonly kept_quality: number;
}

/** What the command prints as JSON. */
export interface EvalReport extends Metrics {
  readonly dataset: string;
  readonly model: string;
  readonly queries: number;
  readonly documents: number;
  /** Documents without text: nothing can be indexed, so nothing finds them. */
  readonly failed_documents: number;
  /** Documents that only BM25 finds (`ingest.min_quality`). */
  readonly low_quality_documents: number;
  readonly bm25: Metrics;
  /** nDCG@10 minus BM25's, and its p-value (paired randomization test, two-sided). */
  readonly versus_bm25: Significance;
  readonly avg_query_terms: number;
  readonly avg_doc_terms: number | null;
  readonly index_bytes: number;
  readonly ms_per_query_p50: number;
  /** With `--modes`: each of them, plain scoring and BM25. */
  readonly modes?: readonly (Metrics & Omit<ComparedMode, "metrics" | "per_query" | "run">)[];
  /** With `--prunings`: the index as it is, and each of them. */
  readonly prunings?: readonly (Metrics & Omit<ComparedPruning, "metrics">)[];
  /** With `--prunings`: the smallest that keeps so much of nDCG@10. */
  readonly recommended_pruning?: PruneOptions & { readonly kept_quality: number };
  /** With `--require` or `--no-worse-than`. */
  readonly gate?: GateVerdict;
}

/** The report of an evaluation. */
export function reportOf({
  collection: { name, queries },
  summary,
  evaluation: { csplade, bm25, versus_bm25, avg_query_terms, ms_per_query_p50 },
  footprint: { avg_doc_terms, index_bytes },
  modes,
  prunings,
  gate,
}: EvalFindings): EvalReport {
  return {
    dataset: name,
    model: summary.model,
    queries: queries.length,
    documents: summary.read,
    failed_documents: summary.failed,
    low_quality_documents: summary.low_quality,
    ...rounded(csplade.metrics),
    bm25: rounded(bm25.metrics),
    versus_bm25: roundedDifference(versus_bm25),
    avg_query_terms: round(avg_query_terms, 1),
    avg_doc_terms: avg_doc_terms === null ? null : round(avg_doc_terms, 1),
    index_bytes,
    ms_per_query_p50: round(ms_per_query_p50, 2),
    ...(modes === undefined ? {} : { modes: modes.map(modeRow) }),
    ...(prunings === undefined ? {} : pruningPart(prunings)),
    ...(gate === undefined ? {} : { gate }),
  };
}

/**
 * The evaluation as it is saved.
 * @param made version of csplade, time, and what people call the evaluation; its settings without a label.
 */
export function savedOf(
  { config, encoder, collection, summary, evaluation, footprint, modes }: EvalFindings,
  made: { readonly version: string; readonly at: Date; readonly label?: string | undefined },
): SavedEvaluation {
  const { precision } = encoder.manifest;
  const settings = settingsOf(config, precision);
  return {
    format: "csplade-evaluation/1",
    csplade: made.version,
    made_at: made.at.toISOString(),
    label: made.label ?? Object.values(settings).join(", "),
    dataset: collection.name,
    model: summary.model,
    settings,
    documents: summary.read,
    failed_documents: summary.failed,
    queries: Object.fromEntries(collection.queries.map(({ id, text }) => [id, text])),
    systems: systemsOf(evaluation, modes),
    versus_bm25: evaluation.versus_bm25,
    ms_per_query_p50: evaluation.ms_per_query_p50,
    index_bytes: footprint.index_bytes,
    terms_per_query: countTerms(evaluation.vectors.map(({ ids }) => ids.length)),
    terms_per_document: footprint.terms_per_document,
  };
}

/** What decides quality, size and speed besides the model, as short phrases. */
function settingsOf(config: Config, precision: string): Record<string, string> {
  const pruned = (side: "document" | "query") => {
    const type = config[`${side}.prune_type`];
    return type === "none"
      ? {}
      : { [`${side} pruning`]: `${side} ${type} ${config[`${side}.prune_ratio`]}` };
  };
  return {
    precision,
    quantization: `${config["document.quantize_bits"]} bits`,
    ...(config["document.expansion"] === 1
      ? {}
      : { "document expansion": `${config["document.expansion"]} of document expansion` }),
    ...pruned("document"),
    ...pruned("query"),
    ...(config["ingest.min_quality"] > 0
      ? { "static pruning": `quality from ${config["ingest.min_quality"]}` }
      : {}),
    ...(config["query.encoder"] === "table" ? { queries: "queries by table" } : {}),
  };
}

function systemsOf(
  { csplade, bm25 }: Evaluation,
  modes: readonly ComparedMode[] = [],
): SavedSystem[] {
  const plain = modes.find(({ name }) => name === "plain");
  const others = modes.filter(({ name }) => name !== "plain" && name !== "bm25");
  const timed = (mode: ComparedMode | undefined) =>
    mode === undefined ? {} : { ms_p50: mode.ms_p50, ms_p95: mode.ms_p95 };
  return [
    { name: "csplade", ...judged(csplade), ...timed(plain) },
    { name: "bm25", ...judged(bm25), ...timed(modes.find(({ name }) => name === "bm25")) },
    ...others.map((mode) => ({
      name: mode.name,
      ...judged(mode),
      ...timed(mode),
      ...(mode.versus_plain === undefined ? {} : { versus_plain: mode.versus_plain }),
    })),
  ];
}

function judged({
  metrics,
  per_query,
}: {
  readonly metrics: Metrics;
  readonly per_query: ReadonlyMap<string, Metrics>;
}) {
  return { metrics, per_query: Object.fromEntries(per_query) };
}

function modeRow({ name, metrics, versus_plain, ms_p50, ms_p95 }: ComparedMode) {
  return {
    name,
    ...rounded(metrics),
    ...(versus_plain === undefined ? {} : { versus_plain: roundedDifference(versus_plain) }),
    ms_p50: round(ms_p50, 2),
    ms_p95: round(ms_p95, 2),
  };
}

function pruningPart({
  rows,
  kept_quality,
}: PrunedIndices): Pick<EvalReport, "prunings" | "recommended_pruning"> {
  const { prune_type = "none", prune_ratio = 0 } = smallestWithin(rows, kept_quality) ?? {};
  return {
    prunings: rows.map(({ metrics, versus_whole, avg_doc_terms, ...row }) => ({
      ...row,
      ...rounded(metrics),
      ...(versus_whole === undefined ? {} : { versus_whole: roundedDifference(versus_whole) }),
      avg_doc_terms: avg_doc_terms === null ? null : round(avg_doc_terms, 1),
    })),
    recommended_pruning: { prune_type, prune_ratio, kept_quality },
  };
}

/** A pruning as people read it: `max_ratio 0.1`; `as it is` without one. */
export function pruningName({ prune_type, prune_ratio }: PruneOptions): string {
  return prune_type === "none" ? "as it is" : `${prune_type} ${prune_ratio}`;
}

function roundedDifference({ difference, p_value }: Significance): Significance {
  return { difference: round(difference, 4), p_value: round(p_value, 4) };
}

function rounded(metrics: Metrics): Metrics {
  return metricsOf(namesOf(metrics), (name) => round(metrics[name] ?? 0, 4));
}

/** A number with so many decimals. */
export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** Prints the report for people. */
export function printReport(report: EvalReport): void {
  printLine(
    `${pc.bold(report.dataset)}: ${report.queries} queries, ${report.documents} documents, ` +
      `model ${report.model}`,
  );
  printLine(pc.dim(`${"".padEnd(14)}${"CSPLADE".padStart(10)}${"BM25".padStart(10)}`));
  for (const name of namesOf(report)) {
    const [ours, theirs] = [(report[name] ?? 0).toFixed(4), (report.bm25[name] ?? 0).toFixed(4)];
    printLine(`${name.padEnd(14)}${pc.cyan(ours.padStart(10))}${theirs.padStart(10)}`);
  }
  const { difference, p_value } = report.versus_bm25;
  printLine(
    `nDCG@10 is ${Math.abs(difference).toFixed(4)} ${difference < 0 ? "below" : "above"} BM25 ` +
      `(${pPhrase(p_value)})`,
  );
  printLine(
    (report.low_quality_documents === 0
      ? ""
      : `${report.low_quality_documents} documents of low quality were not encoded; `) +
      `${report.avg_query_terms} terms per query, ${report.avg_doc_terms ?? "?"} per document, ` +
      `index ${(report.index_bytes / 1e6).toFixed(1)} MB, ${report.ms_per_query_p50} ms per query`,
  );
  if (report.modes !== undefined) printModes(report.modes);
  if (report.prunings !== undefined) printPrunings(report);
  for (const { passed, sentence } of report.gate?.checks ?? []) {
    printLine(`${passed ? pc.green("passed") : pc.red("failed")} ${sentence}`);
  }
}

function printPrunings({ prunings = [], recommended_pruning, documents }: EvalReport): void {
  const whole = prunings[0]?.index_bytes ?? 1;
  const heads = ["terms/doc", "bytes/doc", "of the index", "nDCG@10"];
  const line = (name: string, cells: readonly string[]) =>
    `${name.padEnd(18)}${cells.map((cell) => cell.padStart(14)).join("")}`;
  printLine(pc.dim(`\n${line("", heads)}    minus the index as it is`));
  for (const row of prunings) {
    const cells = [
      String(row.avg_doc_terms ?? "?"),
      (row.index_bytes / Math.max(1, documents)).toFixed(0),
      `${((100 * row.index_bytes) / whole).toFixed(1)} %`,
      row["ndcg@10"].toFixed(4),
    ];
    printLine(`${line(pruningName(row), cells)}${differencePhrase(row.versus_whole)}`);
  }
  if (recommended_pruning === undefined) return;
  const { prune_type, prune_ratio, kept_quality } = recommended_pruning;
  const share = `${Number((100 * kept_quality).toFixed(2))} % of nDCG@10`;
  printLine(
    prune_type === "none"
      ? `No smaller index keeps ${share}.`
      : `The smallest that keeps ${share}: ` +
          pc.cyan(
            `CSPLADE_DOCUMENT_PRUNE_TYPE=${prune_type} CSPLADE_DOCUMENT_PRUNE_RATIO=${prune_ratio}`,
          ),
  );
}

function differencePhrase(difference: Significance | undefined): string {
  if (difference === undefined) return "";
  const { difference: value, p_value } = difference;
  return `    ${value < 0 ? "" : "+"}${value.toFixed(4)} (${pPhrase(p_value)})`;
}

function printModes(modes: NonNullable<EvalReport["modes"]>): void {
  const names = modes[0] === undefined ? [] : namesOf(modes[0]);
  const heads = [...names, "ms p50", "ms p95"].map((head) => head.padStart(12));
  const width = Math.max(16, ...modes.map(({ name }) => name.length + 2));
  printLine(pc.dim(`\n${"".padEnd(width)}${heads.join("")}    nDCG@10 minus plain`));
  for (const mode of modes) {
    const values = [
      ...names.map((name) => (mode[name] ?? 0).toFixed(4)),
      mode.ms_p50.toFixed(1),
      mode.ms_p95.toFixed(1),
    ];
    const cells = values.map((value) => value.padStart(12)).join("");
    printLine(`${mode.name.padEnd(width)}${cells}${differencePhrase(mode.versus_plain)}`);
  }
}
