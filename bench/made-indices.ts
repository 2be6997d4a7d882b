/**
 * Indices that an earlier run made and kept: making a million documents' takes much longer than
 * measuring them. Beside them lies how each was made; an index is taken only if it was made alike.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { Cluster } from "../src/cluster/cluster.js";
import { CspladeError } from "../src/errors/csplade-error.js";
import { indexStats, type IndexStats } from "../src/index/index-stats.js";
import type { MadeIndex } from "./search-indices.js";
import { segmentBytes } from "./segment-files.js";

const recordSchema = z.object({ how: z.unknown(), seconds: z.number() });

/** What is known of an index that is wanted. */
export interface WantedIndex {
  readonly name: string;
  readonly documents: number;
  /** All that decides what is in it. */
  readonly how: unknown;
}

/**
 * The index of that name, made now unless it was made before.
 * @param keep whether an earlier run's index may be taken.
 */
export async function madeOnce(
  cluster: Cluster,
  folder: string,
  wanted: WantedIndex,
  keep: boolean,
  make: () => Promise<MadeIndex>,
): Promise<MadeIndex> {
  const before = keep ? await madeBefore(cluster, folder, wanted) : undefined;
  if (before !== undefined) return before;
  console.error(`making ${wanted.name}`);
  const made = await make();
  await noteMade(folder, wanted, made);
  return made;
}

/** The index of that name, if it is whole and was made alike. */
async function madeBefore(
  cluster: Cluster,
  folder: string,
  { name, documents, how }: WantedIndex,
): Promise<MadeIndex | undefined> {
  const text = await readFile(recordFile(folder, name), "utf8").catch(() => undefined);
  const stats = await statsOf(cluster, name);
  if (text === undefined || stats === undefined) return undefined;
  const record = recordSchema.parse(JSON.parse(text));
  const alike = isDeepStrictEqual(record.how, plain(how));
  if (!alike || stats.documents !== documents || stats.segments !== 1) return undefined;
  return { bytes: await segmentBytes(cluster, name), seconds: record.seconds };
}

/** Notes how an index was made. */
async function noteMade(
  folder: string,
  { name, how }: WantedIndex,
  made: MadeIndex,
): Promise<void> {
  const file = recordFile(folder, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify({ how, seconds: made.seconds })}\n`);
}

async function statsOf(cluster: Cluster, name: string): Promise<IndexStats | undefined> {
  try {
    return await indexStats(cluster, name);
  } catch (thrown) {
    if (thrown instanceof CspladeError && thrown.code === "index_not_found") return undefined;
    throw thrown;
  }
}

function recordFile(folder: string, name: string): string {
  return path.join(folder, "made", `${name}.json`);
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value)) as unknown;
}
