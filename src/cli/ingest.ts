/** `csplade ingest`: files of documents into an index, through the queue. */
import path from "node:path";
import { InvalidArgumentError, Option, type Command } from "commander";
import pc from "picocolors";
import { connectCluster } from "../cluster/cluster.js";
import type { LoadedConfig } from "../config/load-config.js";
import type { SettingName } from "../config/settings.js";
import { openCoordinatorEncoder } from "../encoder/query-encoder.js";
import {
  ingestFiles,
  inspectFiles,
  type IngestSummary,
  type Inspection,
} from "../pipeline/ingest-files.js";
import type { IngestCounts } from "../pipeline/ingest-run.js";
import { COLUMN_TYPES, type ColumnType } from "../sources/delimited.js";
import { FILE_FORMATS, FORMAT_NAMES, type FileFormat } from "../sources/sniff.js";
import type { FileOrigin } from "../sources/source-file.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { documentSettings, withDocumentOptions, type DocumentFlags } from "./document-options.js";
import { failureLines, truncatedLines } from "./failure-lines.js";
import { startIngestProgress, type IngestProgress } from "./ingest-progress.js";
import { sameCommand, untilInterrupted } from "./interrupt.js";
import { EXIT, printJson, printLine, printNote } from "./outcome.js";
import { openShownEncoder } from "./working-encoder.js";

interface IngestFlags extends DocumentFlags {
  readonly index: string;
  readonly fromDeadLetters?: true;
  readonly deadLetters?: string;
  readonly force?: true;
  readonly format?: FileFormat;
  readonly types?: Readonly<Record<string, ColumnType>>;
  readonly dryRun?: true;
  readonly workers: boolean;
  readonly json?: true;
  readonly quiet?: true;
}

/** Builds the command. */
export function ingestCommand(): Command {
  const command = configuredCommand("ingest")
    .description("Encode documents and write them into an index. Running it again changes nothing.")
    .argument(
      "<file...>",
      "files of documents, folders (BEIR, or of *.md, *.html, *.txt), or - for standard input",
    )
    .requiredOption("--index <name>", "the index; created if it is missing");
  return withDocumentOptions(command)
    .addOption(
      new Option("--format <format>", "the files' format (told from their first bytes)").choices(
        FILE_FORMATS,
      ),
    )
    .option("--types <types>", "of CSV and TSV columns: price:number,tags:json (string)", typesOf)
    .option("--dry-run", "only say what the files are and show their first document")
    .option("--from-dead-letters", "the files are dead-letter files: try their documents again")
    .option("--dead-letters <file>", "where failed documents go (a new file in this folder)")
    .option("--force", "encode again although neither text nor model changed")
    .option("--no-workers", "only queue: leave the work to csplade worker processes")
    .option("--quiet", "no progress")
    .option("--json", "print the summary as one JSON object")
    .addHelpText(
      "after",
      `
Files are NDJSON, a JSON array, JSON objects one after another, a _bulk body, elasticdump's lines,
CSV or TSV with a header line, Parquet; each plain, gzip or zstd. What a file is, its first bytes tell.
Of a folder, each Markdown, HTML and text file is a document, with its path as the id.

A document that cannot be taken never stops the others: it goes to the dead-letter file with
its reason, and the exit code is 3.

Examples:
  csplade ingest docs.ndjson.gz --index docs
  zcat dump.gz | csplade ingest - --index docs --text-fields headline,body
  csplade ingest products.csv.zst --index products --id-field sku --text-fields name --types price:number
  csplade ingest docs/ --index manual
  csplade ingest --from-dead-letters csplade-dead-letters-docs.ndjson --index docs`,
    )
    .action(async (files: string[], flags: IngestFlags, command: Command) => {
      const loaded = configOf(command.opts(), documentSettings(flags));
      if (flags.dryRun) {
        const found = await untilInterrupted((signal) => inspect(loaded, files, flags, signal));
        if (flags.json) printJson(found);
        else printInspection(found);
        return;
      }
      const shown: Shown = {};
      const summary = await untilInterrupted(
        (signal) => ingest(loaded, files, flags, signal, shown),
        {
          done: () => stoppedLines(flags.index, shown),
          goOn: sameCommand,
        },
      );
      if (flags.json) printJson(summary);
      else printIngestSummary(summary);
      if (summary.failed > 0) process.exitCode = EXIT.incomplete;
    });
}

const givenIn =
  ({ origins }: LoadedConfig) =>
  (setting: SettingName) =>
    origins[setting] !== "default";

/** What an ingest shows while it runs. */
interface Shown {
  progress?: IngestProgress;
  counts?: IngestCounts;
}

/** What was done when the command was stopped. */
function stoppedLines(index: string, { progress, counts }: Shown): string[] {
  progress?.stop();
  if (counts === undefined) return ["nothing was written yet."];
  const { read, written, skipped, failed, failures } = counts;
  return [
    `${index}: ${read} read, ${written} written, ${skipped} skipped (unchanged), ${failed} failed so far.`,
    ...failureLines(failures),
  ];
}

