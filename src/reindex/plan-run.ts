/** Plans a run: what is copied from where to where, and in which slices. */
import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import { isSourceIndex, ownIndexName, sourceIndex } from "../cluster/joined-cluster.js";
import { demandVectorsTold } from "../cluster/whole-source.js";
import {
  demandHtmlTexts,
  vectorRecord,
  htmlRecord,
  identityOf,
} from "../config/document-identity.js";
import type { Config } from "../config/settings.js";
import type { Manifest } from "../encoder/manifest.js";
import { CspladeError } from "../errors/csplade-error.js";
import { lookUpName, readOwnAlias, type AliasMember } from "../cluster/alias.js";
import { readIndexModel } from "../index/csplade-index.js";
import { vectorShape } from "../index/index-document.js";
import type { InheritedMapping } from "../index/index-template.js";
import { demandOwnTexts, demandWholeSource } from "../index/whole-source.js";
import { indexModelOf } from "../documents/index-model.js";
import { meaningOf } from "../index/inherited-settings.js";
import { demandSourceCluster, parseRemote, type RemoteIndex } from "./remote-source.js";
import { findFiles, meanLineBytes } from "./file-slices.js";
import {
  cutShard,
  deletesSeen,
  findIndexSource,
  settledUpTo,
  type IndexSource,
} from "../sources/index-source.js";
import {
  noCounts,
  type RunGate,
  type RunPass,
  type RunRecord,
  type SliceRecord,
} from "./run-record.js";

/** What is asked for. */
export interface ReindexRequest {
  /** One index or alias, or files and BEIR folders. */
  readonly from: readonly string[];
  readonly alias: string;
  /** Name of the new index; made from the alias without it. */
  readonly target?: string;
  /** Primary shards of the new index; without it as many as the source's. */
  readonly shards?: number;
  /** Documents per second of all workers together, from the start; as fast as they can without it. */
  readonly documents_per_second?: number;
  /** What the new index has to show before the alias moves. */
  readonly gate?: RunGate;
}

/** A run that is planned and not recorded yet. */
export interface RunPlan {
  readonly run: RunRecord;
  readonly slices: readonly SliceRecord[];
  /** Mapping and settings the new index takes over. */
  readonly inherit?: InheritedMapping;
  /** How the alias leads to the index it has now. */
  readonly alias_now?: AliasMember;
}

/** What planning needs. */
export interface PlanContext {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly manifest: Manifest;
  readonly patience: Patience;
}

/** How much packing is taken to shrink a text. */
const GUESSED_RATIO = 3;

/**
 * Plans a run; nothing is written.
 * @throws CspladeError `index_not_found`, `source_unreadable`, `index_invalid` (also for an alias of
 *   several indices, or one that shows a part of its index, and for an index whose `_source` is not
 *   what was written to it), `config_invalid` (HTML in fields that are no text fields), `usage` (text fields that the source does
 *   not have, another number of shards for documents with a routing of their own).
 */
export async function planRun(context: PlanContext, request: ReindexRequest): Promise<RunPlan> {
  const { config, cluster, manifest, patience } = context;
  const { text_fields, html_fields, expansion, dense } = identityOf(config);
  demandHtmlTexts({ text_fields, html_fields });
  const aliasNow = await readOwnAlias(cluster, request.alias);
  const previous = aliasNow?.index;
  const found = await findSource(context, request.from);
  const shards = request.shards ?? found.index?.shards;
  await demandOneOfEachId(context, found.index, shards);
  const run = `${request.alias.slice(0, 60)}-${timeStamp()}-${randomBytes(3).toString("hex")}`;
  const target = request.target ?? (await nextTarget(cluster, request.alias));
  const passages = config["ingest.passages"];
  const model = indexModelOf(manifest);
  const reuse = await reusable(context, previous);
  const as_of = new Date().toISOString();
  const record: RunRecord = {
    kind: "run",
    format: 1,
    run,
    state: "copying",
    source: found.source,
    from: [...request.from],
    alias: request.alias,
    target,
    model,
    id_field: config["ingest.id_field"],
    text_fields: [...text_fields],
    ...htmlRecord({ html_fields }),
    title_field: config["ingest.title_field"],
    passages,
    ...vectorRecord({ expansion, dense }),
    encoding: {
      ...vectorShape(config),
      max_passages: config["ingest.max_passages"],
      min_quality: config["ingest.min_quality"],
    },
    ...(reuse === undefined ? {} : { reuse }),
    ...(shards === undefined ? {} : { target_shards: shards }),
    ...(found.index === undefined
      ? {}
      : { deletes_seen: await deletesSeen(cluster, found.index.index, patience.signal) }),
    slice_documents: config["reindex.slice_documents"],
    stamped: true,
    control: {
      paused: false,
      documents_per_second: request.documents_per_second ?? null,
      concurrency: null,
    },
    ...(request.gate === undefined ? {} : { gate: request.gate }),
    passes: [],
    tokens_per_document: 0,
    created_at: as_of,
  };
  const up_to =
    record.source.type === "index"
      ? await patiently(patience, () => settledUpTo(cluster, found.index as IndexSource))
      : [];
  const slices =
    record.source.type === "index"
      ? await cutIndex(context, record, { number: 0, first: 0, after: up_to.map(() => -1), up_to })
      : await cutFiles(record);
  const pass = passOf(0, "copy", slices, up_to, as_of);
  return {
    run: { ...record, passes: [pass] },
    slices,
    ...(found.index === undefined
      ? {}
      : { inherit: await withRoutingShards(cluster, found.index, shards) }),
    ...(aliasNow === undefined ? {} : { alias_now: aliasNow }),
  };
}

