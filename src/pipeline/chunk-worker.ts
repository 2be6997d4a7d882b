/**
 * The worker: takes chunks from the queue, encodes their documents and writes them.
 * One bad document never stops the rest of its chunk, and a chunk that ran twice changes nothing.
 */
import type { Cluster } from "../cluster/cluster.js";
import { patiently } from "../cluster/patience.js";
import type { Config } from "../config/settings.js";
import type { EncodedText } from "../encoder/encoder-protocol.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { bulkWriterOptions, createBulkWriter, type BulkWriter } from "../index/bulk-writer.js";
import { contentHash } from "../index/content-hash.js";
import { readIndexModel, type IndexInfo } from "../index/csplade-index.js";
import { writeDocuments, type DocumentSteps } from "../index/document-write.js";
import { checkDocument, documentSteps, vectorShape } from "../index/index-document.js";
import { demandSameModel } from "../index/index-meta.js";
import { readStored, type StoredState } from "../index/stored-state.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import type { IngestJob, IngestJobResult } from "../queue/ingest-job.js";
import { startIngestWorker, type IngestWorker } from "../queue/ingest-queue.js";
import { readChunk, type ChunkLine } from "../sources/chunk.js";
import { parseDocument, type SourceDocument } from "../sources/source-document.js";
import { indexModelOf } from "./index-model.js";
import { encodeWorthwhile, judgeTexts } from "./worth-encoding.js";

/** What a worker works with. */
export interface ChunkWorkerParts {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly metrics?: WorkerMetrics | undefined;
  /** Called with what the worker survived. */
  readonly onTrouble?: ((message: string) => void) | undefined;
}

/** Everything one job needs. */
interface Task extends ChunkWorkerParts {
  readonly writer: BulkWriter;
  readonly job: IngestJob;
  readonly info: IndexInfo;
  readonly result: IngestJobResult;
  readonly signal: AbortSignal;
}

/** A document of the chunk on its way. */
interface Taken {
  readonly line: ChunkLine;
  readonly document: SourceDocument;
  readonly hash: string;
  readonly stored: StoredState;
  /** Whether it is encoded, or only indexed for BM25 (`ingest.min_quality`). */
  readonly worth: boolean;
}

/** An encoded document and the operations that store it. */
interface Prepared {
  readonly taken: Taken;
  readonly steps: DocumentSteps;
}

/** Longest reason kept of a failure, characters: results stay in Redis until they are read. */
const MAX_REASON = 1_000;

/** Starts a worker on the ingest queue. @throws CspladeError `queue_unreachable`. */
export async function startChunkWorker(parts: ChunkWorkerParts): Promise<IngestWorker> {
  const trouble = parts.onTrouble ?? (() => {});
  const writer = createBulkWriter(parts.cluster, {
    ...bulkWriterOptions(parts.config),
    onRetry({ operations, reason, cause }) {
      parts.metrics?.retried(cause, operations);
      trouble(`Writing ${operations} documents again: ${reason}`);
    },
  });
  const worker = await startIngestWorker(
    parts.config,
    {
      fingerprint: parts.encoder.manifest.fingerprint,
      broken: parts.encoder.broken,
      onError: (error) => trouble(`The queue: ${error.message}`),
    },
    (job, signal) => processChunk(parts, writer, job, signal),
  );
  return {
    isBusy: () => worker.isBusy(),
    async close(deadlineMs) {
      await worker.close(deadlineMs);
      await writer.close();
    },
  };
}

/** Encodes and writes one chunk. @throws CspladeError if the chunk as a whole must be tried again. */
async function processChunk(
  parts: ChunkWorkerParts,
  writer: BulkWriter,
  job: IngestJob,
  signal: AbortSignal,
): Promise<IngestJobResult> {
  const info = await patiently({ ...parts, signal }, () =>
    readIndexModel(parts.cluster, job.index, { signal }),
  );
  demandSameModel(info.model, indexModelOf(parts.encoder.manifest), job.index);
  const task: Task = { ...parts, writer, job, info, result: emptyResult(), signal };
  const taken = await takeDocuments(task);
  const changed = job.force ? taken : taken.filter(({ hash, stored }) => stored.hash !== hash);
  task.result.skipped = taken.length - changed.length;
  const started = performance.now();
  const encoded = await encodeWorthwhile(
    changed.map(({ document, worth }) => ({ text: document.text, worth })),
    (texts) => parts.encoder.encodeDocuments(texts, { signal, merged: info.passages === "merged" }),
  );
  const encodedAt = performance.now();
  const prepared = changed.flatMap((each, index) => prepare(task, each, encoded[index]));
  await writeAll(task, prepared);
  if (changed.length > 0) parts.metrics?.encoded((encodedAt - started) / 1_000);
  if (prepared.length > 0) parts.metrics?.bulk((performance.now() - encodedAt) / 1_000);
  const { written, skipped, failures, tokens } = task.result;
  parts.metrics?.count("ingest", {
    written,
    unchanged: skipped,
    dead_letters: failures.length,
    encoded: task.result.encoded,
    low_quality: task.result.low_quality,
    tokens,
  });
  return task.result;
}

