/** `csplade worker`: takes ingest jobs and slices of reindexings until it is stopped. */
import { once } from "node:events";
import type { Command } from "commander";
import { connectWithSource } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { createLogger } from "../observe/logger.js";
import { serveMetrics } from "../observe/metrics-server.js";
import { createWorkerMetrics } from "../observe/worker-metrics.js";
import { startChunkWorker } from "../pipeline/chunk-worker.js";
import type { SliceEvent } from "../reindex/slice-task.js";
import { startReindexWorker } from "../reindex/slice-worker.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printNote } from "./outcome.js";
import { demandUnbroken, openShownEncoder, showHealth, untilBroken } from "./working-encoder.js";

/** How long running jobs may take to end after SIGTERM, milliseconds (Kubernetes gives 30 s by default). */
const DRAIN_MS = 25_000;

/** Builds the command. */
export function workerCommand(): Command {
  return configuredCommand("worker")
    .description("Take ingest jobs and slices of reindexings until stopped (SIGTERM drains).")
    .addHelpText(
      "after",
      `
Workers must see files being ingested or reindexed under the same paths (a shared volume).
Live ingestion goes before reindexing. Run one worker per device.

Examples:
  csplade worker
  REDIS_URL=redis://queue:6379 OPENSEARCH_URL=https://search:9200 csplade worker`,
    )
    .action(async (_flags: object, command: Command) => {
      const { values } = configOf(command.opts());
      await untilInterrupted((signal) => work(values, signal));
    });
}

async function work(config: Config, signal: AbortSignal): Promise<void> {
  const log = createLogger(config);
  const metrics = createWorkerMetrics();
  // Probes are answered while the model is loaded, which may take minutes.
  const served = await serveMetrics(config, { registry: metrics.registry });
  const onTrouble = (message: string): void => {
    log.warn(message);
  };
  try {
    const encoder = await openShownEncoder(config, {
      metrics,
      onTrouble,
      onTransition: (transition) => {
        log.debug(transition, "encoder thread");
      },
    });
    const cluster = connectWithSource(config);
    try {
      const parts = {
        config,
        cluster,
        encoder,
        metrics,
        onTrouble,
        onSlice({ event, seconds, ...rest }: SliceEvent) {
          const level = event === "failed" ? "error" : event === "lost" ? "warn" : "info";
          log[level]({ ...rest, ...(seconds === undefined ? {} : { seconds }) }, `slice ${event}`);
        },
      };
      const ingest = await startChunkWorker(parts);
      const reindex = await startReindexWorker({
        ...parts,
        isBusyWithIngest: () => ingest.isBusy(),
      });
      showHealth(served, encoder, signal);
      printNote(`Working with ${encoder.manifest.name}; stop with Ctrl-C or SIGTERM.`);
      const over = untilBroken(encoder, signal);
      if (!over.aborted) await once(over, "abort");
      printNote(
        encoder.broken.aborted
          ? "The encoder is broken: running jobs are given back."
          : "Draining: running jobs are being finished.",
      );
      const ends = await Promise.allSettled([ingest.close(DRAIN_MS), reindex.close(DRAIN_MS)]);
      demandUnbroken(encoder);
      for (const end of ends) if (end.status === "rejected") throw end.reason;
    } finally {
      await encoder.close();
      await cluster.close();
    }
  } finally {
    await served?.close();
  }
}
