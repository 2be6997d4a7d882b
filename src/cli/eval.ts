/** `csplade eval`: how good retrieval is on a test collection, next to BM25, on a real index. */
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import pc from "picocolors";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import { packageVersion } from "../config/package-root.js";
import type { Config } from "../config/settings.js";
import { openEncoder, type Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { readCollection, type TestCollection } from "../evaluate/beir.js";
import { compareModes, type ComparedMode } from "../evaluate/compare-modes.js";
import { comparePrunings } from "../evaluate/compare-prunings.js";
import type { Evaluation } from "../evaluate/evaluate.js";
import { encodeQueries, evaluateIndex, questionWeigher } from "../evaluate/evaluate-index.js";
import { notGoodEnough } from "../evaluate/gate.js";
import { measureIndex, mergeSegments } from "../evaluate/index-footprint.js";
import type { MetricName } from "../evaluate/metrics.js";
import { writeRun } from "../evaluate/run-file.js";
import { readEvaluation, saveEvaluation } from "../evaluate/saved-evaluation.js";
import { demandWholeCorpus } from "../evaluate/whole-corpus.js";
import { bulkWriterOptions, createBulkWriter } from "../cluster/bulk-writer.js";
import { deleteIndex, readIndexModel } from "../index/csplade-index.js";
import { ingestFiles, type IngestSummary } from "../pipeline/ingest-files.js";
import { hasReranker, openReranker } from "../rerank/open-reranker.js";
import { searchedFields } from "../query/searched-fields.js";
import { denseBytes } from "../sparse/dense-vector.js";
import type { PruneOptions } from "../sparse/prune.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { compareFiles } from "./eval-compare.js";
import { demandedMetrics, gateOf } from "./eval-gate.js";
import {
  comparable,
  parseMetrics,
  parseModes,
  parsePrunings,
  parseShare,
  type Comparable,
} from "./eval-options.js";
import { parseReranked } from "./rerank-option.js";
import { writeReport } from "./eval-report.js";
import {
  printReport,
  pruningName,
  reportOf,
  savedOf,
  type EvalFindings,
  type PrunedIndices,
} from "./eval-output.js";
import { askedQuestions } from "./eval-questions.js";
import { startIngestProgress, type IngestProgress } from "./ingest-progress.js";
import { untilInterrupted } from "./interrupt.js";
import { EXIT, printJson, printNote } from "./outcome.js";

interface EvalFlags {
  readonly data?: string;
  readonly index?: string;
  readonly keep?: true;
  readonly run?: string;
  readonly bm25Run?: string;
  readonly modes?: readonly Comparable[];
  readonly rerank: number;
  readonly prunings?: readonly PruneOptions[];
  readonly keptQuality: number;
  readonly metrics?: readonly MetricName[];
  readonly require?: string;
  /** Of `--no-worse-than`, which the parser takes for the negation of another: true where it is not given. */
  readonly worseThan?: string | true;
  readonly save?: string;
  readonly label?: string;
  readonly report?: string;
  readonly results?: readonly string[];
  readonly compare?: readonly string[];
  readonly json?: true;
  readonly quiet?: true;
}

/** Builds the command. */
export function evalCommand(): Command {
  return configuredCommand("eval")
    .description("Index a test collection, run its queries, and compare with BM25.")
    .option("--data <folder>", "collection in BEIR's form: corpus, queries, qrels/test.tsv")
    .option("--index <name>", "index to use; one that is there already is filled up and kept")
    .option("--keep", "keep the index that was made for this evaluation")
    .option("--run <file>", "write the hits in TREC's run format, for trec_eval and others")
    .option("--bm25-run <file>", "write BM25's hits too")
    .option(
      "--modes <list>",
      `also compare modes of search: ${comparable.join(", ")}, or all`,
      parseModes,
    )
    .option(
      "--rerank <n>",
      "hits that mode rerank puts into the reranker's order",
      parseReranked,
      50,
    )
    .option(
      "--prunings <list>",
      "also compare prunings of documents: TYPE:RATIO,… such as max_ratio:0.1,top_k:64, or auto",
      parsePrunings,
    )
    .option(
      "--kept-quality <share>",
      "with --prunings: share of nDCG@10 that the recommended one keeps",
      parseShare,
      0.99,
    )
    .option(
      "--metrics <list>",
      "more metrics: ndcg@K, mrr@K, map@K, recall@K, precision@K, K up to 1000",
      parseMetrics,
    )
    .option("--require <list>", "fail below these: METRIC>=VALUE,… such as ndcg@10>=0.40")
    .option(
      "--no-worse-than <file>",
      "fail where this saved result or run file is better (p < 0.05 for a difference of nDCG@10 and what --require names)",
    )
    .option("--save <file>", "save the whole result, query by query, for --compare")
    .option("--label <text>", "what tables and plots call this result (its settings without it)")
    .option("--report <file.html>", "write a page with plots and tables, which needs nothing else")
    .option("--results <files...>", "saved results to draw too; without --data only these")
    .option("--compare <files...>", "evaluate nothing: compare two run files or saved results")
    .option("--quiet", "no progress")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
The corpus goes through the same queue, encoder and index as any ingest. All metrics are
trec_eval's, and none is printed while a document that has text is missing from the index. BM25 is
OpenSearch's own, on the same index. The time per query is the median of
questions asked one at a time, encoding included. With --modes a second table compares ways to
search the same index; its times are those of the search alone. With --prunings every pruning gets
a copy of the index, without encoding again, and the smallest one that keeps --kept-quality of
nDCG@10 is named; choose on other queries than those you report on. --report draws all of it, and
with --results sets other saved results (other precisions, prunings, quantizations) against it.
p-values are those of a paired
randomization test, two-sided. A saved result holds several systems: FILE#bm25 names another
one than plain scoring. Where --require or --no-worse-than is not met the exit code is 5.

Examples:
  csplade eval --data ./scifact
  csplade eval --data ./scifact --index scifact --keep --run scifact.run --bm25-run bm25.run
  csplade eval --data ./scifact --modes two_phase,hybrid --metrics ndcg@20,recall@1000
  csplade eval --data ./scifact --prunings auto
  csplade eval --data ./scifact --require 'ndcg@10>=0.40' --no-worse-than yesterday.json
  csplade eval --data ./scifact --compare bm25.run scifact.run
  csplade eval --compare yesterday.json today.json
  csplade eval --data ./scifact --modes all --save now.json --report now.html
  csplade eval --report sizes.html --results bits9.json bits5.json bits4.json
  csplade eval --data ./scifact --json | jq '."ndcg@10"'`,
    )
    .action(async (flags: EvalFlags, command: Command) => {
      const gated = flags.require !== undefined || typeof flags.worseThan === "string";
      if (gated && (flags.compare !== undefined || flags.data === undefined)) {
        throw new CspladeError("usage", "--require and --no-worse-than judge an evaluation.", {
          hint: "Name a collection with --data FOLDER, and leave --compare out.",
        });
      }
      if (flags.compare !== undefined) {
        await compareFiles({ ...flags, compare: flags.compare });
        return;
      }
      const others = await Promise.all((flags.results ?? []).map(readEvaluation));
      if (flags.data === undefined) {
        if (flags.report === undefined || others.length === 0) throw nothingToDo();
        await writeReport(flags.report, others);
        return;
      }
      const { values } = configOf(command.opts());
      const collection = await readCollection(flags.data);
      // Read before the work: a file that cannot be read costs no evaluation.
      const judge = await gateOf(flags, collection);
      const found = await untilInterrupted((signal) =>
        runEvaluation(values, collection, flags, signal),
      );
      const findings = { ...found, gate: judge?.(found.evaluation) };
      const { label } = flags;
      const saved = savedOf(findings, { version: packageVersion, at: new Date(), label });
      if (flags.save !== undefined) await saveEvaluation(flags.save, saved);
      if (flags.report !== undefined) await writeReport(flags.report, [saved, ...others]);
      const report = reportOf(findings);
      if (flags.json) printJson(report);
      else printReport(report);
      const failed = report.gate && notGoodEnough(report.gate, "The evaluation");
      if (failed !== undefined) {
        printNote(`${pc.red("error:")} ${failed}`);
        process.exitCode = EXIT.refused;
      }
    });
}

function nothingToDo(): CspladeError {
  return new CspladeError("usage", "There is nothing to evaluate.", {
    hint:
      "Name a collection with --data FOLDER, two results with --compare A B, " +
      "or saved results to draw with --report FILE --results A B.",
  });
}

async function runEvaluation(
  config: Config,
  collection: TestCollection,
  flags: EvalFlags,
  signal: AbortSignal,
): Promise<EvalFindings> {
  const cluster = connectCluster(config);
  const index = flags.index ?? `csplade-eval-${randomUUID().slice(0, 8)}`;
  let ours = false;
  try {
    ours = !(await exists(cluster, index));
    const encoder = await openEncoder(config);
    try {
      const onTrouble = (note: string) => printNote(pc.yellow(note));
      const place: Place = {
        config,
        cluster,
        encoder,
        collection,
        index,
        flags,
        signal,
        onTrouble,
      };
      const summary = await indexCorpus(place);
      await demandWholeCorpus(cluster, index, summary, signal);
      if (ours) await mergeSegments(cluster, index);
      const evaluation = await evaluateIndex(place, index, collection, demandedMetrics(flags));
      if (flags.run !== undefined) await writeRun(flags.run, evaluation.csplade.run, "csplade");
      if (flags.bm25Run !== undefined) await writeRun(flags.bm25Run, evaluation.bm25.run, "bm25");
      const modes =
        flags.modes === undefined
          ? undefined
          : await compareOnIndex(place, evaluation, flags.modes);
      const footprint = await measureIndex(cluster, index);
      const prunings = await prunedIndices(place);
      return { config, encoder, collection, summary, evaluation, footprint, modes, prunings };
    } finally {
      await encoder.close();
    }
  } finally {
    if (ours && flags.keep !== true) await deleteIndex(cluster, index);
    await cluster.close();
  }
}

/** What the steps of an evaluation work with. */
interface Place {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly collection: TestCollection;
  readonly index: string;
  readonly flags: EvalFlags;
  readonly signal: AbortSignal;
  readonly onTrouble: (note: string) => void;
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

async function indexCorpus(place: Place): Promise<IngestSummary> {
  const { config, cluster, encoder, collection, index, flags, signal } = place;
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
      onStart: ({ bytes }) => {
        progress = startIngestProgress(bytes, flags.quiet === true);
      },
      onProgress: (counts) => progress?.update(counts),
      onTrouble: place.onTrouble,
      signal,
    });
    if (summary.dead_letters !== null) {
      // Blank documents are part of some collections: they count as not found. Others are an error.
      printNote(
        pc.yellow(`${summary.failed} documents could not be indexed; why: ${summary.dead_letters}`),
      );
    }
    return summary;
  } finally {
    progress?.stop();
  }
}

async function prunedIndices(place: Place): Promise<PrunedIndices | undefined> {
  const { config, cluster, collection, index, flags, signal } = place;
  if (flags.prunings === undefined) return undefined;
  const { queries, qrels } = collection;
  const { passages } = await readIndexModel(cluster, index, { signal });
  const target = searchedFields({ passages });
  const texts = queries.map(({ text }) => text);
  const questions = await encodeQueries(place, texts);
  const writer = createBulkWriter(cluster, { ...bulkWriterOptions(config), signal });
  try {
    const rows = await comparePrunings({
      cluster,
      writer,
      index,
      target,
      queries,
      qrels,
      prunings: flags.prunings,
      metrics: flags.metrics,
      weigh: (name) => questionWeigher(place, name, target.fields)(questions),
      signal,
      onProgress: (pruning) => {
        if (flags.quiet !== true) printNote(pc.dim(`pruning by ${pruningName(pruning)}`));
      },
    });
    return { rows, kept_quality: flags.keptQuality };
  } finally {
    await writer.close();
  }
}

async function compareOnIndex(
  place: Place,
  { vectors }: Evaluation,
  modes: readonly Comparable[],
): Promise<ComparedMode[]> {
  const { config, cluster, collection, encoder, index, flags, signal } = place;
  const { queries, qrels } = collection;
  const info = await readIndexModel(cluster, index, { signal });
  const { ann, text_fields } = info;
  const target = { index, text_fields, ...searchedFields(info) };
  const { lexicon } = encoder;
  const possible = modes.filter(
    (mode) =>
      (mode !== "ann" || ann !== undefined) &&
      (mode !== "lexical" || lexicon !== undefined) &&
      (mode !== "rerank" || hasReranker(config)),
  );
  const left = modes.filter((mode) => !possible.includes(mode));
  if (left.length > 0) {
    const lacks = {
      ann: "ann (the index has no such field: csplade ann makes one that has)",
      lexical: "lexical (the checkpoint has no lexicon)",
      rerank: "rerank (neither rerank.model nor rerank.remote is set)",
    } as Readonly<Record<string, string>>;
    printNote(pc.yellow(`Left out: ${left.map((mode) => lacks[mode] ?? mode).join(", ")}.`));
  }
  const asked = possible.some((mode) => mode === "lexical" || mode === "two_phase")
    ? await askedQuestions(queries, config, encoder, signal)
    : undefined;
  const dense =
    possible.includes("hybrid") && info.dense === true && encoder.encodes.dense
      ? await denseQuestions(encoder, queries, signal)
      : undefined;
  const reranker = possible.includes("rerank") ? await openReranker(config) : undefined;
  try {
    return await compareModes({
      cluster,
      target,
      queries,
      vectors,
      dense,
      ...asked,
      qrels,
      modes: possible.filter((mode) => mode !== "rerank"),
      rerank: reranker === undefined ? undefined : { by: reranker, hits: flags.rerank },
      metrics: flags.metrics,
      signal,
    });
  } finally {
    await reranker?.close();
  }
}

/** The dense vectors of questions. */
async function denseQuestions(
  encoder: Encoder,
  queries: readonly { readonly text: string }[],
  signal: AbortSignal,
): Promise<(readonly number[] | undefined)[]> {
  const texts = queries.map(({ text }) => text);
  const encoded = await encoder.encodeQueries(texts, { signal, dense: true });
  return encoded.map(({ passages: [passage] }) => denseBytes([passage?.dense]));
}
