/**
 * Gives documents of an index their vectors in place: what has none is read, encoded and written
 * back, unless somebody else wrote it meanwhile. The index itself says what is still to be done.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { liftSources } from "../cluster/lifted-sources.js";
import { pathOf } from "../cluster/request.js";
import type { Config } from "../config/settings.js";
import type { EncodedText } from "../encoder/encoder-protocol.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import { JsonObject, withoutMembers } from "../json/json-object.js";
import { JsonText, type BulkOperation } from "../index/bulk-operation.js";
import { bulkWriterOptions, createBulkWriter, type BulkWriter } from "../index/bulk-writer.js";
import { contentHash, textHash } from "../index/content-hash.js";
import { refreshIndex, type IndexInfo } from "../index/csplade-index.js";
import { documentSteps, vectorShape } from "../index/index-document.js";
import { isOurField } from "../index/index-meta.js";
import { prepareMarkedIndex, REFUSED_FIELD, UNENCODED } from "../index/marked-index.js";
import { NOTHING_STORED } from "../index/stored-state.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import { storedSourceDocument } from "../sources/source-document.js";
import { indexModelOf } from "./index-model.js";

/** How an index is followed. */
export interface FollowOptions {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  /** An index, or an alias of one. */
  readonly index: string;
  /** End when nothing is left to be done, instead of waiting for more. */
  readonly once: boolean;
  readonly metrics?: WorkerMetrics;
  /** Told after each round. */
  readonly onProgress?: (counts: FollowCounts) => void;
  /** Told what was survived, and which documents were refused. */
  readonly onTrouble?: (message: string) => void;
  readonly signal: AbortSignal;
}

/** What became of documents. */
export interface FollowCounts {
  /** The concrete index. */
  readonly index: string;
  /** Got a vector. */
  readonly encoded: number;
  /** Were changed or deleted by somebody else meanwhile; the change is taken in its turn. */
  readonly overtaken: number;
  /** Cannot be encoded; the reason's code is in the document's `csplade_refused`. */
  readonly refused: number;
  readonly tokens: number;
}

/** Documents of the first round, and most of any. */
const FIRST_ROUND = 16;
const MOST_ROUND = 512;

/** Characters of text a round should hold. */
const ROUND_CHARACTERS = 2_000_000;

/** Pause before the index is asked again when nothing was left to be done, milliseconds. */
const IDLE_MS = 1_000;

const pageSchema = z.object({
  hits: z.object({
    hits: z.array(
      z.object({
        _id: z.string(),
        _routing: z.string().optional(),
        _seq_no: z.number(),
        _primary_term: z.number(),
        _source: z.number(),
      }),
    ),
  }),
});

/** A document without a vector, as it was read. */
type Hit = Omit<z.infer<typeof pageSchema>["hits"]["hits"][number], "_source"> & {
  readonly source: string;
};

interface Following extends FollowOptions {
  readonly info: IndexInfo;
  readonly writer: BulkWriter;
  readonly patience: Patience;
}

/**
 * Prepares the index and follows it until the signal fires, or until nothing is left with `once`.
 * @throws CspladeError as {@link prepareMarkedIndex}; `cluster_unreachable` at the end of the patience.
 */
export async function followMarked(options: FollowOptions): Promise<FollowCounts> {
  const { config, cluster, encoder, signal, metrics } = options;
  const patience = { config, signal, onTrouble: options.onTrouble };
  const plan = {
    model: indexModelOf(encoder.manifest),
    passages: config["ingest.passages"],
    text_fields: config["ingest.text_fields"],
    title_field: config["ingest.title_field"],
  };
  const info = await patiently(patience, () => prepareMarkedIndex(cluster, options.index, plan));
  const writer = createBulkWriter(cluster, {
    ...bulkWriterOptions(config),
    onRetry({ operations, reason, cause }) {
      metrics?.retried(cause, operations);
      options.onTrouble?.(`Writing ${operations} documents again: ${reason}`);
    },
  });
  const following: Following = { ...options, info, writer, patience };
  const counts = { index: info.name, encoded: 0, overtaken: 0, refused: 0, tokens: 0 };
  let size = FIRST_ROUND;
  // What was written before this began must be seen.
  let stale = true;
  try {
    while (!signal.aborted) {
      if (stale || options.once) await patiently(patience, () => refreshIndex(cluster, info.name));
      const hits = await patiently(patience, () => unencoded(following, size));
      stale = hits.length > 0;
      if (hits.length === 0) {
        if (options.once) break;
        await sleep(IDLE_MS, undefined, { signal }).catch(() => {});
        continue;
      }
      const characters = await oneRound(following, hits, counts);
      const wanted = (ROUND_CHARACTERS / Math.max(1, characters)) * hits.length;
      size = Math.max(1, Math.min(MOST_ROUND, 2 * hits.length, Math.floor(wanted)));
      options.onProgress?.({ ...counts });
    }
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  } finally {
    await writer.close();
  }
  return counts;
}

