/** The servers that a benchmark measures: a running OpenSearch, or servers of its own. */
import { mkdtemp } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import { loadConfig } from "../src/config/load-config.js";
import type { Config } from "../src/config/settings.js";
import { findFreePort } from "../src/servers/port.js";
import { startServers, stopServers, type StartOptions } from "../src/servers/servers.js";
import { endHome, guardHome } from "../test/support/process-end.js";

/** What a benchmark on a server works with. */
export interface Bench {
  readonly config: Config;
  /** Where what takes long to make is kept for the next run. */
  readonly folder: string;
  readonly cluster: Cluster;
  /** Closes the connection, and stops the server if it was started here. */
  readonly close: () => Promise<void>;
}

/** Flags that decide it. */
export interface BenchServerFlags {
  /** A checkpoint directory; the default checkpoint without it. */
  readonly model?: string | undefined;
  /** A running server's URL; without it one is started in `folder`. */
  readonly opensearch?: string | undefined;
  readonly folder?: string | undefined;
  /** Java heap of a server that is started, such as `2g`. */
  readonly heap: string;
}

/** Connects, after starting a server where none is named. */
export async function openBench(flags: BenchServerFlags): Promise<Bench> {
  const { values: given } = loadConfig({
    flags: { "model.path": flags.model, "opensearch.url": flags.opensearch },
  });
  const folder = flags.folder ?? path.join(given.home, "bench");
  if (flags.opensearch !== undefined) {
    const cluster = connectCluster(given);
    return { config: given, folder, cluster, close: () => cluster.close() };
  }
  const home = path.join(folder, "server");
  // A run that was killed leaves its server behind.
  await stopServers(home);
  guardHome(home, "kept");
  const { opensearch } = await startServers({
    home,
    cache: given.home,
    opensearchPort: await findFreePort(),
    heap: flags.heap,
    servers: ["opensearch"],
    onProgress: (message) => console.error(message),
  });
  if (opensearch === undefined) throw new Error("OpenSearch did not start.");
  const config = { ...given, "opensearch.url": opensearch.url };
  const cluster = connectCluster(config);
  return {
    config,
    folder,
    cluster,
    async close() {
      await cluster.close();
      await endHome(home);
    },
  };
}

/** Where the servers of {@link withBenchServers} answer. */
export interface BenchServers {
  readonly opensearchUrl: string;
  readonly redisUrl: string;
}

/** How they are started. */
export interface BenchServersOptions extends Pick<StartOptions, "healthyWithinMs" | "onProgress"> {
  /** Of the benchmark, for the name of their folder. */
  readonly name: string;
}

/** Works with an OpenSearch of 1 GB of heap and a Redis of its own, which are gone afterwards. */
export async function withBenchServers<T>(
  { name, ...options }: BenchServersOptions,
  work: (servers: BenchServers) => Promise<T>,
): Promise<T> {
  const home = await mkdtemp(path.join(os.tmpdir(), `csplade-${name}-`));
  guardHome(home, "removed");
  try {
    const { opensearch, redis } = await startServers({
      ...options,
      home,
      cache: loadConfig().values.home,
      opensearchPort: await findFreePort(),
      redisPort: await findFreePort(),
      heap: "1g",
    });
    if (opensearch === undefined || redis === undefined) {
      throw new Error("OpenSearch and Redis did not both start.");
    }
    return await work({ opensearchUrl: opensearch.url, redisUrl: redis.url });
  } finally {
    await endHome(home);
  }
}
