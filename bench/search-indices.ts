/** The indices that searching is measured on, made as csplade makes them. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";
import { mergeSegments } from "../src/evaluate/index-footprint.js";
import { makeAnnIndex } from "../src/index/ann-index.js";
import type { BulkWriter } from "../src/index/bulk-writer.js";
import { ensureIndex } from "../src/index/csplade-index.js";
import type { IndexModel } from "../src/index/index-meta.js";
import { indexStats } from "../src/index/index-stats.js";
import { toFeatures } from "../src/sparse/features.js";
import { prune, type PruneOptions } from "../src/sparse/prune.js";
import { quantize } from "../src/sparse/quantize.js";
import type { ResampledText } from "./resampled-corpus.js";

/** Documents in one call of the bulk writer. */
const PAGE = 5000;

/** Lucene keeps as many significant bits of a weight. */
const STORED_BITS = 9;

/** How an index is made of the corpus. */
export interface IndexRecipe {
  readonly name: string;
  /** Without vectors it is a BM25 index with otherwise the same settings. */
  readonly vectors: boolean;
  /** Vectors in `_source`, as is the default. */
  readonly store_vectors?: boolean;
  readonly pruning?: PruneOptions;
}

/** What came of it. */
export interface MadeIndex {
  readonly bytes: number;
  readonly seconds: number;
}

/** Makes, fills and merges an index, replacing one of the same name. */
export async function makeIndex(
  cluster: Cluster,
  writer: BulkWriter,
  model: IndexModel,
  recipe: IndexRecipe,
  documents: Iterable<ResampledText>,
): Promise<MadeIndex> {
  const started = performance.now();
  await createIndex(cluster, model, recipe);
  await addDocuments(writer, recipe, documents, 0);
  // Only an index that leaves something out of the source keeps a second copy of it for recovery.
  await settle(cluster, recipe.name, recipe.store_vectors === false ? LEASE_MS : 0);
  const { bytes } = await indexStats(cluster, recipe.name);
  return { bytes, seconds: (performance.now() - started) / 1000 };
}

/** An empty index, replacing one of the same name. */
export async function createIndex(
  cluster: Cluster,
  model: IndexModel,
  { name, store_vectors = true }: IndexRecipe,
): Promise<void> {
  await cluster.send({ method: "DELETE", path: pathOf(name) });
  await ensureIndex(cluster, {
    name,
    model,
    passages: "merged",
    text_fields: ["text"],
    title_field: "title",
    shards: 1,
    replicas: 0,
    store_vectors,
    guard: false,
  });
}

/** Writes documents; their ids count on from `first`. */
export async function addDocuments(
  writer: BulkWriter,
  { name, vectors, pruning }: IndexRecipe,
  documents: Iterable<ResampledText>,
  first: number,
): Promise<void> {
  let page: { id: string; document: object }[] = [];
  let written = first;
  const flush = async () => {
    const operations = page.map((one) => ({ index: name, action: "index" as const, ...one }));
    const failed = (await writer.write(operations)).find(({ status }) => status !== "written");
    if (failed !== undefined) throw new Error(`${name}: ${JSON.stringify(failed)}`);
    written += page.length;
    page = [];
    if (written % (PAGE * 10) === 0) console.error(`${name}: ${written} documents written`);
  };
  for (const { text, vector } of documents) {
    const kept = pruning === undefined ? vector : prune(vector, pruning);
    page.push({
      id: String(written + page.length),
      document: vectors ? { text, csplade: toFeatures(quantize(kept, STORED_BITS)) } : { text },
    });
    if (page.length >= PAGE) await flush();
  }
  if (page.length > 0) await flush();
}

/** The copy for approximate search, made by `csplade ann`'s own code. */
export async function makeApproximateIndex(
  cluster: Cluster,
  writer: BulkWriter,
  from: string,
  into: string,
): Promise<MadeIndex> {
  const started = performance.now();
  await cluster.send({ method: "DELETE", path: pathOf(into) });
  await makeAnnIndex(cluster, writer, { from, into, parameters: { approximate_threshold: 1 } });
  await settle(cluster, into, 0);
  const { bytes } = await indexStats(cluster, into);
  return { bytes, seconds: (performance.now() - started) / 1000 };
}

/** An index that an earlier run made. */
export async function measureMade(cluster: Cluster, index: string): Promise<MadeIndex> {
  return { bytes: (await indexStats(cluster, index)).bytes, seconds: 0 };
}

/**
 * How long after the last write a merge may drop the copy of the source that is kept for
 * recovery: retention leases are renewed twice a minute.
 */
const LEASE_MS = 35_000;

const tasksSchema = z.object({ nodes: z.record(z.string(), z.unknown()) });

/**
 * One segment, all of it on disk.
 * @param leaseMs how long to wait before merging: what a merge may throw away is decided by what
 * was flushed, and by leases.
 */
export async function settle(cluster: Cluster, index: string, leaseMs: number): Promise<void> {
  await indexStats(cluster, index);
  await sleep(leaseMs);
  // A merge of many minutes outlives any request: it is asked for once, and waited for.
  await mergeSegments(cluster, index).catch(() => undefined);
  const deadline = performance.now() + 3_600_000;
  for (;;) {
    const { nodes } = tasksSchema.parse(
      await cluster.demand(
        { method: "GET", path: "/_tasks", query: { actions: "*forcemerge*" } },
        "Asking whether the merge is over",
      ),
    );
    if (Object.keys(nodes).length === 0) break;
    if (performance.now() > deadline) throw new Error(`Merging ${index} took over an hour.`);
    await sleep(2000);
  }
  const { segments } = await indexStats(cluster, index);
  if (segments > 1) throw new Error(`${index} has ${segments} segments after merging.`);
}
