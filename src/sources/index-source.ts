/**
 * An index as a source. It is cut along its sequence numbers: every operation on a shard has one,
 * a document's number grows whenever it changes, and numbers up to the global checkpoint are
 * settled. So a range of them means the same tomorrow (documents can only leave it, by changing,
 * for a higher number that a later pass copies), needs no open snapshot in the cluster, survives
 * restarts of it, and gives each document a version by which the newest state wins.
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { liftSources } from "../cluster/lifted-sources.js";
import { isSourceIndex, ownIndexName, sourceIndex } from "../cluster/joined-cluster.js";
import { pathOf } from "../cluster/request.js";
import { wholeSource } from "../cluster/whole-source.js";
import { CspladeError } from "../errors/csplade-error.js";

/** The one index behind a name, and what is needed to read and copy it. */
export interface IndexSource {
  /** The concrete index. */
  readonly index: string;
  readonly uuid: string;
  readonly shards: number;
  /** Replicas may lag behind a refresh (segment replication): read primaries only. */
  readonly primaries: boolean;
  /** Its mapping and the `index` object of its settings, as they are. */
  readonly mappings: Readonly<Record<string, unknown>>;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Where to read: one shard of an index. */
export interface ShardReader {
  readonly index: string;
  readonly shard: number;
  readonly primaries: boolean;
  /** Query DSL that narrows the documents. */
  readonly filter?: object;
}

/** A document as it is stored. */
export interface StoredDocument {
  readonly id: string;
  readonly seq_no: number;
  readonly primary_term: number;
  readonly version: number;
  readonly routing?: string;
  /** `_source`, the text that the cluster gave; `{}` where it was not asked for. */
  readonly source: string;
}

/** The documents of a search's answer, for which `version` and `seq_no_primary_term` were asked. */
export function storedDocuments(text: string, doing: string): StoredDocument[] {
  const { answer, sources } = liftSources(text, ["hits", "hits"], doing);
  return pageSchema.parse(answer).hits.hits.map((hit) => ({
    id: hit._id,
    seq_no: hit._seq_no,
    primary_term: hit._primary_term,
    version: hit._version,
    ...(hit._routing === undefined ? {} : { routing: hit._routing }),
    source: sources[hit._source ?? -1] ?? "{}",
  }));
}

const indexSchema = z.record(
  z.string(),
  z.object({
    aliases: z
      .record(
        z.string(),
        z.object({ filter: z.unknown().optional(), search_routing: z.string().optional() }),
      )
      .default({}),
    mappings: z.record(z.string(), z.unknown()).default({}),
    settings: z.object({
      index: z.looseObject({
        uuid: z.string(),
        number_of_shards: z.coerce.number().int(),
        replication: z.object({ type: z.string().optional() }).optional(),
      }),
    }),
  }),
);

/**
 * Finds the one index behind a name.
 * @throws CspladeError `index_not_found`; `index_invalid` for a name that leads to several indices
 *   or to a part of one.
 */
export async function findIndexSource(
  cluster: Cluster,
  name: string,
  signal?: AbortSignal,
): Promise<IndexSource> {
  const doing = `Looking at the source ${name}`;
  const path = pathOf(name);
  const body = await cluster.demand(
    { method: "GET", path, ...(signal === undefined ? {} : { signal }) },
    doing,
  );
  const found = Object.entries(indexSchema.parse(body));
  const [first] = found;
  if (first === undefined) {
    throw new CspladeError("index_not_found", `There is no index or alias ${name}.`);
  }
  if (found.length > 1) {
    throw new CspladeError(
      "index_invalid",
      `${name} leads to ${found.length} indices (${found.map(([index]) => index).join(", ")}): ` +
        "the same id may stand for different documents in them.",
      { hint: "Reindex one index at a time, each to an alias of its own." },
    );
  }
  const [own, { aliases, mappings, settings }] = first;
  const index = isSourceIndex(name) ? sourceIndex(own) : own;
  const through = aliases[ownIndexName(name)];
  if (through?.filter !== undefined || through?.search_routing !== undefined) {
    throw new CspladeError(
      "index_invalid",
      `The alias ${name} shows only a part of the index ${index} (${through.filter === undefined ? "search_routing" : "filter"}), and a copy would hold all of it.`,
      {
        hint: `Name the index itself: --from ${index}. Filter and routing of the alias that is moved are kept.`,
      },
    );
  }
  return {
    index,
    uuid: settings.index.uuid,
    shards: settings.index.number_of_shards,
    primaries: settings.index.replication?.type?.toUpperCase() === "SEGMENT",
    mappings,
    settings: settings.index,
  };
}

const statsSchema = z.object({
  indices: z.record(
    z.string(),
    z.object({
      uuid: z.string().optional(),
      shards: z.record(
        z.string(),
        z.array(
          z.object({
            routing: z.object({ primary: z.boolean() }),
            seq_no: z.object({ global_checkpoint: z.number().int() }),
          }),
        ),
      ),
    }),
  ),
});

/**
 * Reads per shard the sequence number up to which all operations are settled, and makes them
 * visible to searches. −1 for a shard without operations.
 * @throws CspladeError `cluster_busy` while a shard has no primary; `index_not_found`.
 */
export async function settledUpTo(
  cluster: Cluster,
  source: Pick<IndexSource, "index" | "shards">,
  signal?: AbortSignal,
): Promise<number[]> {
  const doing = `Asking ${source.index} how far it is settled`;
  const signals = signal === undefined ? {} : { signal };
  const body = await cluster.demand(
    {
      method: "GET",
      path: pathOf(source.index, "_stats"),
      query: {
        level: "shards",
        filter_path: "indices.*.shards.*.routing,indices.*.shards.*.seq_no",
      },
      ...signals,
    },
    doing,
  );
  const shards =
    statsSchema.safeParse(body).data?.indices[ownIndexName(source.index)]?.shards ?? {};
  const settled = Array.from({ length: source.shards }, (_, shard) => {
    const primary = shards[String(shard)]?.find((copy) => copy.routing.primary);
    if (primary !== undefined) return primary.seq_no.global_checkpoint;
    throw new CspladeError("cluster_busy", `${doing}: its shard ${shard} has no primary now.`);
  });
  const refreshed = z
    .object({ _shards: z.object({ failed: z.number() }) })
    .parse(
      await cluster.demand(
        { method: "POST", path: pathOf(source.index, "_refresh"), ...signals },
        doing,
      ),
    );
  if (refreshed._shards.failed > 0) {
    throw new CspladeError("cluster_busy", `${doing}: a shard could not be refreshed.`);
  }
  return settled;
}

const deletesSchema = z.object({
  _all: z.object({ primaries: z.object({ indexing: z.object({ delete_total: z.number() }) }) }),
});

/**
 * How many deletes the primary shards of an index have seen since they were started: another number
 * than before means that documents may have been deleted.
 */
export async function deletesSeen(
  cluster: Cluster,
  index: string,
  signal?: AbortSignal,
): Promise<number> {
  const body = await cluster.demand(
    {
      method: "GET",
      path: pathOf(index, "_stats", "indexing"),
      query: { filter_path: "_all.primaries.indexing.delete_total" },
      ...(signal === undefined ? {} : { signal }),
    },
    `Asking ${index} for its deletes`,
  );
  return deletesSchema.parse(body)._all.primaries.indexing.delete_total;
}

/** A range of sequence numbers and how many documents it holds now. */
export interface SequenceRange {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
  readonly documents: number;
}

/** Buckets the documents of a shard are counted in while planning. */
const BUCKETS = 8_000;

const histogramSchema = z.object({
  aggregations: z.object({
    ranges: z.object({ buckets: z.array(z.object({ key: z.number(), doc_count: z.number() })) }),
  }),
});

/**
 * Cuts a shard's sequence numbers into ranges of about `documents` documents. All numbers in
 * [from, to) are in one range; ranges without documents are left out.
 */
export async function cutShard(
  cluster: Cluster,
  reader: ShardReader,
  range: { readonly from: number; readonly to: number; readonly documents: number },
  signal?: AbortSignal,
): Promise<SequenceRange[]> {
  const { from, to } = range;
  if (to <= from) return [];
  const interval = Math.max(1, Math.ceil((to - from) / BUCKETS));
  const body = await cluster.demand(
    {
      ...searchOn(reader),
      body: {
        size: 0,
        query: rangeQuery(reader, from, to),
        aggs: {
          ranges: {
            histogram: { field: "_seq_no", interval, offset: from % interval, min_doc_count: 1 },
          },
        },
      },
      ...(signal === undefined ? {} : { signal }),
    },
    `Counting the documents of ${reader.index}`,
  );
  const ranges: SequenceRange[] = [];
  let open: { from: number; documents: number } | undefined;
  for (const { key, doc_count } of histogramSchema.parse(body).aggregations.ranges.buckets) {
    // Floating point: a key may stand a little beside the number it means.
    const start = Math.max(from, Math.round(key));
    if (open !== undefined && open.documents + doc_count > range.documents) {
      ranges.push({ ...open, to: start });
      open = undefined;
    }
    open ??= { from: start, documents: 0 };
    open.documents += doc_count;
  }
  if (open !== undefined) ranges.push({ ...open, to });
  return ranges;
}

const pageSchema = z.object({
  hits: z.object({
    hits: z.array(
      z.object({
        _id: z.string(),
        _seq_no: z.number().int(),
        _primary_term: z.number().int(),
        _version: z.number().int(),
        _routing: z.string().optional(),
        _source: z.number().optional(),
      }),
    ),
  }),
});

/** What to read of a range. */
export interface PageRequest {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
  readonly size: number;
  /**
   * `false` for ids and versions alone. A list names fields, and what is read so is not what was
   * stored: the cluster builds it anew.
   */
  readonly source?: boolean | readonly string[];
}

/** Reads the next documents of a range, in order of their sequence numbers. */
export async function readDocuments(
  cluster: Cluster,
  reader: ShardReader,
  page: PageRequest,
  signal?: AbortSignal,
): Promise<StoredDocument[]> {
  const doing = `Reading ${reader.index}`;
  const { source = true } = page;
  const text = await cluster.demandText(
    {
      ...searchOn(reader),
      body: {
        size: page.size,
        query: rangeQuery(reader, page.from, page.to),
        sort: [{ _seq_no: "asc" }],
        seq_no_primary_term: true,
        version: true,
        track_total_hits: false,
        _source: source === true ? await wholeSource(cluster, reader.index) : source,
      },
      ...(signal === undefined ? {} : { signal }),
    },
    doing,
  );
  return storedDocuments(text, doing);
}

/** A search of one shard. */
export function searchOn({ index, shard, primaries }: ShardReader) {
  return {
    method: "POST",
    path: pathOf(index, "_search"),
    query: {
      preference: `_shards:${shard}${primaries ? "|_primary" : ""}`,
      // A shard that is away must fail the read: its documents would be taken for absent.
      allow_partial_search_results: false,
    },
  } as const;
}

function rangeQuery(reader: ShardReader, from: number, to: number): object {
  const range = { range: { _seq_no: { gte: from, lt: to } } };
  return { bool: { filter: reader.filter === undefined ? [range] : [range, reader.filter] } };
}
