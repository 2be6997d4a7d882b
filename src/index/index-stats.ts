/** How large an index is. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { refreshIndex } from "./csplade-index.js";

/** Size of an index, or of all indices behind an alias. */
export interface IndexStats {
  /** Documents as the user counts them; in `documents` mode, passages. */
  readonly documents: number;
  /** Bytes on disk of the primary shards' segments. */
  readonly bytes: number;
  /** Lucene segments of the primary shards. */
  readonly segments: number;
}

const countSchema = z.object({ count: z.number().int().min(0) });
const segmentsSchema = z.object({
  indices: z.record(
    z.string(),
    z.object({
      shards: z.record(
        z.string(),
        z.array(
          z.object({
            routing: z.object({ primary: z.boolean() }),
            segments: z.record(z.string(), z.object({ size_in_bytes: z.number() })).optional(),
          }),
        ),
      ),
    }),
  ),
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
  // Sizes in _stats are up to ten seconds old (index.store.stats_refresh_interval); these are not.
  const filter_path = ["routing.primary", "segments.*.size_in_bytes"]
    .map((field) => `indices.*.shards.*.${field}`)
    .join(",");
  const answer = await cluster.demand(
    { method: "GET", path: pathOf(name, "_segments"), query: { filter_path } },
    doing,
  );
  const sizes = Object.values(segmentsSchema.parse(answer).indices)
    .flatMap((index) => Object.values(index.shards).flat())
    .filter((shard) => shard.routing.primary)
    .flatMap((shard) => Object.values(shard.segments ?? {}))
    .map((segment) => segment.size_in_bytes);
  return {
    documents: countSchema.parse(count).count,
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    segments: sizes.length,
  };
}
