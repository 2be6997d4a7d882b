/**
 * What happens to the documents of one window: compare with what is stored, encode what changed,
 * write. Every document ends in exactly one of the outcomes written, unchanged, superseded and
 * dead letter.
 */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import type { BulkOperation } from "../index/bulk-operation.js";
import type { BulkWriter } from "../index/bulk-writer.js";
import { contentHash, textHash } from "../index/content-hash.js";
import type { IndexInfo } from "../index/csplade-index.js";
import { writeDocuments, type DocumentSteps } from "../index/document-write.js";
import {
  carriedSteps,
  checkDocument,
  deletionSteps,
  documentSteps,
} from "../index/index-document.js";
import { NOTHING_STORED, readStored, type StoredState } from "../index/stored-state.js";
import { readVectors, type StoredVectors } from "../index/stored-vectors.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import { encodeWorthwhile, judgeTexts } from "../pipeline/worth-encoding.js";
import type { SourceDocument } from "../sources/source-document.js";
import { deadLetterOperation } from "./dead-letters.js";
import { noCounts, type RunRecord, type SliceCounts, type SliceRecord } from "./run-record.js";
import type { Arrival } from "./slice-reader.js";

/** What the work on a window needs. */
export interface WindowContext {
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly writer: BulkWriter;
  readonly run: RunRecord;
  readonly slice: SliceRecord;
  readonly info: IndexInfo;
  /** The target may hold some of the documents already. */
  readonly mayBeStored: boolean;
  readonly patience: Patience;
  readonly metrics: WorkerMetrics;
}

/** A document on its way. */
interface Taken {
  readonly arrival: Arrival;
  readonly document: SourceDocument;
  readonly hash: string;
  readonly text_hash: string;
  readonly stored: StoredState;
  /** Whether it is encoded, or only indexed for BM25 (`ingest.min_quality`). */
  readonly worth: boolean;
  /** Vectors made from the same text by the same model. */
  vectors?: Readonly<Record<string, unknown>>;
}

interface Refusal {
  readonly arrival: Arrival;
  readonly code: ErrorCode;
  readonly reason: string;
  readonly stored: StoredState;
}

/** A window of documents whose next step is known. */
export interface PreparedWindow {
  /** Where to go on after it. */
  readonly next: number;
  readonly counts: SliceCounts;
  readonly work: readonly Taken[];
  readonly refusals: Refusal[];
}

/** An encoded window, ready to be written. */
export interface EncodedWindow extends PreparedWindow {
  readonly documents: readonly { readonly taken: Taken; readonly steps: DocumentSteps }[];
}

/** Compares a window with what is stored. */
export async function prepareWindow(
  context: WindowContext,
  arrivals: readonly Arrival[],
): Promise<PreparedWindow> {
  const { run, info } = context;
  const counts = noCounts();
  counts.read = arrivals.length;
  const states = await readStates(context, arrivals);
  const work: Taken[] = [];
  const refusals: Refusal[] = [];
  const worths = await judgeTexts(
    arrivals.map(({ content }) => ("document" in content ? content.document.text : "")),
    run.encoding.min_quality,
  );
  for (const [i, arrival] of arrivals.entries()) {
    const worth = worths[i] ?? true;
    const stored = states[i] ?? NOTHING_STORED;
    if (stored.version !== undefined && stored.version > arrival.version) {
      counts.superseded += 1;
      continue;
    }
    if ("problem" in arrival.content) {
      refusals.push({ arrival, stored, ...arrival.content.problem });
      continue;
    }
    const { document } = arrival.content;
    try {
      checkDocument(info, document);
    } catch (thrown) {
      refusals.push({ arrival, stored, code: codeOf(thrown), reason: messageOf(thrown) });
      continue;
    }
    const hash = contentHash(document.body, info, run.encoding, worth);
    if (stored.hash === hash && stored.version === arrival.version) {
      counts.unchanged += 1;
      continue;
    }
    const text_hash = textHash(document.text, info, run.encoding, worth);
    work.push({ arrival, document, hash, text_hash, stored, worth });
  }
  await findVectors(context, work);
  return { next: (arrivals.at(-1) as Arrival).next, counts, work, refusals };
}

async function readStates(
  { cluster, info, mayBeStored, patience }: WindowContext,
  arrivals: readonly Arrival[],
): Promise<StoredState[]> {
  if (!mayBeStored) return [];
  // Ids that no cluster can hold cannot be asked about either.
  const keys = arrivals.map((arrival) =>
    "document" in arrival.content || arrival.place !== arrival.id ? keyOf(arrival) : undefined,
  );
  const asked = keys.filter((key) => key !== undefined && isPossible(key.id));
  const states = await patiently(patience, () =>
    readStored(cluster, info, asked as { id: string }[], patience.signal),
  );
  let next = 0;
  return keys.map((key) =>
    key !== undefined && isPossible(key.id) ? (states[next++] ?? NOTHING_STORED) : NOTHING_STORED,
  );
}

function isPossible(id: string): boolean {
  return id !== "" && Buffer.byteLength(id) <= 506 && id.isWellFormed();
}

function keyOf({ id, routing }: Arrival) {
  return { id, ...(routing === undefined ? {} : { routing }) };
}

/** Finds vectors of the same texts: in the target itself, or in the index the run takes over from. */
async function findVectors(context: WindowContext, work: readonly Taken[]): Promise<void> {
  const { run, info } = context;
  if (run.passages === "documents") return;
  const encodable = work.filter(({ worth }) => worth);
  const kept = encodable.filter(
    ({ stored, hash, text_hash }) => stored.hash === hash || stored.text_hash === text_hash,
  );
  await takeOver(context, info.name, kept);
  if (run.reuse === undefined) return;
  const rest = encodable.filter(({ vectors }) => vectors === undefined);
  await takeOver(context, run.reuse, rest);
}