const routingSchema = z.object({
  metadata: z.object({
    indices: z.record(z.string(), z.object({ routing_num_shards: z.number().int() })),
  }),
});

/**
 * An index that was split or shrunk spreads documents otherwise than a new one of as many shards. With
 * the same number of routing shards each shard of the source is one shard of the copy. Another number of
 * shards need be no factor of it, and documents are spread anew.
 */
async function withRoutingShards(
  cluster: Cluster,
  index: IndexSource,
  shards: number | undefined,
): Promise<InheritedMapping> {
  const { mappings, settings } = index;
  if (shards !== index.shards) {
    const others = Object.entries(settings).filter(([name]) => name !== "number_of_routing_shards");
    return { mappings, settings: Object.fromEntries(others) };
  }
  const answer = await cluster.send({
    method: "GET",
    path: pathOf("_cluster", "state", "metadata", index.index),
    query: { filter_path: "metadata.indices.*.routing_num_shards" },
  });
  const state = answer.status < 400 ? routingSchema.safeParse(answer.body).data : undefined;
  const own = ownIndexName(index.index);
  const number_of_routing_shards = state?.metadata.indices[own]?.routing_num_shards;
  if (number_of_routing_shards === undefined) return { mappings, settings };
  return { mappings, settings: { ...settings, number_of_routing_shards } };
}

/**
 * Versions are sequence numbers of a shard. With as many shards each one of the source is one of the
 * target, and only versions of one shard are ever compared. Otherwise they are compared by id, which is
 * in one shard of the source unless documents have a routing of their own.
 * @throws CspladeError `usage`.
 */
export async function demandOneOfEachId(
  { cluster, patience }: Pick<PlanContext, "cluster" | "patience">,
  source: Pick<IndexSource, "index" | "shards"> | undefined,
  shards: number | undefined,
): Promise<void> {
  if (source === undefined || shards === source.shards) return;
  const path = pathOf(source.index, "_count");
  const body = { query: { exists: { field: "_routing" } } };
  const answer = await patiently(patience, () =>
    cluster.demand(
      { method: "POST", path, body },
      `Looking for routed documents in ${source.index}`,
    ),
  );
  const { count } = z.object({ count: z.number() }).parse(answer);
  if (count === 0) return;
  throw new CspladeError(
    "usage",
    `${count} documents of ${source.index} have a routing of their own, so an id may be in several of its ${source.shards} shards; ${shards ?? "another number of"} shards would mix them up.`,
    { hint: `Leave --shards out: the new index then has ${source.shards} shards too.` },
  );
}

/** What a pass is made of. */
export interface PassRange {
  readonly number: number;
  /** Number of its first slice. */
  readonly first: number;
  /** Per shard, the last sequence number that is copied already (−1: none), and the last to copy. */
  readonly after: readonly number[];
  readonly up_to: readonly number[];
}

