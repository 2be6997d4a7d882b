/** The OpenSearch that a benchmark measures: a running one, or one of its own. */
import path from "node:path";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import type { Config } from "../src/config/settings.js";
import { findFreePort } from "../src/servers/port.js";
import { serverStatus, startServers, stopServers } from "../src/servers/servers.js";

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
