/** What the tests of a suite share: settings with a queue of their own, connections and an encoder. */
import { connectCluster, type Cluster } from "../../src/cluster/cluster.js";
import type { Patience } from "../../src/cluster/patience.js";
import type { Config, SettingName } from "../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../src/encoder/encoder.js";
import { createWorkerMetrics } from "../../src/observe/worker-metrics.js";
import { reindex, type ReindexOptions, type RunSummary } from "../../src/reindex/reindex.js";
import { openRunStore, type RunStore } from "../../src/reindex/run-store.js";
import { discardIndices, reindexConfig } from "./reindexing.js";

/** An open suite. */
export interface ReindexSuite {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly store: RunStore;
  /** Nothing aborts it. */
  readonly patience: Patience;
  /** Reindexes with a worker in this process, as `csplade reindex` does. */
  run(what: ReindexOptions["what"], more?: Partial<ReindexOptions>): Promise<RunSummary>;
  /** Deletes the suite's indices and closes what it opened. */
  close(): Promise<void>;
}

/** Opens a suite on the test servers; the names of its indices begin with `prefix`. */
export async function openReindexSuite(
  prefix: string,
  flags: Partial<Record<SettingName, unknown>> = {},
): Promise<ReindexSuite> {
  const config = reindexConfig(flags);
  const cluster = connectCluster(config);
  const encoder = await openEncoder(config);
  const patience = { config, signal: new AbortController().signal };
  return {
    config,
    cluster,
    encoder,
    store: openRunStore(cluster, patience),
    patience,
    run(what, more = {}) {
      const { signal } = new AbortController();
      const metrics = createWorkerMetrics();
      return reindex({ config, cluster, encoder, what, metrics, signal, ...more });
    },
    async close() {
      await discardIndices(cluster, prefix);
      await encoder.close();
      await cluster.close();
    },
  };
}