/** Cuts what changed in an index between two states into slices. */
export async function cutIndex(
  { cluster, patience }: Pick<PlanContext, "cluster" | "patience">,
  run: RunRecord,
  pass: PassRange,
): Promise<SliceRecord[]> {
  const { source } = run;
  if (source.type !== "index") return [];
  const slices: SliceRecord[] = [];
  for (let shard = 0; shard < source.shards; shard++) {
    const from = (pass.after[shard] ?? -1) + 1;
    const to = (pass.up_to[shard] ?? -1) + 1;
    const reader = { index: source.index, shard, primaries: source.primaries };
    const ranges = await patiently(patience, () =>
      cutShard(cluster, reader, { from, to, documents: run.slice_documents }, patience.signal),
    );
    // Everything may have moved on already: then there is nothing in the range and all behind it.
    if (ranges.length === 0 && to > from) ranges.push({ from, to, documents: 0 });
    for (const [i, range] of ranges.entries()) {
      const number = pass.first + slices.length;
      const slice = { number, pass: pass.number, task: "copy", part: shard, ...range } as const;
      slices.push({ ...openSlice(run, slice), open_end: i === ranges.length - 1 });
    }
  }
  return slices;
}

/** A pass of some slices. */
export function passOf(
  number: number,
  task: RunPass["task"],
  slices: readonly SliceRecord[],
  up_to: readonly number[],
  as_of: string,
): RunPass {
  const documents = slices.reduce((sum, slice) => sum + slice.documents, 0);
  return { number, task, up_to: [...up_to], as_of, slices: slices.length, documents };
}

/** A slice that nobody has worked on. */
export function openSlice(
  { run, previous }: Pick<RunRecord, "run" | "previous">,
  slice: Pick<SliceRecord, "number" | "pass" | "task" | "part" | "from" | "to" | "documents">,
): SliceRecord {
  return {
    kind: "slice",
    run,
    ...slice,
    open_end: false,
    after_swap: previous !== undefined,
    state: "open",
    position: slice.from,
    counts: noCounts(),
    truncated_ids: [],
    claims: 0,
    crashes: 0,
    broken_devices: [],
    careful: 0,
  };
}

/** Files are cut by bytes; how many documents that gives is estimated. */
export async function cutFiles(run: RunRecord): Promise<SliceRecord[]> {
  if (run.source.type !== "files") return [];
  const slices: SliceRecord[] = [];
  for (const [part, file] of run.source.files.entries()) {
    const mean = await meanLineBytes(file);
    if (mean === undefined) continue;
    const packed = file.compression !== "none";
    const step = packed ? Number.MAX_SAFE_INTEGER : Math.ceil(run.slice_documents * mean);
    const end = packed ? Number.MAX_SAFE_INTEGER : file.bytes;
    for (let from = 0; from < end; from += step) {
      const to = Math.min(end, from + step);
      const bytes = packed ? file.bytes * GUESSED_RATIO : to - from;
      const documents = Math.max(1, Math.round(bytes / mean));
      const number = slices.length;
      slices.push(openSlice(run, { number, pass: 0, task: "copy", part, from, to, documents }));
    }
  }
  return slices;
}

async function findSource(
  context: PlanContext,
  from: readonly string[],
): Promise<{ source: RunRecord["source"]; index?: IndexSource }> {
  const [only] = from;
  if (only === undefined) throw new CspladeError("usage", "Name a source: --from INDEX or FILES.");
  const remote = parseRemote(only);
  if (remote !== undefined) return { ...(await findRemote(context, remote, from)) };
  const isFile = from.length > 1 || /[/\\]|\.(ndjson|jsonl|json|gz|zst)$/.test(only);
  if (isFile) return { source: { type: "files", files: await findFiles(from) } };
  const index = await patiently(context.patience, () =>
    findIndexSource(context.cluster, only, context.patience.signal),
  ).catch(async (thrown: unknown) => {
    const isThere = (await stat(only).catch(() => undefined)) !== undefined;
    if (!isThere || !(thrown instanceof CspladeError) || thrown.code !== "index_not_found") {
      throw thrown;
    }
    throw new CspladeError("index_not_found", `There is no index or alias ${only}.`, {
      hint: `If the file or folder is meant: --from ./${only}`,
    });
  });
  return await takeIndex(context, index);
}

