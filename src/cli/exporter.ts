/** `csplade exporter`: queue depth and backlog for Prometheus and KEDA, also while there is no worker. */
import { once } from "node:events";
import type { Command } from "commander";
import { collectDefaultMetrics } from "prom-client";
import { connectCluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import { serveMetrics } from "../observe/metrics-server.js";
import { createRunMetrics, type BacklogByModel } from "../observe/run-metrics.js";
import { withDeadline } from "../waiting/deadline.js";
import { openQueueOverview } from "../queue/queue-overview.js";
import { activeRuns, backlogByModel, numbersOf } from "../reindex/run-numbers.js";
import { openRunStore } from "../reindex/run-store.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { untilInterrupted } from "./interrupt.js";
import { printNote } from "./outcome.js";

/** Port without `metrics.port`. */
const PORT = 9464;

/** Two questions within this time get the same answer, milliseconds. */
const FRESH_MS = 2_000;

/** Builds the command. */
export function exporterCommand(): Command {
  return configuredCommand("exporter", ["opensearch.url", "redis.url"])
    .description("Serve queue depth and backlog for Prometheus and KEDA until stopped.")
    .addHelpText(
      "after",
      `
/metrics  Prometheus text        /backlog  JSON for KEDA's metrics-api scaler
/healthz  the process works      /readyz   the cluster and Redis answer

Example:
  CSPLADE_METRICS_HOST=0.0.0.0 csplade exporter`,
    )
    .action(async (_flags: object, command: Command) => {
      const { values } = configOf(command.opts());
      await untilInterrupted((signal) => serve(values, signal));
    });
}

async function serve(config: Config, signal: AbortSignal): Promise<void> {
  const cluster = connectCluster(config);
  const metrics = createRunMetrics();
  collectDefaultMetrics({ register: metrics.registry });
  // An exporter answers at once or not at all: nobody waits minutes for a scrape.
  const impatient = { ...config, "write.max_wait_ms": 0 };
  const store = openRunStore(cluster, { config: impatient, signal });
  const queues = await openQueueOverview(config);
  let known: { readonly at: number; readonly backlog: Promise<BacklogByModel> } | undefined;
  const look = async (): Promise<BacklogByModel> => {
    const [{ reindex: reindexJobs, ingest: ingestJobs }, open] = await withDeadline(
      Promise.all([queues.counts(), queues.openIngestJobs()]),
      5_000,
      "Asking for the queues",
    );
    const states = await activeRuns(store);
    const backlog = backlogByModel(states, open);
    metrics.setQueue("reindex", reindexJobs);
    metrics.setQueue("ingest", ingestJobs);
    metrics.setRuns(states.map(numbersOf));
    metrics.setBacklog(backlog);
    return backlog;
  };
  const ask = (): Promise<BacklogByModel> => {
    if (known === undefined || performance.now() - known.at > FRESH_MS) {
      known = { at: performance.now(), backlog: look() };
    }
    return known.backlog;
  };
  const server = await serveMetrics(
    config,
    {
      registry: metrics.registry,
      refresh: async () => {
        await ask();
      },
      json: { "/backlog": ask },
    },
    config["metrics.port"] ?? PORT,
  );
  try {
    server?.follow(() => ({ state: "ready" }));
    printNote(`Serving metrics at ${server?.url ?? ""}/metrics; stop with Ctrl-C or SIGTERM.`);
    if (!signal.aborted) await once(signal, "abort");
  } finally {
    await server?.close();
    await queues.close();
    await cluster.close();
  }
}
