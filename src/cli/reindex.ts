/** `csplade reindex`: an index or files into a new index, in slices that workers take, then the alias swap. */
import type { Command } from "commander";
import pc from "picocolors";
import { connectWithSource } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { openEncoder } from "../encoder/encoder.js";
import { openCoordinatorEncoder } from "../encoder/query-encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { serveMetrics } from "../observe/metrics-server.js";
import { createRunMetrics } from "../observe/run-metrics.js";
import { createWorkerMetrics } from "../observe/worker-metrics.js";
import type { RunProgress } from "../reindex/coordinate.js";
import { estimateRun, type InheritedShape, type RunEstimate } from "../reindex/estimate-run.js";
import type { ReindexRequest } from "../reindex/plan-run.js";
import { parseRemote } from "../reindex/remote-source.js";
import { reindex, type ReindexOptions, type RunSummary } from "../reindex/reindex.js";
import { rollBack, type RollbackSummary } from "../reindex/rollback.js";
import { openRunStore } from "../reindex/run-store.js";
import { backlogOf, numbersOf } from "../reindex/run-numbers.js";
import { verificationLines } from "../reindex/verification-lines.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { documentSettings, withDocumentOptions, type DocumentFlags } from "./document-options.js";
import { failureLines, truncatedLines } from "./failure-lines.js";
import { commandWith, sameCommand, untilInterrupted } from "./interrupt.js";
import { EXIT, printJson, printLine } from "./outcome.js";
import { askedGate, judgeBy, openGate } from "./reindex-gate.js";
import { startReindexProgress, type ReindexProgress } from "./reindex-progress.js";
import { duration } from "./status-view.js";
import { openShownEncoder, showHealth } from "./working-encoder.js";

interface ReindexFlags extends DocumentFlags {
  readonly from?: string[];
  readonly to?: string;
  readonly target?: string;
  readonly resume?: string;
  readonly new?: true;
  readonly shards?: string;
  readonly sliceDocuments?: string;
  readonly maxDeadLetters?: string;
  readonly rate?: string;
  readonly workers: boolean;
  readonly swap: boolean;
  readonly verify: boolean;
  readonly verifyVectors?: true;
  /** False: of `--no-judgements`. */
  readonly judgements?: string | false;
  readonly require?: string;
  /** Of `--no-worse-than`, which the parser takes for the negation of another: true where it is not given. */
  readonly worseThan?: string | true;
  readonly maxLag: string;
  readonly follow?: true;
  readonly dryRun?: true;
  readonly estimateWorkers: string;
  readonly costPerHour?: string;
  readonly rollback?: string;
  readonly json?: true;
  readonly quiet?: true;
}

/** Documents a dry run reads and encodes. */
const SAMPLE = 200;