/** The source that an index is. @throws CspladeError `index_invalid`, `usage`. */
async function takeIndex(
  context: PlanContext,
  index: IndexSource,
): Promise<{ source: RunRecord["source"]; index: IndexSource }> {
  const { cluster, config, patience } = context;
  demandWholeSource(index.index, index.mappings._source, { index: index.settings });
  demandTextFields(config, index);
  await patiently(patience, () =>
    demandVectorsTold(cluster, index.index, index.mappings.properties),
  );
  await patiently(patience, () =>
    demandOwnTexts(cluster, index.index, index.mappings.properties, config["ingest.text_fields"]),
  );
  const plan = await readIndexModel(context.cluster, index.index).catch(() => undefined);
  if (plan?.passages === "documents") {
    throw new CspladeError(
      "index_invalid",
      `${index.index} keeps each passage as a document of its own; the whole texts are not in it.`,
      { hint: "Reindex from the index or the files it was made from." },
    );
  }
  const { uuid, shards, primaries } = index;
  const place = isSourceIndex(index.index) ? { cluster: cluster.source?.url } : {};
  return {
    source: { type: "index", index: index.index, uuid, shards, primaries, ...place },
    index,
  };
}

/** An index of another cluster, of which `--from` gave the URL. @throws CspladeError as {@link takeIndex}. */
async function findRemote(
  context: PlanContext,
  { cluster, index }: RemoteIndex,
  from: readonly string[],
): Promise<{ source: RunRecord["source"]; index: IndexSource }> {
  if (from.length > 1) {
    throw new CspladeError("usage", "One index of another cluster is reindexed at a time.");
  }
  demandSourceCluster(context.cluster, cluster);
  const found = await patiently(context.patience, () =>
    findIndexSource(context.cluster, sourceIndex(index), context.patience.signal),
  );
  const taken = await takeIndex(context, found);
  const { settings, mappings } = taken.index;
  return { ...taken, index: { ...taken.index, settings: meaningOf(settings, mappings) } };
}

/** At least one text field must be a field of the source: a typing error would copy nothing. */
function demandTextFields(config: Config, source: IndexSource): void {
  const names = fieldNames(source.mappings.properties, "");
  const wanted = config["ingest.text_fields"];
  if (names.size === 0 || wanted.some((field) => names.has(field))) return;
  const texts = [...names].filter(([, type]) => type === "text").map(([name]) => name);
  throw new CspladeError(
    "usage",
    `The index ${source.index} has none of the text fields ${wanted.join(", ")}.`,
    {
      hint:
        texts.length === 0
          ? "Name its text fields with --text-fields."
          : `Name its text fields with --text-fields, for example --text-fields ${texts.slice(0, 3).join(",")}.`,
    },
  );
}

const propertiesSchema = z.record(
  z.string(),
  z.looseObject({ type: z.string().optional(), properties: z.unknown().optional() }),
);

function fieldNames(properties: unknown, prefix: string): Map<string, string> {
  const names = new Map<string, string>();
  const parsed = propertiesSchema.safeParse(properties ?? {});
  for (const [name, field] of Object.entries(parsed.data ?? {})) {
    names.set(prefix + name, field.type ?? "object");
    for (const [inner, type] of fieldNames(field.properties, `${prefix}${name}.`)) {
      names.set(inner, type);
    }
  }
  return names;
}

/** The index behind the alias, if its vectors are of the same model and kept the same way. */
async function reusable(
  { cluster, config, manifest }: PlanContext,
  only: string | undefined,
): Promise<string | undefined> {
  if (only === undefined) return undefined;
  const info = await readIndexModel(cluster, only).catch(() => undefined);
  return info?.model.fingerprint === manifest.fingerprint &&
    info.passages === config["ingest.passages"] &&
    info.passages !== "documents" &&
    // Without them in its source everything is encoded again.
    info.store_vectors !== false
    ? only
    : undefined;
}

/** The first free name `ALIAS-v1`, `ALIAS-v2`, … above all that are taken. */
async function nextTarget(cluster: Cluster, alias: string): Promise<string> {
  const answer = await cluster.send({
    method: "GET",
    path: `/${encodeURIComponent(`${alias}-v`)}*`,
    query: { filter_path: "*.settings.index.uuid", expand_wildcards: "all" },
  });
  const names = Object.keys(z.record(z.string(), z.unknown()).safeParse(answer.body).data ?? {});
  const taken = names.map((name) => Number(/-v(\d+)$/.exec(name)?.[1] ?? 0));
  let version = Math.max(0, ...taken) + 1;
  while ((await lookUpName(cluster, `${alias}-v${version}`)).kind !== "free") version += 1;
  return `${alias}-v${version}`;
}

function timeStamp(): string {
  return new Date().toISOString().replaceAll(/[-:]/g, "").slice(0, 13).toLowerCase();
}
