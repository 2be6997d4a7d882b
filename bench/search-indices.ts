/** The indices that searching is measured on, made as csplade makes them. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";
import { mergeSegments } from "../src/evaluate/index-footprint.js";
import { makeAnnIndex } from "../src/index/ann-index.js";
import { plainDocument, type BulkOperation } from "../src/cluster/bulk-operation.js";
import type { BulkWriter } from "../src/cluster/bulk-writer.js";
import { JsonObject } from "../src/json/json-object.js";
import { contentHash, textHash } from "../src/index/content-hash.js";
import { ensureIndex } from "../src/index/csplade-index.js";
import { documentSteps } from "../src/index/index-document.js";
import { VECTOR_FIELD, type IndexModel, type IndexPlan } from "../src/index/index-meta.js";
import { indexStats } from "../src/index/index-stats.js";
import { NOTHING_STORED } from "../src/index/stored-state.js";
import { toFeatures } from "../src/sparse/features.js";
import type { PruneOptions } from "../src/sparse/prune.js";
import { quantize } from "../src/sparse/quantize.js";
import type { SparseVector } from "../src/sparse/sparse-vector.js";
import { segmentBytes } from "./segment-files.js";

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
  /** Significant bits of a weight; 9, as is the default, without it. */
  readonly quantize_bits?: number;
  /** Weights in as many digits as their float32 has. */
  readonly all_digits?: boolean;
  /** `index.codec`: how stored fields are compressed. */
  readonly codec?: string;
}

/** What is indexed of a document. */
export interface IndexedText {
  /** Its place in the corpus without it. */
  readonly id?: string;
  /** Its fields; the text alone without them. */
  readonly body?: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly vector: SparseVector;
}

/** How the indices keep documents: as csplade's own do. */
const PLAN = { passages: "merged", text_fields: ["text"], title_field: "title" } as const;

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
  documents: Iterable<IndexedText>,
  count: number,
): Promise<MadeIndex> {
  const started = performance.now();
  await createIndex(cluster, model, recipe);
  await addDocuments(writer, model, recipe, documents, { first: 0, count });
  // Only an index that leaves something out of the source keeps a second copy of it for recovery.
  await settle(cluster, recipe.name, recipe.store_vectors === false ? LEASE_MS : 0);
  const bytes = await segmentBytes(cluster, recipe.name);
  return { bytes, seconds: (performance.now() - started) / 1000 };
}

/** An empty index, replacing one of the same name. */
export async function createIndex(
  cluster: Cluster,
  model: IndexModel,
  { name, store_vectors = true, codec }: IndexRecipe,
): Promise<void> {
  await cluster.send({ method: "DELETE", path: pathOf(name) });
  await ensureIndex(cluster, {
    name,
    model,
    ...PLAN,
    shards: 1,
    replicas: 0,
    store_vectors,
    guarded: false,
  });
  if (codec !== undefined) await setCodec(cluster, name, codec);
}

/** Only a closed index takes another codec. */
async function setCodec(cluster: Cluster, name: string, codec: string): Promise<void> {
  const doing = `Giving ${name} the codec ${codec}`;
  await cluster.demand({ method: "POST", path: pathOf(name, "_close") }, doing);
  await cluster.demand(
    { method: "PUT", path: pathOf(name, "_settings"), body: { index: { codec } } },
    doing,
  );
  await cluster.demand({ method: "POST", path: pathOf(name, "_open") }, doing);
}

/** Which documents of how many are written. */
export interface WrittenDocuments {
  /** Ids that documents do not have count on from here. */
  readonly first: number;
  /** How many there will be, these and those before, for the progress that is told. */
  readonly count: number;
}

/** Writes documents as csplade writes them. */
export async function addDocuments(
  writer: BulkWriter,
  model: IndexModel,
  recipe: IndexRecipe,
  documents: Iterable<IndexedText>,
  { first, count }: WrittenDocuments,
): Promise<void> {
  const { name } = recipe;
  const started = performance.now();
  let page: BulkOperation[] = [];
  let written = first;
  const flush = async () => {
    const failed = (await writer.write(page)).find(({ status }) => status !== "written");
    if (failed !== undefined) throw new Error(`${name}: ${JSON.stringify(failed)}`);
    written += page.length;
    page = [];
    if (written % (PAGE * 10) !== 0) return;
    const rate = (written - first) / ((performance.now() - started) / 1000);
    console.error(
      `${name}: ${written} of ${count} documents written, ${rate.toFixed(0)}/s, ${((count - written) / rate).toFixed(0)} s to go`,
    );
  };
  for (const document of documents) {
    const id = document.id ?? String(written + page.length);
    page.push(operationOf(model, recipe, { ...document, id }));
    if (page.length >= PAGE) await flush();
  }
  if (page.length > 0) await flush();
}

function operationOf(
  model: IndexModel,
  recipe: IndexRecipe,
  { id, text, vector, body = { text } }: IndexedText & { readonly id: string },
): BulkOperation {
  const source = JsonObject.of(body);
  const { name, vectors, quantize_bits = STORED_BITS, pruning = UNPRUNED } = recipe;
  if (!vectors) return { index: name, id, action: "index", document: body };
  const plan: IndexPlan = { model, ...PLAN };
  const shape = { ...pruning, quantize_bits };
  const choices = { ...shape, max_passages: 200 };
  const [step] = documentSteps(
    { ...plan, name, indices: [name], created: true },
    { id, text, body: source },
    [{ start: 0, end: text.length, vector }],
    {
      shape,
      hash: contentHash(source, plan, choices),
      text_hash: textHash(text, plan, choices),
      stored: NOTHING_STORED,
    },
  );
  const operation = step?.[0] as BulkOperation;
  if (recipe.all_digits !== true) return operation;
  const spelled = { [VECTOR_FIELD]: toFeatures(quantize(vector, quantize_bits)) };
  return { ...operation, document: { ...plainDocument(operation.document ?? {}), ...spelled } };
}

const UNPRUNED: PruneOptions = { prune_type: "none", prune_ratio: 0 };

/** The copy for approximate search, made by `csplade ann`'s own code. */
export async function makeApproximateIndex(
  cluster: Cluster,
  writer: BulkWriter,
  from: string,
  into: string,
  count: number,
): Promise<MadeIndex> {
  const started = performance.now();
  await cluster.send({ method: "DELETE", path: pathOf(into) });
  await makeAnnIndex(cluster, writer, {
    from,
    into,
    // Only the segment that all are merged into is clustered, and once.
    parameters: { approximate_threshold: count },
    onProgress: (written) => {
      if (written % (PAGE * 10) === 0) console.error(`${into}: ${written} of ${count} copied`);
    },
  });
  await settle(cluster, into, 0);
  const bytes = await segmentBytes(cluster, into);
  return { bytes, seconds: (performance.now() - started) / 1000 };
}

/**
 * How long after the last write a merge may drop the copy of the source that is kept for
 * recovery: retention leases are renewed twice a minute.
 */
export const LEASE_MS = 35_000;

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