function emptyResult(): IngestJobResult {
  return {
    encoded: 0,
    written: 0,
    skipped: 0,
    truncated: 0,
    low_quality: 0,
    passages: 0,
    tokens: 0,
    terms: 0,
    failures: [],
  };
}

function fail(
  { job, result }: Task,
  line: ChunkLine,
  code: ErrorCode,
  reason: string,
  id?: string,
) {
  result.failures.push({
    file: job.chunk.file,
    line: line.number,
    offset: line.offset,
    bytes: line.content.length,
    code,
    reason: reason.slice(0, MAX_REASON),
    ...(id === undefined ? {} : { id }),
  });
}

/** Reads and checks the chunk's documents, and asks what the index holds of them. */
async function takeDocuments(task: Task): Promise<Taken[]> {
  const { config, cluster, info, job, signal } = task;
  const choices = { ...vectorShape(config), max_passages: config["ingest.max_passages"] };
  const good: { readonly line: ChunkLine; readonly document: SourceDocument }[] = [];
  for (const line of await readChunk(job.chunk)) {
    const parsed = parseDocument(line.content, job);
    if ("problem" in parsed) {
      fail(task, line, parsed.problem.code, parsed.problem.reason, parsed.problem.id);
      continue;
    }
    const { document } = parsed;
    try {
      checkDocument(info, document);
    } catch (thrown) {
      fail(task, line, codeOf(thrown), messageOf(thrown), document.id);
      continue;
    }
    good.push({ line, document });
  }
  const worth = await judgeTexts(
    good.map(({ document }) => document.text),
    config["ingest.min_quality"],
  );
  const stored = await patiently(task, () =>
    readStored(
      cluster,
      info,
      good.map(({ document }) => ({ id: document.id })),
      signal,
    ),
  );
  return good.map((each, index) => ({
    ...each,
    hash: contentHash(each.document.body, info, choices, worth[index]),
    stored: stored[index] as StoredState,
    worth: worth[index] ?? true,
  }));
}

/** The write operations of one encoded document; nothing if it failed. */
function prepare(task: Task, taken: Taken, encoded: EncodedText | undefined): Prepared[] {
  const { config, info, result } = task;
  const { line, document, hash, stored, worth } = taken;
  if (encoded === undefined || encoded.failure !== undefined) {
    fail(
      task,
      line,
      "encode_failed",
      encoded?.failure ?? "The encoder returned nothing.",
      document.id,
    );
    return [];
  }
  if (worth && encoded.passages.length === 0) {
    fail(task, line, "document_no_text", "The document's text has no tokens.", document.id);
    return [];
  }
  if (worth) result.encoded += 1;
  else result.low_quality += 1;
  if (encoded.truncated) result.truncated += 1;
  for (const passage of encoded.passages) {
    result.passages += 1;
    result.tokens += passage.tokens;
    result.terms += passage.vector.ids.length;
  }
  try {
    const shape = vectorShape(config);
    return [
      { taken, steps: documentSteps(info, document, encoded.passages, { shape, hash, stored }) },
    ];
  } catch (thrown) {
    fail(task, line, codeOf(thrown), messageOf(thrown), document.id);
    return [];
  }
}

/** Writes the documents that have operations; refused ones have failed. */
async function writeAll(task: Task, documents: readonly Prepared[]): Promise<void> {
  const results = await writeDocuments(
    task.writer,
    documents.map((each) => each.steps),
  );
  results.forEach((result, index) => {
    if (result.status === "written") task.result.written += 1;
    if (result.status === "skipped") task.result.skipped += 1;
    const { line, document } = (documents[index] as Prepared).taken;
    if (result.status === "failed") {
      fail(task, line, "document_rejected", result.reason, document.id);
    }
  });
}

function codeOf(thrown: unknown): ErrorCode {
  return thrown instanceof CspladeError ? thrown.code : "document_rejected";
}
