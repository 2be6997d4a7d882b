/** How large an index is. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { refreshIndex } from "./csplade-index.js";

/** Size of an index, or of all indices behind an alias. */
export interface IndexStats {
  /** Documents as the user counts them; in `documents` mode, passages. */
  readonly documents: number;
  /** Bytes on disk of the primary shards. */
  readonly bytes: number;
  /** Lucene segments of the primary shards. */
  readonly segments: number;
}

const countSchema = z.object({ count: z.number().int().min(0) });
const statsSchema = z.object({
  _all: z.object({
    primaries: z.object({
      store: z.object({ size_in_bytes: z.number() }),
      segments: z.object({ count: z.number() }),
    }),
  }),
});

/**
 * Measures an index after making everything written so far durable and visible.
 * @throws CspladeError `index_not_found`, `cluster_rejected`, `cluster_unreachable`.
 */
export async function indexStats(cluster: Cluster, name: string): Promise<IndexStats> {
  const doing = `Measuring the index ${name}`;
  await refreshIndex(cluster, name);
  await cluster.demand({ method: "POST", path: pathOf(name, "_flush") }, doing);
  const count = await cluster.demand({ method: "GET", path: pathOf(name, "_count") }, doing);
  const stats = await cluster.demand(
    { method: "GET", path: pathOf(name, "_stats", "store,segments") },
    doing,
  );
  const { store, segments } = statsSchema.parse(stats)._all.primaries;
  return {
    documents: countSchema.parse(count).count,
    bytes: store.size_in_bytes,
    segments: segments.count,
  };
}
