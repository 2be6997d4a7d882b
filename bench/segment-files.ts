/** What the bytes of an index are: its segments' files, by what they hold. */
import { z } from "zod";
import type { Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";

/** What a file of a segment holds, by its extension (Lucene's file formats). */
const PARTS = {
  "stored fields": ["fdt", "fdx", "fdm"],
  "documents and weights": ["doc", "psm"],
  positions: ["pos", "pay"],
  terms: ["tim", "tip", "tmd"],
  "doc values, norms, points": ["dvd", "dvm", "nvd", "nvm", "kdd", "kdi", "kdm"],
} as const;

/** Names of the parts, in the order of tables. */
export const partNames: readonly string[] = [...Object.keys(PARTS), "other"];

const statsSchema = z.object({
  _all: z.object({
    primaries: z.object({
      segments: z.object({
        file_sizes: z.record(z.string(), z.object({ size_in_bytes: z.number() })),
      }),
    }),
  }),
});

/** Bytes of an index's segments by part; what was not flushed is not among them. */
export async function bytesByPart(
  cluster: Cluster,
  index: string,
): Promise<ReadonlyMap<string, number>> {
  const answer = await cluster.demand(
    {
      method: "GET",
      path: pathOf(index, "_stats", "segments"),
      query: { include_segment_file_sizes: true },
    },
    `Measuring the files of ${index}`,
  );
  const { file_sizes } = statsSchema.parse(answer)._all.primaries.segments;
  const bytes = new Map<string, number>(partNames.map((name) => [name, 0]));
  for (const [extension, { size_in_bytes }] of Object.entries(file_sizes)) {
    const part = partOf(extension);
    bytes.set(part, (bytes.get(part) ?? 0) + size_in_bytes);
  }
  return bytes;
}

/** Bytes of an index's segments: files of merged ones that a search may still hold do not count. */
export async function segmentBytes(cluster: Cluster, index: string): Promise<number> {
  const parts = await bytesByPart(cluster, index);
  return [...parts.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function partOf(extension: string): string {
  const found = Object.entries(PARTS).find(([, extensions]) =>
    (extensions as readonly string[]).includes(extension),
  );
  return found?.[0] ?? "other";
}