/** Builds the command. */
export function reindexCommand(): Command {
  const command = configuredCommand("reindex")
    .description("Encode an index or files into a new index and move an alias to it.")
    .option(
      "--from <source...>",
      "an index, files of NDJSON or elasticdump (packed or not) and BEIR folders, or URL/INDEX of another cluster",
    )
    .option("--to <alias>", "the alias that will lead to the new index")
    .option("--target <index>", "name of the new index (ALIAS-v1, -v2, …)")
    .option("--shards <n>", "primary shards of the new index (as many as the source has)")
    .option("--resume <run>", "go on with this run")
    .option("--new", "begin a new run although an unfinished one is there");
  return withDocumentOptions(command)
    .option("--slice-documents <n>", "documents in one slice (25000)")
    .option("--rate <n>", "documents per second of all workers together; csplade steer changes it")
    .option("--no-workers", "only coordinate: leave the work to csplade worker processes")
    .option("--no-swap", "leave the alias where it is")
    .option("--no-verify", "move the alias without checking the new index")
    .option("--verify-vectors", "with --no-workers: load the model to encode a sample again")
    .option("--max-dead-letters <share>", "of the source; above it the alias stays (0.01)")
    .option(
      "--judgements <folder>",
      "queries.jsonl and qrels/test.tsv: the alias stays where the new index answers them too badly",
    )
    .option("--no-judgements", "with --resume: forget what the run was to be judged by")
    .option("--require <list>", "with --judgements: METRIC>=VALUE,… such as ndcg@10>=0.40")
    .option(
      "--no-worse-than <file>",
      "with --judgements: a saved evaluation or run file (BM25 on the new index, without --require too)",
    )
    .option("--max-lag <seconds>", "catch up until a pass takes less than this", "10")
    .option("--follow", "after the swap, go on copying what changes until stopped")
    .option("--dry-run", "print the plan with estimates from a measured sample; write nothing")
    .option("--estimate-workers <n>", "workers the estimate is for", "1")
    .option("--cost-per-hour <price>", "price of a worker's hour, for the estimate")
    .option("--rollback <alias>", "move the alias back to where it led before the last run")
    .option("--quiet", "no progress")
    .option("--json", "print the run's end as one JSON object")
    .addHelpText(
      "after",
      `
Giving the same command again goes on where the run stopped. Documents that cannot be taken never
stop the others: they are in the index csplade-dead-letters with their reasons, and the exit code is 3,
or 5 if they are more than --max-dead-letters: then the alias stays. So it does, also with 5, where
the new index does not meet --require or --no-worse-than (p < 0.05, paired randomization test);
a run keeps what it is judged by, also when it is resumed.

Examples:
  csplade reindex --from products --to products-search --text-fields name,description
  csplade reindex --from /data/dump-*.ndjson.gz --to wiki --no-workers
  csplade reindex --from https://old.example:9200/products --to products   # CSPLADE_SOURCE_USERNAME, …
  csplade reindex --resume wiki-20260101t1200-1a2b3c
  csplade reindex --from products --to products-search --dry-run --estimate-workers 16
  csplade reindex --rollback products-search`,
    )
    .action(async (_flags: ReindexFlags, command: Command) => {
      const flags: ReindexFlags = command.opts();
      const { values } = configOf(command.opts(), {
        ...documentSettings(flags),
        "reindex.slice_documents": flags.sliceDocuments,
        "reindex.max_dead_letters": flags.maxDeadLetters,
        "source.url": parseRemote(flags.from?.[0] ?? "")?.cluster,
      });
      if (flags.rollback !== undefined) {
        const done = await untilInterrupted((signal) => goBack(values, flags, signal));
        if (flags.json) printJson(done);
        else printLine(`The alias ${done.alias} leads to ${done.to.join(", ")} again.`);
        return;
      }
      if (flags.dryRun) {
        const estimate = await untilInterrupted((signal) => dryRun(values, flags, signal));
        if (flags.json) printJson(estimate);
        else for (const line of estimateLines(estimate)) printLine(line);
        return;
      }
      const shown: Shown = {};
      const summary = await untilInterrupted((signal) => run(values, flags, signal, shown), {
        done: () => stoppedLines(shown),
        goOn: () =>
          shown.run === undefined
            ? sameCommand()
            : commandWith(command, resumed(shown.run.run), PLANNED),
      });
      if (flags.json) printJson(summary);
      else printSummary(summary);
      if (summary.dead_letters > 0) process.exitCode = EXIT.incomplete;
    });
}

/** Options that a run's record keeps; with `--resume` they are not given again. */
const PLANNED: ReadonlySet<string> = new Set([
  "from",
  "to",
  "target",
  "shards",
  "resume",
  "new",
  "idField",
  "textFields",
  "htmlFields",
  "titleField",
  "passages",
  "expansion",
  "dense",
  "sliceDocuments",
  "rate",
  "judgements",
  "require",
  "worseThan",
]);

/** The options that go on with a run; of one that reads from another cluster that has to be told again. */
function resumed({ run, source, from }: RunProgress["run"]): string[] {
  const isRemote = source.type === "index" && source.cluster !== undefined;
  return ["--resume", run, ...(isRemote ? ["--from", ...from] : [])];
}

/** What a reindexing shows while it runs. */
interface Shown {
  progress?: ReindexProgress;
  run?: RunProgress;
}