function inspect(
  loaded: LoadedConfig,
  inputs: readonly string[],
  { format, types, fromDeadLetters }: IngestFlags,
  signal: AbortSignal,
): Promise<Inspection> {
  const isReplay = fromDeadLetters === true;
  return inspectFiles({
    config: loaded.values,
    isGiven: givenIn(loaded),
    inputs,
    format,
    types,
    fromDeadLetters: isReplay,
    signal,
  });
}

/** What `--dry-run` says. */
function printInspection({ sources, fields, first }: Inspection): void {
  for (const origin of sources) printLine(originPhrase(origin));
  printLine(`fields: ${fields.join(", ")}`);
  if (first !== undefined) printLine(`first document: ${first.id} ${first.json}`);
}

/** A source in words: `docs.csv.zst: CSV, zstd`. */
function originPhrase({ name, format, compression }: FileOrigin): string {
  const packed = compression === "none" ? "" : `, ${compression}`;
  return `${name === "-" ? "standard input" : name}: ${FORMAT_NAMES[format]}${packed}`;
}

/** `price:number,tags:json` as a table. */
function typesOf(text: string): Record<string, ColumnType> {
  const types = text.split(",").map((each) => {
    const at = each.lastIndexOf(":");
    const type = COLUMN_TYPES.find((known) => known === each.slice(at + 1).trim());
    if (at < 1 || type === undefined) {
      throw new InvalidArgumentError(
        `Write COLUMN:TYPE, comma-separated; types are ${COLUMN_TYPES.join(", ")}.`,
      );
    }
    return [each.slice(0, at).trim(), type] as const;
  });
  return Object.fromEntries(types);
}

async function ingest(
  loaded: LoadedConfig,
  inputs: readonly string[],
  flags: IngestFlags,
  signal: AbortSignal,
  shown: Shown,
): Promise<IngestSummary> {
  const config = loaded.values;
  const onTrouble = (message: string): void => printNote(pc.yellow(message));
  const cluster = connectCluster(config);
  const encoder = flags.workers
    ? await openShownEncoder(config, { onTrouble })
    : await openCoordinatorEncoder(config);
  const deadLetters = flags.deadLetters ?? newDeadLetterFile(flags.index);
  try {
    return await ingestFiles({
      config,
      cluster,
      encoder,
      inputs,
      index: flags.index,
      isGiven: givenIn(loaded),
      format: flags.format,
      types: flags.types,
      fromDeadLetters: flags.fromDeadLetters === true,
      deadLetters,
      force: flags.force === true,
      work: flags.workers,
      onStart: ({ bytes, files }) => {
        if (flags.quiet !== true) for (const origin of files) printNote(originPhrase(origin));
        shown.progress = startIngestProgress(bytes, flags.quiet === true);
      },
      onProgress(counts) {
        shown.counts = counts;
        if (!signal.aborted) shown.progress?.update(counts);
      },
      onTrouble,
      signal,
    });
  } finally {
    shown.progress?.stop();
    await encoder.close();
    await cluster.close();
  }
}

/** A name that says what it is and does not overwrite an earlier run's letters. */
function newDeadLetterFile(index: string): string {
  const time = new Date()
    .toISOString()
    .replace(/\.\d+Z$/, "")
    .replaceAll(/[:T]/g, "-");
  return path.resolve(`csplade-dead-letters-${index}-${time}.ndjson`);
}

/** The summary for people. */
export function printIngestSummary(summary: IngestSummary): void {
  const { read, encoded, written, skipped, failed, low_quality, seconds, tokens } = summary;
  printLine(
    `${pc.bold(summary.index)}: ${read} read, ${encoded} encoded, ${written} written, ` +
      `${skipped} skipped (unchanged), ${failed > 0 ? pc.red(`${failed} failed`) : "0 failed"} ` +
      `in ${seconds.toFixed(1)} s`,
  );
  if (encoded > 0) {
    printLine(
      `${(encoded / seconds).toFixed(0)} documents/s, ${(tokens / seconds).toFixed(0)} tokens/s, ` +
        `${(summary.terms / Math.max(1, summary.passages)).toFixed(0)} terms per passage, ` +
        `model ${summary.model}`,
    );
  }
  if (low_quality > 0) {
    printLine(
      `${low_quality} documents of low quality have no vector and are found by BM25 only (ingest.min_quality).`,
    );
  }
  for (const line of truncatedLines(summary)) printLine(line);
  for (const line of failureLines(summary.failures)) printLine(line);
  if (summary.dead_letters !== null) {
    printLine(`The failed documents and their reasons are in ${summary.dead_letters}`);
    printLine(
      pc.dim(`Mend them and run: csplade ingest --from-dead-letters FILE --index ${summary.index}`),
    );
  }
}
