/**
 * The worker: takes chunks from the queue, encodes their documents and writes them.
 * One bad document never stops the rest of its chunk, and a chunk that ran twice changes nothing.
 */
import { isDeepStrictEqual } from "node:util";
import { vectorRecord, htmlRecord } from "../config/document-identity.js";
import type { Cluster } from "../cluster/cluster.js";
import { patiently } from "../cluster/patience.js";
import type { Config } from "../config/settings.js";
import { carryVectors } from "../documents/carried-vectors.js";
import {
  documentEncoding,
  judgeDocuments,
  writeReady,
  type Arriving,
  type DocumentPath,
  type JudgedDocument,
  type Refusal,
} from "../documents/document-path.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { bulkWriterOptions, createBulkWriter, type BulkWriter } from "../cluster/bulk-writer.js";
import { readIndexModel, type IndexInfo } from "../index/csplade-index.js";
import { demandSameModel } from "../index/index-meta.js";
import { NOTHING_STORED, readStored } from "../index/stored-state.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import type { IngestJob, IngestJobResult } from "../queue/ingest-job.js";
import { deviceName } from "../queue/giving-back.js";
import { startIngestWorker, type IngestWorker } from "../queue/ingest-queue.js";
import type { JobFence } from "../queue/job-fence.js";
import { readChunk, type ChunkLine } from "../sources/chunk.js";
import { besideOf } from "../sources/found-document.js";
import { parseDocument } from "../sources/source-document.js";
import { encodeWithCare } from "./careful-encoding.js";
import { indexModelOf } from "../documents/index-model.js";

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

/** A line of the chunk and what was read in it. */
interface Arrival extends Arriving {
  readonly line: ChunkLine;
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
      device: deviceName(parts.config),
      onError: (error) => trouble(`The queue: ${error.message}`),
    },
    (job, fence) => processChunk(parts, writer, job, fence),
  );
  return {
    isBusy: () => worker.isBusy(),
    async close(deadlineMs) {
      try {
        await worker.close(deadlineMs);
      } finally {
        await writer.close();
      }
    },
  };
}

/** Encodes and writes one chunk. @throws CspladeError if the chunk as a whole must be tried again. */
async function processChunk(
  parts: ChunkWorkerParts,
  writer: BulkWriter,
  job: IngestJob,
  fence: JobFence,
): Promise<IngestJobResult> {
  const { signal } = fence;
  const info = await patiently({ ...parts, signal }, () =>
    readIndexModel(parts.cluster, job.index, { signal }),
  );
  demandSameModel(info.model, indexModelOf(parts.encoder.manifest), job.index);
  demandSameTexts(info, job);
  const encoding = { ...documentEncoding(parts.config), ...info.pruning };
  const task: Task = { ...parts, writer, job, info, result: emptyResult(), signal };
  const path: DocumentPath = { ...parts, info, encoding, signal };
  const arrivals = (await readChunk(job.chunk)).map((line): Arrival => ({
    line,
    content: parseDocument(line.content, job, line),
    ...(line.routing === undefined ? {} : { routing: line.routing }),
  }));
  const { judged, refusals } = await judgeDocuments(path, arrivals);
  await compareWithStored(task, judged);
  const changed = judged.filter(({ hash, stored }) => job.force || stored.hash !== hash);
  task.result.skipped = judged.length - changed.length;
  const { ready, refusals: unencoded, counts } = await encodeWithCare(path, changed, job.care);
  const { encoded, low_quality, truncated, truncated_ids, passages, tokens: read, terms } = counts;
  Object.assign(task.result, { encoded, low_quality, passages, tokens: read, terms });
  Object.assign(task.result, { truncated, truncated_ids });
  const encodedAt = performance.now();
  if (ready.length > 0) await fence.demandLive();
  const { results, refusals: unwritten } = await writeReady(writer, ready, signal);
  for (const { status } of results) {
    if (status === "written") task.result.written += 1;
    if (status === "skipped") task.result.skipped += 1;
  }
  if (ready.length > 0) parts.metrics?.bulk((performance.now() - encodedAt) / 1_000);
  for (const refusal of [...refusals, ...unencoded, ...unwritten]) fail(task, refusal);
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

/** Another command may have given an empty index other text fields since the job was queued. */
function demandSameTexts(info: IndexInfo, job: IngestJob): void {
  const { text_fields } = info;
  const isSame = isDeepStrictEqual(text_fields, job.text_fields);
  const read = (by: IndexInfo | IngestJob) => ({ ...htmlRecord(by), ...vectorRecord(by) });
  if (isSame && isDeepStrictEqual(read(info), read(job))) return;
  if (isSame) {
    throw new CspladeError(
      "index_invalid",
      `The index ${job.index} takes other fields for HTML, another expansion or other vectors by now than when the job was planned.`,
      { hint: "Run the command again." },
    );
  }
  throw new CspladeError(
    "index_invalid",
    `The index ${job.index} takes the texts of ${text_fields.join(",")} by now, not of ${job.text_fields.join(",")}.`,
    { hint: "Run the command again." },
  );
}

function emptyResult(): IngestJobResult {
  return {
    encoded: 0,
    written: 0,
    skipped: 0,
    truncated: 0,
    truncated_ids: [],
    low_quality: 0,
    passages: 0,
    tokens: 0,
    terms: 0,
    failures: [],
  };
}

function fail({ job, result }: Task, { arrival, code, reason }: Refusal<Arrival>): void {
  const { line, content } = arrival;
  const id = "document" in content ? content.document.id : content.problem.id;
  const beside = besideOf(line);
  result.failures.push({
    file: job.chunk.file,
    line: line.number,
    offset: line.offset,
    bytes: line.content.length,
    code,
    reason: reason.slice(0, MAX_REASON),
    ...(id === undefined ? {} : { id }),
    ...(beside === undefined ? {} : { beside }),
  });
}

/** Asks what the index holds of the documents, and takes over vectors of texts that did not change. */
async function compareWithStored(
  task: Task,
  judged: readonly JudgedDocument<Arrival>[],
): Promise<void> {
  const { cluster, info, job, signal } = task;
  const keys = judged.map(({ document: { id }, arrival: { routing } }) => ({
    id,
    ...(routing === undefined ? {} : { routing }),
  }));
  const states = await patiently(task, () => readStored(cluster, info, keys, signal));
  for (const [i, each] of judged.entries()) each.stored = states[i] ?? NOTHING_STORED;
  if (job.force || info.passages === "documents") return;
  const sameText = judged.filter(
    ({ hash, text_hash, stored }) => stored.hash !== hash && stored.text_hash === text_hash,
  );
  await carryVectors(cluster, task, info.name, sameText);
}
