/** `csplade eval`: how good retrieval is on a test collection, next to BM25, on a real index. */
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { openEncoder, type Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { readCollection, type TestCollection } from "../evaluate/beir.js";
import { compareModes, type ComparedMode } from "../evaluate/compare-modes.js";
import { evaluate, type Evaluation } from "../evaluate/evaluate.js";
import { measureIndex, mergeSegments, type IndexFootprint } from "../evaluate/index-footprint.js";
import { metricNames, type Metrics } from "../evaluate/metrics.js";
import { writeRun } from "../evaluate/run-file.js";
import type { Significance } from "../evaluate/significance.js";
import { deleteIndex, readIndexModel } from "../index/csplade-index.js";
import { ingestFiles, type IngestSummary } from "../pipeline/ingest-files.js";
import { searchModes, type SearchMode } from "../query/search-mode.js";
import { searchedFields } from "../query/searched-fields.js";
import { prune } from "../sparse/prune.js";
import { EMPTY_VECTOR, type SparseVector } from "../sparse/sparse-vector.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { startIngestProgress, type IngestProgress } from "./ingest-progress.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine, printNote } from "./outcome.js";

interface EvalFlags {
  readonly data: string;
  readonly index?: string;
  readonly keep?: true;
  readonly run?: string;
  readonly modes?: readonly SearchMode[];
  readonly json?: true;
  readonly quiet?: true;
}

/** What the command prints as JSON. */
export interface EvalReport extends Metrics, IndexFootprint {
  readonly dataset: string;
  readonly model: string;
  readonly queries: number;
  readonly documents: number;
  /** Documents that could not be indexed and so cannot be found. */
  readonly failed_documents: number;
  readonly bm25: Metrics;
  /** nDCG@10 minus BM25's, and its p-value (paired randomization test, two-sided). */
  readonly versus_bm25: { readonly difference: number; readonly p_value: number };
  readonly avg_query_terms: number;
  readonly ms_per_query_p50: number;
  /** With `--modes`: each of them, plain scoring and BM25. */
  readonly modes?: readonly (Metrics & Omit<ComparedMode, "metrics">)[];
}