/** What was done when the command was stopped. */
function stoppedLines({ progress, run }: Shown): string[] {
  progress?.stop();
  if (run === undefined) return ["nothing was written yet."];
  const { counts, planned, slices } = run.totals;
  return [
    `${run.run.run}: ${counts.read} of ${Math.round(planned)} documents read, ${counts.written} written, ` +
      `${counts.unchanged} unchanged, ${counts.dead_letters} dead letters so far; ${slices.done} slices done.`,
  ];
}

async function run(
  config: Config,
  flags: ReindexFlags,
  signal: AbortSignal,
  shown: Shown,
): Promise<RunSummary> {
  const gate = askedGate(flags);
  // Files that are named here are looked at before anything else is.
  const asked = gate == null ? undefined : await openGate(gate);
  const progress = startReindexProgress(flags.quiet === true);
  shown.progress = progress;
  const metrics = createWorkerMetrics();
  const figures = createRunMetrics(metrics.registry);
  const served = await serveMetrics(config, { registry: metrics.registry });
  const cluster = connectWithSource(config);
  try {
    const onTrouble = (message: string) => progress.note(pc.yellow(message));
    const encoder =
      flags.workers || flags.verifyVectors || asked !== undefined
        ? await openShownEncoder(config, { metrics, onTrouble })
        : await openCoordinatorEncoder(config);
    showHealth(served, encoder, signal);
    try {
      return await reindex({
        config,
        cluster,
        encoder,
        what: whatOf(flags),
        work: flags.workers,
        swap: flags.swap,
        verify: flags.verify,
        ...(gate === undefined ? {} : { gate }),
        openJudge: async (kept) =>
          judgeBy(
            { config, cluster, encoder, signal, onTrouble },
            asked ?? (await openGate(kept)),
            () => openShownEncoder(config, { metrics, onTrouble }),
          ),
        follow: flags.follow === true,
        maxLagSeconds: positive("--max-lag", flags.maxLag),
        metrics,
        onProgress(now) {
          shown.run = now;
          if (!signal.aborted) progress.update(now);
          figures.setRuns([numbersOf(now)]);
          figures.setBacklog(backlogOf([now], 0));
        },
        onStep: (message) => progress.note(message),
        onTrouble,
        signal,
      });
    } finally {
      await encoder.close();
    }
  } finally {
    progress.stop();
    await served?.close();
    await cluster.close();
  }
}

async function goBack(
  config: Config,
  { rollback = "" }: ReindexFlags,
  signal: AbortSignal,
): Promise<RollbackSummary> {
  const cluster = connectWithSource(config);
  try {
    return await rollBack(cluster, openRunStore(cluster, { config, signal }), rollback);
  } finally {
    await cluster.close();
  }
}

async function dryRun(
  config: Config,
  flags: ReindexFlags,
  signal: AbortSignal,
): Promise<RunEstimate> {
  const cluster = connectWithSource(config);
  const encoder = await openEncoder(config);
  try {
    const context = { config, cluster, manifest: encoder.manifest, patience: { config, signal } };
    return await estimateRun(context, encoder, requestOf(flags), {
      workers: positive("--estimate-workers", flags.estimateWorkers),
      ...(flags.costPerHour === undefined
        ? {}
        : { cost_per_hour: positive("--cost-per-hour", flags.costPerHour) }),
      sample: SAMPLE,
    });
  } finally {
    await encoder.close();
    await cluster.close();
  }
}

function whatOf(flags: ReindexFlags): ReindexOptions["what"] {
  if (flags.resume !== undefined) return { resume: flags.resume };
  return { ...requestOf(flags), new: flags.new === true };
}

function requestOf(flags: ReindexFlags): ReindexRequest {
  const { from, to, target, shards } = flags;
  if (from === undefined || to === undefined) {
    throw new CspladeError("usage", "Name what to copy and the alias: --from SOURCE --to ALIAS.", {
      hint: "Or go on with a run: --resume RUN. csplade status lists the runs.",
    });
  }
  return {
    from,
    alias: to,
    ...(target === undefined ? {} : { target }),
    ...(shards === undefined ? {} : { shards: shardCount(shards) }),
    ...(flags.rate === undefined ? {} : { documents_per_second: positive("--rate", flags.rate) }),
  };
}