async function takeOver(
  { cluster, patience }: WindowContext,
  index: string,
  work: readonly Taken[],
): Promise<void> {
  if (work.length === 0) return;
  let found: (StoredVectors | undefined)[];
  try {
    found = await patiently(patience, () =>
      readVectors(
        cluster,
        index,
        work.map(({ arrival }) => keyOf(arrival)),
        patience.signal,
      ),
    );
  } catch (thrown) {
    // An index to take over from may be deleted meanwhile: then everything is encoded.
    if (thrown instanceof CspladeError && thrown.code === "index_not_found") return;
    throw thrown;
  }
  for (const [i, taken] of work.entries()) {
    const stored = found[i];
    if (stored === undefined) continue;
    if (stored.hash === taken.hash || stored.text_hash === taken.text_hash) {
      taken.vectors = stored.vectors;
    }
  }
}

/** Encodes what has no vector yet. */
export async function encodeWindow(
  context: WindowContext,
  window: PreparedWindow,
): Promise<EncodedWindow> {
  const { encoder, metrics, patience, info, run } = context;
  const { counts, refusals, work } = window;
  const missing = work.filter(({ vectors }) => vectors === undefined);
  const started = performance.now();
  const before = encoder.totals();
  const options = {
    signal: patience.signal,
    max_passages: run.encoding.max_passages,
    merged: info.passages === "merged",
  };
  const encoded = await encodeWorthwhile(
    missing.map(({ document, worth }) => ({ text: document.text, worth })),
    (texts) => encoder.encodeDocuments(texts, options),
  );
  if (missing.length > 0) {
    metrics.encoded((performance.now() - started) / 1_000);
    const after = encoder.totals();
    const computed = after.padded_tokens - before.padded_tokens;
    if (computed > 0) metrics.batchFill((after.tokens - before.tokens) / computed);
  }
  const vectors = new Map(missing.map((taken, i) => [taken, encoded[i]]));
  const documents: { taken: Taken; steps: DocumentSteps }[] = [];
  for (const taken of work) {
    const { arrival, stored, hash, text_hash } = taken;
    const document = indexable(arrival, taken.document);
    const refuse = (code: ErrorCode, reason: string) =>
      refusals.push({ arrival, stored, code, reason });
    try {
      if (taken.vectors !== undefined) {
        documents.push({ taken, steps: carriedSteps(info, document, taken.vectors, taken) });
        counts.reused += 1;
        continue;
      }
      const result = vectors.get(taken);
      if (result === undefined || result.failure !== undefined) {
        refuse("encode_failed", result?.failure ?? "The encoder returned nothing.");
      } else if (taken.worth && result.passages.length === 0) {
        refuse("document_no_text", "The document's text has no tokens.");
      } else {
        const shaped = { shape: run.encoding, hash, text_hash, stored };
        const steps = documentSteps(info, document, result.passages, shaped);
        documents.push({ taken, steps });
        if (taken.worth) counts.encoded += 1;
        else counts.low_quality += 1;
        counts.truncated += result.truncated ? 1 : 0;
        for (const passage of result.passages) counts.tokens += passage.tokens;
      }
    } catch (thrown) {
      refuse(codeOf(thrown), messageOf(thrown));
    }
  }
  return { ...window, documents };
}

function indexable(arrival: Arrival, document: SourceDocument) {
  const { routing, version } = arrival;
  return { ...document, version, ...(routing === undefined ? {} : { routing }) };
}

/** Writes a window and its dead letters. @returns its counts, when everything is acknowledged. */
export async function writeWindow(
  context: WindowContext,
  window: EncodedWindow,
): Promise<SliceCounts> {
  const { writer, patience, metrics } = context;
  const { counts, documents, refusals } = window;
  const started = performance.now();
  const results = await writeDocuments(
    writer,
    documents.map(({ steps }) => steps),
    patience.signal,
  );
  for (const [i, result] of results.entries()) {
    const { arrival, stored } = (documents[i] as EncodedWindow["documents"][number]).taken;
    if (result.status === "written") counts.written += 1;
    else if (result.status === "skipped") counts.superseded += 1;
    else refusals.push({ arrival, stored, code: "document_rejected", reason: result.reason });
  }
  await buryRefusals(context, refusals);
  counts.dead_letters = refusals.length;
  if (documents.length > 0) metrics.bulk((performance.now() - started) / 1_000);
  metrics.count("reindex", counts);
  return counts;
}

/** Keeps the reasons; what an older version of such a document left in the target is removed. */
async function buryRefusals(
  { writer, run, slice, info, patience }: WindowContext,
  refusals: readonly Refusal[],
): Promise<void> {
  if (refusals.length === 0) return;
  const letters: BulkOperation[] = refusals.map(({ arrival, code, reason }) =>
    deadLetterOperation({
      run: run.run,
      slice: slice.number,
      id: arrival.id,
      ...(arrival.routing === undefined ? {} : { routing: arrival.routing }),
      version: arrival.version,
      place: arrival.place,
      code,
      reason,
    }),
  );
  const failed = (await writer.write(letters, patience.signal)).find(
    ({ status }) => status === "failed",
  );
  if (failed?.status === "failed") {
    throw new CspladeError("cluster_rejected", `A dead letter was refused: ${failed.reason}`);
  }
  const stale = refusals.filter(({ stored }) => stored.version !== undefined);
  await writeDocuments(
    writer,
    stale.map(({ arrival, stored }) => deletionSteps(info, arrival, stored)),
    patience.signal,
  );
}

function codeOf(thrown: unknown): ErrorCode {
  return thrown instanceof CspladeError ? thrown.code : "document_rejected";
}