/** Builds the command. */
export function evalCommand(): Command {
  return configuredCommand("eval")
    .description("Index a test collection, run its queries, and compare with BM25.")
    .requiredOption("--data <folder>", "collection in BEIR's form: corpus, queries, qrels/test.tsv")
    .option("--index <name>", "index to use; one that is there already is filled up and kept")
    .option("--keep", "keep the index that was made for this evaluation")
    .option("--run <file>", "write the hits in TREC's run format, for trec_eval and others")
    .option(
      "--modes <list>",
      `also compare modes of search: ${searchModes.join(", ")} (an index made by csplade ann), or all`,
      parseModes,
    )
    .option("--quiet", "no progress")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
The corpus goes through the same queue, encoder and index as any ingest. nDCG@10, MRR@10 and
Recall@100 are trec_eval's. BM25 is OpenSearch's own, on the same index. The time per query is
the median of questions asked one at a time, encoding included. With --modes a second table
compares ways to search the same index; its times are those of the search alone.

Examples:
  csplade eval --data ./scifact
  csplade eval --data ./scifact --index scifact --keep --run scifact.run
  csplade eval --data ./scifact --modes two_phase,guided,hybrid
  csplade eval --data ./scifact --json | jq '."ndcg@10"'`,
    )
    .action(async (flags: EvalFlags, command: Command) => {
      const { values } = configOf(command.opts());
      const report = await untilInterrupted((signal) => runEvaluation(values, flags, signal));
      if (flags.json) printJson(report);
      else printReport(report);
    });
}

async function runEvaluation(
  config: Config,
  flags: EvalFlags,
  signal: AbortSignal,
): Promise<EvalReport> {
  const collection = await readCollection(flags.data);
  const cluster = connectCluster(config);
  const index = flags.index ?? `csplade-eval-${randomUUID().slice(0, 8)}`;
  let ours = false;
  try {
    ours = !(await exists(cluster, index));
    const encoder = await openEncoder(config);
    try {
      const summary = await indexCorpus(config, cluster, encoder, collection, index, flags, signal);
      if (ours) await mergeSegments(cluster, index);
      const evaluation = await evaluateIndex(config, cluster, encoder, collection, index, signal);
      if (flags.run !== undefined) await writeRun(flags.run, evaluation.csplade.run, "csplade");
      const modes =
        flags.modes === undefined
          ? undefined
          : await compareOnIndex(cluster, collection, evaluation, index, flags.modes, signal);
      return reportOf(collection, summary, evaluation, await measureIndex(cluster, index), modes);
    } finally {
      await encoder.close();
    }
  } finally {
    if (ours && flags.keep !== true) await deleteIndex(cluster, index);
    await cluster.close();
  }
}

async function exists(cluster: Cluster, index: string): Promise<boolean> {
  try {
    await readIndexModel(cluster, index);
    return true;
  } catch (thrown) {
    if (thrown instanceof CspladeError && thrown.code === "index_not_found") return false;
    throw thrown;
  }
}

async function indexCorpus(
  config: Config,
  cluster: Cluster,
  encoder: Encoder,
  collection: TestCollection,
  index: string,
  flags: EvalFlags,
  signal: AbortSignal,
): Promise<IngestSummary> {
  let progress: IngestProgress | undefined;
  const deadLetters = path.join(config.home, "eval", `dead-letters-${index}.ndjson`);
  await mkdir(path.dirname(deadLetters), { recursive: true });
  try {
    const summary = await ingestFiles({
      config,
      cluster,
      encoder,
      inputs: [collection.corpus],
      index,
      deadLetters,
      onStart: (bytes) => {
        progress = startIngestProgress(bytes, flags.quiet === true);
      },
      onProgress: (counts) => progress?.update(counts),
      onTrouble: (message) => printNote(pc.yellow(message)),
      signal,
    });
    if (summary.dead_letters !== null) {
      // Blank documents are part of some collections: they count as not found, and no more.
      printNote(
        pc.yellow(
          `${summary.failed} documents could not be indexed and count as not found; why: ${summary.dead_letters}`,
        ),
      );
    }
    return summary;
  } finally {
    progress?.stop();
  }
}

async function evaluateIndex(
  config: Config,
  cluster: Cluster,
  encoder: Encoder,
  { queries, qrels }: TestCollection,
  index: string,
  signal: AbortSignal,
): Promise<Evaluation> {
  const { passages, text_fields } = await readIndexModel(cluster, index, { signal });
  return await evaluate({
    cluster,
    index,
    ...searchedFields(passages),
    text_fields,
    queries,
    qrels,
    encode: (texts) => encodeQueries(config, encoder, texts, signal),
    signal,
  });
}

async function compareOnIndex(
  cluster: Cluster,
  { queries, qrels }: TestCollection,
  { vectors }: Evaluation,
  index: string,
  modes: readonly SearchMode[],
  signal: AbortSignal,
): Promise<ComparedMode[]> {
  const { passages, ann, text_fields } = await readIndexModel(cluster, index, { signal });
  const target = { index, text_fields, ...searchedFields(passages, ann) };
  const possible = modes.filter((mode) => mode !== "ann" || ann !== undefined);
  return await compareModes({ cluster, target, queries, vectors, qrels, modes: possible, signal });
}

async function encodeQueries(
  config: Config,
  encoder: Encoder,
  texts: readonly string[],
  signal: AbortSignal,
): Promise<SparseVector[]> {
  const encoded = await encoder.encodeQueries(texts, { signal });
  return encoded.map(({ passages, failure }, i) => {
    if (failure !== undefined) {
      throw new CspladeError(
        "encode_failed",
        `The query ${JSON.stringify(texts[i])} cannot be encoded: ${failure}`,
      );
    }
    return prune(passages[0]?.vector ?? EMPTY_VECTOR, {
      prune_type: config["query.prune_type"],
      prune_ratio: config["query.prune_ratio"],
    });
  });
}

function reportOf(
  { name, queries }: TestCollection,
  summary: IngestSummary,
  { csplade, bm25, versus_bm25, avg_query_terms, ms_per_query_p50 }: Evaluation,
  footprint: IndexFootprint,
  modes: readonly ComparedMode[] | undefined,
): EvalReport {
  return {
    dataset: name,
    model: summary.model,
    queries: queries.length,
    documents: summary.read,
    failed_documents: summary.failed,
    ...rounded(csplade.metrics),
    bm25: rounded(bm25.metrics),
    versus_bm25: roundedDifference(versus_bm25),
    avg_query_terms: round(avg_query_terms, 1),
    avg_doc_terms: footprint.avg_doc_terms === null ? null : round(footprint.avg_doc_terms, 1),
    index_bytes: footprint.index_bytes,
    ms_per_query_p50: round(ms_per_query_p50, 2),
    ...(modes === undefined ? {} : { modes: modes.map(modeRow) }),
  };
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

function roundedDifference({ difference, p_value }: Significance): Significance {
  return { difference: round(difference, 4), p_value: round(p_value, 4) };
}

function rounded(metrics: Metrics): Metrics {
  return {
    "ndcg@10": round(metrics["ndcg@10"], 4),
    "mrr@10": round(metrics["mrr@10"], 4),
    "recall@100": round(metrics["recall@100"], 4),
  };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function printReport(report: EvalReport): void {
  printLine(
    `${pc.bold(report.dataset)}: ${report.queries} queries, ${report.documents} documents, ` +
      `model ${report.model}`,
  );
  printLine(pc.dim(`${"".padEnd(12)}${"CSPLADE".padStart(10)}${"BM25".padStart(10)}`));
  for (const name of metricNames) {
    const [ours, theirs] = [report[name].toFixed(4), report.bm25[name].toFixed(4)];
    printLine(`${name.padEnd(12)}${pc.cyan(ours.padStart(10))}${theirs.padStart(10)}`);
  }
  const { difference, p_value } = report.versus_bm25;
  printLine(
    `nDCG@10 is ${Math.abs(difference).toFixed(4)} ${difference < 0 ? "below" : "above"} BM25 ` +
      `(p = ${p_value < 0.001 ? "below 0.001" : p_value.toFixed(3)})`,
  );
  printLine(
    `${report.avg_query_terms} terms per query, ${report.avg_doc_terms ?? "?"} per document, ` +
      `index ${(report.index_bytes / 1e6).toFixed(1)} MB, ${report.ms_per_query_p50} ms per query`,
  );
  if (report.modes !== undefined) printModes(report.modes);
}

function printModes(modes: NonNullable<EvalReport["modes"]>): void {
  const heads = [...metricNames, "ms p50", "ms p95"].map((head) => head.padStart(12));
  printLine(pc.dim(`\n${"".padEnd(16)}${heads.join("")}    nDCG@10 minus plain`));
  for (const mode of modes) {
    const values = [
      ...metricNames.map((name) => mode[name].toFixed(4)),
      mode.ms_p50.toFixed(1),
      mode.ms_p95.toFixed(1),
    ];
    const { difference = 0, p_value = 1 } = mode.versus_plain ?? {};
    const versus =
      mode.versus_plain === undefined
        ? ""
        : `    ${difference < 0 ? "" : "+"}${difference.toFixed(4)} (p = ${p_value.toFixed(3)})`;
    printLine(
      `${mode.name.padEnd(16)}${values.map((value) => value.padStart(12)).join("")}${versus}`,
    );
  }
}

function parseModes(text: string): readonly SearchMode[] {
  if (text === "all") return searchModes;
  return text.split(",").map((part) => {
    const mode = searchModes.find((known) => known === part.trim());
    if (mode !== undefined) return mode;
    throw new InvalidArgumentError(`Modes are ${searchModes.join(", ")}, or all.`);
  });
}
