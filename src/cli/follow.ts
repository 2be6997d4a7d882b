/** `csplade follow`: gives the documents of an index their vectors in place, as they are written. */
import type { Command } from "commander";
import pc from "picocolors";
import { connectCluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { serveMetrics } from "../observe/metrics-server.js";
import { createWorkerMetrics } from "../observe/worker-metrics.js";
import { followIndex, type FollowCounts } from "../pipeline/followed-documents.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { documentSettings, withTextOptions, type DocumentFlags } from "./document-options.js";
import { failureLines } from "./failure-lines.js";
import { sameCommand, untilInterrupted } from "./interrupt.js";
import { EXIT, printJson, printLine, printNote } from "./outcome.js";
import { openShownEncoder, showHealth } from "./working-encoder.js";

interface FollowFlags extends DocumentFlags {
  readonly once?: true;
  readonly json?: true;
}

/** How often progress is told, milliseconds. */
const TELL_MS = 10_000;

/** Builds the command. */
export function followCommand(): Command {
  const command = configuredCommand("follow", ["opensearch.url", "model.path"])
    .description(
      "Give the documents of an index their vectors in place, as applications write them.",
    )
    .argument("<index>", "the index that is written and searched, or its alias");
  return withTextOptions(command)
    .option("--once", "end when every document has its vector")
    .option("--json", "print the counts at the end as one JSON object")
    .addHelpText(
      "after",
      `
Sequence numbers say what was written; a document whose text is not the one of its vector is encoded.
Documents without text get csplade_refused instead. Applications that write with versions of their own
(version_type external) and large indices are better served by an index of vectors beside theirs: csplade reindex --follow.

Examples:
  csplade follow products --text-fields name,description
  csplade follow products --once`,
    )
    .action(async (index: string, _flags: FollowFlags, command: Command) => {
      const flags: FollowFlags = command.opts();
      const { values } = configOf(command.opts(), documentSettings(flags));
      const shown: { counts?: FollowCounts } = {};
      const counts = await untilInterrupted(
        (signal) => follow(values, index, flags, signal, shown),
        {
          done: () => (shown.counts === undefined ? [] : summaryLines(shown.counts)),
          goOn: sameCommand,
        },
      );
      if (flags.json) printJson(counts);
      else for (const line of summaryLines(counts)) printLine(line);
      if (counts.refused > 0) process.exitCode = EXIT.incomplete;
    });
}

async function follow(
  config: Config,
  index: string,
  flags: FollowFlags,
  signal: AbortSignal,
  shown: { counts?: FollowCounts },
): Promise<FollowCounts> {
  const metrics = createWorkerMetrics();
  const served = await serveMetrics(config, { registry: metrics.registry });
  const cluster = connectCluster(config);
  try {
    const onTrouble = (message: string): void => printNote(pc.yellow(message));
    const encoder = await openShownEncoder(config, { metrics, onTrouble });
    showHealth(served, encoder, signal);
    try {
      let told = performance.now();
      return await followIndex({
        config,
        cluster,
        encoder,
        index,
        once: flags.once === true,
        metrics,
        onProgress(counts) {
          shown.counts = counts;
          if (performance.now() - told < TELL_MS) return;
          told = performance.now();
          printNote(phrase(counts));
        },
        onTrouble,
        signal,
      });
    } finally {
      await encoder.close();
    }
  } finally {
    await served?.close();
    await cluster.close();
  }
}

function summaryLines(counts: FollowCounts): string[] {
  return [phrase(counts), ...failureLines(counts.failures)];
}

function phrase({ index, encoded, overtaken, refused }: FollowCounts): string {
  return (
    `${pc.bold(index)}: ${encoded} encoded, ${overtaken} changed meanwhile, ` +
    (refused > 0 ? pc.red(`${refused} refused`) : "0 refused")
  );
}
