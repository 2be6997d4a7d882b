/** CPU time of this process and of OpenSearch: unlike a rate it says much the same on a machine that is not quiet. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Cluster } from "../src/cluster/cluster.js";

/** CPU time, microseconds: per document, or since the start. */
export interface CpuTime {
  readonly process_us: number;
  readonly cluster_us: number;
}

/** OpenSearch looks at its own CPU time once a second, milliseconds. */
const SETTLED_MS = 1_100;

const processSchema = z.object({
  nodes: z.record(
    z.string(),
    z.object({ process: z.object({ cpu: z.object({ total_in_millis: z.number() }) }) }),
  ),
});

async function readCpu(cluster: Cluster): Promise<CpuTime> {
  const { user, system } = process.cpuUsage();
  await sleep(SETTLED_MS);
  const asked = { method: "GET", path: "/_nodes/stats/process" } as const;
  const { nodes } = processSchema.parse(await cluster.demand(asked, "Asking for CPU time"));
  const cluster_ms = Object.values(nodes).map((node) => node.process.cpu.total_in_millis);
  return { process_us: user + system, cluster_us: 1_000 * cluster_ms.reduce((a, b) => a + b, 0) };
}

/** Begins to count. @returns its end, which is told the number of documents that were written. */
export async function countCpu(cluster: Cluster): Promise<(documents: number) => Promise<CpuTime>> {
  const before = await readCpu(cluster);
  return async (documents) => {
    const after = await readCpu(cluster);
    return {
      process_us: (after.process_us - before.process_us) / documents,
      cluster_us: (after.cluster_us - before.cluster_us) / documents,
    };
  };
}