async function unencoded({ cluster, info, signal }: Following, size: number): Promise<Hit[]> {
  const doing = `Asking ${info.name} which documents have no vector`;
  const text = await cluster.demandText(
    {
      method: "POST",
      path: pathOf(info.name, "_search"),
      query: { allow_partial_search_results: false },
      body: { size, query: UNENCODED, sort: ["_doc"], seq_no_primary_term: true },
      signal,
    },
    doing,
  );
  const { answer, sources } = liftSources(text, ["hits", "hits"], doing);
  return pageSchema.parse(answer).hits.hits.map(({ _source, ...hit }) => ({
    ...hit,
    source: sources[_source] ?? "{}",
  }));
}

/** Encodes and writes some documents. @returns the characters of their texts. */
async function oneRound(
  following: Following,
  hits: readonly Hit[],
  counts: { encoded: number; overtaken: number; refused: number; tokens: number },
): Promise<number> {
  const { config, encoder, info, writer, metrics, signal } = following;
  const documents = hits.map((hit) => {
    const own = withoutMembers(hit.source, isOurField);
    return { hit, own, found: storedSourceDocument(hit._id, own, isOurField, info.text_fields) };
  });
  const texts = documents.map(({ found }) => ("document" in found ? found.document.text : ""));
  const max_passages = config["ingest.max_passages"];
  const started = performance.now();
  const encoded = await encoder.encodeDocuments(texts, {
    signal,
    max_passages,
    merged: info.passages === "merged",
  });
  metrics?.encoded((performance.now() - started) / 1_000);
  const choices = { ...vectorShape(config), max_passages };
  const operations: BulkOperation[] = [];
  const refusals = new Map<number, ErrorCode>();
  for (const [i, { hit, own, found }] of documents.entries()) {
    const refusal = refusalOf(found, encoded[i]);
    if (refusal !== undefined) refusals.set(i, refusal);
    const text = texts[i] ?? "";
    const made =
      refusal === undefined && "document" in found
        ? documentSteps(info, found.document, encoded[i]?.passages ?? [], {
            shape: choices,
            hash: contentHash(found.document.body, info, choices),
            text_hash: textHash(text, info, choices),
            stored: NOTHING_STORED,
          })[0]?.[0]?.document
        : refusedText(own, refusal ?? "document_rejected");
    operations.push(inPlace(info, hit, made ?? new JsonText(own)));
  }
  const wroteFrom = performance.now();
  const results = await writer.write(operations, signal);
  metrics?.bulk((performance.now() - wroteFrom) / 1_000);
  const again: BulkOperation[] = [];
  const outcome = { written: 0, superseded: 0, dead_letters: 0, encoded: 0, tokens: 0 };
  for (const [i, result] of results.entries()) {
    const { hit, own } = documents[i] as (typeof documents)[number];
    const refusal = refusals.get(i);
    if (result.status === "skipped") {
      outcome.superseded += 1;
    } else if (result.status === "failed" || refusal !== undefined) {
      outcome.dead_letters += 1;
      const why = result.status === "failed" ? result.reason : (refusal ?? "");
      following.onTrouble?.(`${hit._id} cannot be encoded: ${why}`);
      if (result.status === "failed" && refusal === undefined) {
        again.push(inPlace(info, hit, refusedText(own, "document_rejected")));
      }
    } else {
      outcome.written += 1;
      outcome.encoded += 1;
      for (const { tokens } of encoded[i]?.passages ?? []) outcome.tokens += tokens;
    }
  }
  await demandMarked(writer, again, signal);
  counts.encoded += outcome.encoded;
  counts.overtaken += outcome.superseded;
  counts.refused += outcome.dead_letters;
  counts.tokens += outcome.tokens;
  metrics?.count("follow", outcome);
  return texts.reduce((sum, { length }) => sum + length, 0);
}

/** A document with the reason why it has no vector. */
function refusedText(own: string, code: ErrorCode): JsonText {
  const read = JsonObject.read(own);
  if (!("object" in read)) return new JsonText(own);
  return new JsonText(read.object.with([[REFUSED_FIELD, JSON.stringify(code)]]));
}

function refusalOf(
  found: ReturnType<typeof storedSourceDocument>,
  encoded: EncodedText | undefined,
): ErrorCode | undefined {
  if ("problem" in found) return found.problem.code;
  if (encoded === undefined || encoded.failure !== undefined) return "encode_failed";
  return encoded.passages.length === 0 ? "document_no_text" : undefined;
}

/** Replaces a document, if it is still the one that was read, past the pipeline that marks it. */
function inPlace(info: IndexInfo, hit: Hit, document: object | JsonText): BulkOperation {
  return {
    index: info.name,
    id: hit._id,
    action: "index",
    document,
    ...(hit._routing === undefined ? {} : { routing: hit._routing }),
    if_seq_no: hit._seq_no,
    if_primary_term: hit._primary_term,
    pipeline: "_none",
  };
}

/** Notes on documents that the cluster refused with a vector that they are refused; else they would come again for ever. */
async function demandMarked(
  writer: BulkWriter,
  operations: readonly BulkOperation[],
  signal: AbortSignal,
): Promise<void> {
  const failed = (await writer.write(operations, signal)).find(({ status }) => status === "failed");
  if (failed?.status !== "failed") return;
  throw new CspladeError(
    "cluster_rejected",
    `A document cannot be written back, not even without a vector: ${failed.reason}`,
    { hint: "Mend or delete the document, or the mapping; then start again." },
  );
}
