/** How many primary shards an index has. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";

const settingsSchema = z.record(
  z.string(),
  z.object({ settings: z.object({ "index.number_of_shards": z.coerce.number().int() }) }),
);

/** How many primary shards an index has. @throws CspladeError `index_not_found`. */
export async function shardsOf(cluster: Cluster, index: string): Promise<number> {
  const body = await cluster.demand(
    { method: "GET", path: pathOf(index, "_settings"), query: { flat_settings: true } },
    `Looking at ${index}`,
  );
  return settingsSchema.parse(body)[index]?.settings["index.number_of_shards"] ?? 1;
}
