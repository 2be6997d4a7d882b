/** Which documents of a source its copy lacks, by counting and by looking at some. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import { refreshIndex } from "../index/csplade-index.js";
import { passageId } from "../index/stored-state.js";
import { settledUpTo } from "../sources/index-source.js";
import { readDeadLetters } from "./dead-letters.js";
import type { RunRecord } from "./run-record.js";

/** What counting needs. */
export interface CountContext {
  readonly cluster: Cluster;
  readonly patience: Patience;
}

/** What counting gave. */
export interface CountedDocuments {
  /** Documents of the source; null for files, of which nobody knows before reading them. */
  readonly source: number | null;
  readonly target: number;
  /** Dead letters that still stand for a document of the source. */
  readonly dead_letters: number;
  /** Operations on the source since it was copied: each may have added or deleted a document. */
  readonly changed: number;
  /** More documents in the target than the source and the dead letters account for. */
  readonly extra: number;
  /** Fewer, beyond what changed in the source since it was copied. */
  readonly missing: number;
}

/** Compares the numbers of documents. */
export async function countDocuments(
  { cluster, patience }: CountContext,
  run: RunRecord,
): Promise<CountedDocuments> {
  const { source } = run;
  const ask = <T>(request: () => Promise<T>) => patiently(patience, request);
  if (source.type === "files") {
    const target = await ask(() => count(cluster, run.target, run.passages));
    const letters = await ask(() => readDeadLetters(cluster, run.run));
    return { source: null, target, dead_letters: letters.length, changed: 0, extra: 0, missing: 0 };
  }
  const upTo = await ask(() => settledUpTo(cluster, source, patience.signal));
  const copied = run.passes.findLast(({ task }) => task === "copy")?.up_to ?? [];
  const changed = upTo.reduce((sum, last, shard) => sum + last - (copied[shard] ?? -1), 0);
  const there = await ask(() => count(cluster, source.index, "merged"));
  const here = await ask(() => count(cluster, run.target, run.passages));
  const dead = await ask(() => liveDeadLetters(cluster, source.index, run));
  return {
    source: there,
    target: here,
    dead_letters: dead,
    changed,
    extra: Math.max(0, here + dead - there),
    missing: Math.max(0, there - here - dead - changed),
  };
}

async function count(
  cluster: Cluster,
  index: string,
  passages: RunRecord["passages"],
): Promise<number> {
  await refreshIndex(cluster, index);
  const first = { query: { term: { csplade_passage: 0 } } };
  const body = await cluster.demand(
    {
      method: "POST",
      path: pathOf(index, "_count"),
      // In `documents` mode the first passage stands for its document.
      ...(passages === "documents" ? { body: first } : {}),
    },
    `Counting the documents of ${index}`,
  );
  return z.object({ count: z.number().int() }).parse(body).count;
}

/** Dead letters whose document is still in the source and has not been taken since. */
async function liveDeadLetters(cluster: Cluster, source: string, run: RunRecord): Promise<number> {
  const letters = await readDeadLetters(cluster, run.run);
  let live = 0;
  for (let from = 0; from < letters.length; from += 1_000) {
    const some = letters.slice(from, from + 1_000);
    const there = await exist(cluster, source, some);
    const here = await exist(
      cluster,
      run.target,
      some.map((key) => ({ ...key, id: targetId(run, key.id) })),
    );
    live += some.filter((_, i) => there[i] === true && here[i] === false).length;
  }
  return live;
}

/** Id of the document that stands for a source's document in the target. */
export function targetId(run: Pick<RunRecord, "passages">, id: string): string {
  return run.passages === "documents" ? passageId(id, 0) : id;
}

const mgetSchema = z.object({
  docs: z.array(z.object({ found: z.boolean().optional(), _version: z.number().optional() })),
});

async function exist(
  cluster: Cluster,
  index: string,
  keys: readonly { readonly id: string; readonly routing?: string }[],
): Promise<boolean[]> {
  return (await readVersions(cluster, index, keys)).map((version) => version !== undefined);
}

/** The versions of some documents; undefined for one that is not there. */
async function readVersions(
  cluster: Cluster,
  index: string,
  keys: readonly { readonly id: string; readonly routing?: string }[],
): Promise<(number | undefined)[]> {
  if (keys.length === 0) return [];
  const docs = keys.map(({ id, routing }) => ({
    _id: id,
    _source: false,
    ...(routing === undefined ? {} : { routing }),
  }));
  const body = await cluster.demand(
    { method: "POST", path: pathOf(index, "_mget"), body: { docs } },
    `Looking for documents in ${index}`,
  );
  return mgetSchema.parse(body).docs.map(({ found, _version }) => (found ? _version : undefined));
}