/** @throws CspladeError `usage`. */
function shardCount(value: string): number {
  const shards = positive("--shards", value);
  if (Number.isInteger(shards)) return shards;
  throw new CspladeError("usage", `--shards must be a whole number, not "${value}".`);
}

/** A number above 0 from an option. @throws CspladeError `usage`. */
function positive(option: string, value: string): number {
  const number = Number(value);
  if (Number.isFinite(number) && number > 0) return number;
  throw new CspladeError("usage", `${option} must be a number above 0, not "${value}".`);
}

function estimateLines(estimate: RunEstimate): string[] {
  const { documents, slices, target, alias, sampled, refused, workers, hours, cost } = estimate;
  return [
    `${pc.bold("Plan")} (nothing was written): ${estimate.from.join(" ")} → ${target} → alias ${alias}`,
    `${documents} documents in ${slices} slices; model ${estimate.model}`,
    ...shapeLines(estimate.shape),
    ...(estimate.reuse === null
      ? []
      : [`Documents whose text is the same take their vector over from ${estimate.reuse}.`]),
    `Measured with ${sampled} documents on this machine: ${estimate.documents_per_second.toFixed(1)} documents/s, ` +
      `${estimate.tokens_per_second.toFixed(0)} tokens/s, ${estimate.tokens_per_document.toFixed(0)} tokens a document`,
    ...(refused > 0
      ? [
          pc.yellow(
            `${refused} of ${sampled} sampled documents cannot be taken (no text, wrong type).`,
          ),
        ]
      : []),
    `${workers} worker${workers === 1 ? "" : "s"} like it: ${duration(hours * 3_600)} if every document is encoded` +
      (cost === null ? "" : `, cost ${cost.toFixed(2)}`),
    `Bulk requests: ${bytesPhrase(documents * estimate.bulk_bytes_per_document)}; ` +
      `Redis: ${bytesPhrase(estimate.redis_bytes)} at most`,
  ];
}

/** What the new index and the alias take over, a line each. */
function shapeLines({ shards, settings, _meta, alias }: InheritedShape): string[] {
  const json = (value: object) =>
    Object.entries(value)
      .map(([name, each]) => `${name}: ${JSON.stringify(each)}`)
      .join(", ");
  return [
    `New index: ${shards === null ? "shards as templates say" : `${shards} shards`}`,
    ...(Object.keys(settings).length === 0 ? [] : [`  settings of the source: ${json(settings)}`]),
    ...(Object.keys(_meta).length === 0 ? [] : [`  _meta of the source: ${json(_meta)}`]),
    alias === null
      ? "The alias is new."
      : `The alias keeps what it has: ${json(alias) || "no filter and no routing"}`,
  ];
}

/** Bytes in words: `1.2 kB`, `3.4 MB`, `5.6 GB`. */
function bytesPhrase(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function printSummary(summary: RunSummary): void {
  const { run, state, alias, target, written, unchanged, encoded, reused, low_quality, deleted } =
    summary;
  printLine(
    `${pc.bold(run)}: ${state}. ${written} written (${encoded} encoded, ${reused} with the vector they had), ` +
      `${unchanged} unchanged, ${deleted} deleted, ` +
      (summary.dead_letters > 0
        ? pc.red(`${summary.dead_letters} dead letters`)
        : "0 dead letters") +
      ` in ${summary.seconds.toFixed(1)} s`,
  );
  if (low_quality > 0) {
    printLine(`${low_quality} of them are of low quality and have no vector (ingest.min_quality).`);
  }
  for (const line of summary.verification === null ? [] : verificationLines(summary.verification)) {
    printLine(line);
  }
  printLine(`The alias ${alias} leads to ${target}.`);
  if (summary.previous.length > 0) {
    printLine(
      pc.dim(
        `${summary.previous.join(", ")} is kept: csplade reindex --rollback ${alias} goes back to it.`,
      ),
    );
  }
  for (const line of truncatedLines(summary)) printLine(line);
  for (const line of failureLines(summary.failures)) printLine(line);
  if (summary.dead_letters > 0) {
    printLine(`The reasons are in the index csplade-dead-letters (run ${run}).`);
  }
}
