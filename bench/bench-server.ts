/** The servers that a benchmark measures: a running OpenSearch, or servers of its own. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import { loadConfig } from "../src/config/load-config.js";
import type { Config } from "../src/config/settings.js";
import { findFreePort } from "../src/servers/port.js";
import {
  serverStatus,
  startServers,
  stopServers,
  type StartOptions,
} from "../src/servers/servers.js";

/** A connected server. */
export interface BenchServer {
  readonly cluster: Cluster;
  /** Closes the connection, and stops the server if it was started here. */
  readonly close: () => Promise<void>;
}

/** Which server. */
export interface BenchServerOptions {
  /** A running server's URL; without it one is started in `folder`. */
  readonly url: string | undefined;
  readonly folder: string;
  /** Java heap, such as `2g`. */
  readonly heap: string;
}

/** Connects, after starting a server where none is named. */
export async function openBenchServer(
  config: Config,
  { url, folder, heap }: BenchServerOptions,
): Promise<BenchServer> {
  if (url !== undefined) {
    const cluster = connectCluster({ ...config, "opensearch.url": url });
    return { cluster, close: () => cluster.close() };
  }
  const home = path.join(folder, "server");
  // A run that was interrupted leaves its server behind.
  const { opensearch: left } = await serverStatus(home);
  if (left.state !== "stopped") await stopServers(home);
  const { opensearch } = await startServers({
    home,
    cache: config.home,
    opensearchPort: await findFreePort(),
    heap,
    servers: ["opensearch"],
    onProgress: (message) => console.error(message),
  });
  if (opensearch === undefined) throw new Error("OpenSearch did not start.");
  const cluster = connectCluster({ ...config, "opensearch.url": opensearch.url });
  return {
    cluster,
    async close() {
      await cluster.close();
      await stopServers(home);
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
    await stopServers(home, { graceMs: 0 });
    await rm(home, { recursive: true, force: true });
  }
}
