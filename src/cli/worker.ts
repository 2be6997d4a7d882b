/** `csplade worker`: takes ingest jobs and slices of reindexings until it is stopped. */
import { once } from "node:events";
import type { Command } from "commander";
import { connectCluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { openEncoder } from "../encoder/encoder.js";
import { createLogger } from "../observe/logger.js";
import { serveMetrics } from "../observe/metrics-server.js";
import { createWorkerMetrics } from "../observe/worker-metrics.js";
import { startChunkWorker } from "../pipeline/chunk-worker.js";
import type { SliceEvent } from "../reindex/slice-task.js";
import { startReindexWorker } from "../reindex/slice-worker.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printNote } from "./outcome.js";

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
  const encoder = await openEncoder(config);
  const cluster = connectCluster(config);
  try {
    const log = createLogger(config);
    const parts = {
      config,
      cluster,
      encoder,
      metrics: createWorkerMetrics(),
      onTrouble: (message: string) => {
        log.warn(message);
      },
      onSlice({ event, seconds, ...rest }: SliceEvent) {
        const level = event === "failed" ? "error" : event === "lost" ? "warn" : "info";
        log[level]({ ...rest, ...(seconds === undefined ? {} : { seconds }) }, `slice ${event}`);
      },
    };
    const { registry } = parts.metrics;
    const served = await serveMetrics(config, { registry });
    const ingest = await startChunkWorker(parts);
    const reindex = await startReindexWorker({
      ...parts,
      isBusyWithIngest: () => ingest.isBusy(),
    });
    served?.setReady(true);
    printNote(`Working with ${encoder.manifest.name}; stop with Ctrl-C or SIGTERM.`);
    if (!signal.aborted) await once(signal, "abort");
    served?.setReady(false);
    printNote("Draining: running jobs are being finished.");
    await Promise.all([ingest.close(DRAIN_MS), reindex.close(DRAIN_MS)]);
    await served?.close();
  } finally {
    await encoder.close();
    await cluster.close();
  }
}
