/**
 * What happens to the documents of one window: compare with what is stored, encode what changed,
 * write. Every document ends in exactly one of the outcomes written, unchanged, superseded and
 * dead letter.
 */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { carryVectors } from "../documents/carried-vectors.js";
import {
  encodeDocuments,
  judgeDocuments,
  writeReady,
  type JudgedDocument,
  type ReadyDocument,
  type Refusal,
} from "../documents/document-path.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { BulkOperation, WriteResult } from "../cluster/bulk-operation.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import type { IndexInfo } from "../index/csplade-index.js";
import { writeDocuments } from "../index/document-write.js";
import { deletionSteps } from "../index/index-document.js";
import { NOTHING_STORED, readStored, type StoredState } from "../index/stored-state.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
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

type Taken = JudgedDocument<Arrival>;

/** A window of documents whose next step is known. */
export interface PreparedWindow {
  /** Where to go on after it. */
  readonly next: number;
  readonly counts: SliceCounts;
  readonly work: readonly Taken[];
  readonly refusals: Refusal<Arrival>[];
  /** What the target holds of the documents, where it holds any of them. */
  readonly stored: ReadonlyMap<Arrival, StoredState>;
}

/** An encoded window, ready to be written. */
export interface EncodedWindow extends PreparedWindow {
  readonly ready: readonly ReadyDocument<Arrival>[];
  /** Ids of the first documents of which some text was left out. */
  readonly truncated_ids: readonly string[];
}

/** Compares a window with what is stored. */
export async function prepareWindow(
  context: WindowContext,
  arrivals: readonly Arrival[],
): Promise<PreparedWindow> {
  const { run, info, slice } = context;
  const counts = noCounts();
  counts.read = arrivals.length;
  const states = await readStates(context, arrivals);
  const stored = new Map(
    arrivals.flatMap((arrival, i) => (states[i] === undefined ? [] : [[arrival, states[i]]])),
  );
  const current = arrivals.filter((arrival) => {
    const state = stored.get(arrival) ?? NOTHING_STORED;
    if (slice.after_swap && isForeign(state, context)) return false;
    return state.version === undefined || state.version <= arrival.version;
  });
  counts.superseded = arrivals.length - current.length;
  const { judged, refusals } = await judgeDocuments({ info, encoding: run.encoding }, current);
  for (const each of judged) each.stored = stored.get(each.arrival) ?? NOTHING_STORED;
  const work = judged.filter(
    ({ arrival, hash, stored: { hash: there, version } }) =>
      there !== hash || version !== arrival.version,
  );
  counts.unchanged = judged.length - work.length;
  await findVectors(context, work);
  return { next: (arrivals.at(-1) as Arrival).next, counts, work, refusals, stored };
}

/**
 * An application wrote it: another version than that of the write that left the hash, or no hash, which
 * the guard took off. In `documents` mode what lacks one may also be a document of ours that a crash left
 * incomplete.
 */
function isForeign(
  { place, hash, written }: StoredState,
  { run, info }: Pick<WindowContext, "run" | "info">,
): boolean {
  if (place === undefined) return false;
  if (hash === undefined) return info.passages !== "documents";
  return written === undefined ? run.stamped : written !== place.version;
}

/** After the swap applications write too: only the very state that was looked at is replaced. */
function isOverStored({ slice, info }: WindowContext): boolean {
  return slice.after_swap && info.passages !== "documents";
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
  const { cluster, patience, run, info } = context;
  if (run.passages === "documents") return;
  const encodable = work.filter(({ worth }) => worth);
  const kept = encodable.filter(
    ({ stored, hash, text_hash }) => stored.hash === hash || stored.text_hash === text_hash,
  );
  await carryVectors(cluster, patience, info.name, kept);
  if (run.reuse === undefined) return;
  const rest = encodable.filter(({ vectors }) => vectors === undefined);
  await carryVectors(cluster, patience, run.reuse, rest);
}

/** Encodes what has no vector yet. */
export async function encodeWindow(
  context: WindowContext,
  window: PreparedWindow,
): Promise<EncodedWindow> {
  const { encoder, metrics, info, run, patience } = context;
  const { signal } = patience;
  const overStored = isOverStored(context);
  const path = { encoder, metrics, info, encoding: run.encoding, signal, overStored };
  const { ready, refusals, counts } = await encodeDocuments(path, window.work);
  const { encoded, low_quality, reused, truncated, truncated_ids, tokens } = counts;
  Object.assign(window.counts, { encoded, low_quality, reused, truncated, tokens });
  return { ...window, refusals: [...window.refusals, ...refusals], ready, truncated_ids };
}

/** Writes a window and its dead letters. @returns its counts, when everything is acknowledged. */
export async function writeWindow(
  context: WindowContext,
  window: EncodedWindow,
): Promise<SliceCounts> {
  const { writer, patience, metrics } = context;
  const { counts, ready, stored } = window;
  const started = performance.now();
  const written = await writeReady(writer, ready, patience.signal);
  await stampAgain(context, ready, written.results);
  for (const { status } of written.results) {
    if (status === "written") counts.written += 1;
    else if (status === "skipped") counts.superseded += 1;
  }
  const refusals = [...window.refusals, ...written.refusals];
  await buryRefusals(context, refusals, stored);
  counts.dead_letters = refusals.length;
  if (ready.length > 0) metrics.bulk((performance.now() - started) / 1_000);
  metrics.count("reindex", counts);
  return counts;
}

/**
 * A document that was deleted a moment ago and comes again goes on with its old version, which nobody can
 * ask for: its stamp says 1. It is written once more with what the cluster counted.
 */
async function stampAgain(
  { writer, patience }: WindowContext,
  ready: EncodedWindow["ready"],
  results: readonly WriteResult[],
): Promise<void> {
  const again = results.flatMap((result, i) => {
    const place = result.status === "written" ? result.place : undefined;
    if (place === undefined || place.version === 1) return [];
    return [(ready[i] as EncodedWindow["ready"][number]).stepsOver(place)];
  });
  await writeDocuments(writer, again, patience.signal);
}

/** Keeps the reasons; what an older version of such a document left in the target is removed. */
async function buryRefusals(
  context: WindowContext,
  refusals: readonly Refusal<Arrival>[],
  stored: ReadonlyMap<Arrival, StoredState>,
): Promise<void> {
  if (refusals.length === 0) return;
  const { writer, run, slice, info, patience } = context;
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
  const stale = refusals.flatMap(({ arrival }) => {
    const there = stored.get(arrival);
    if (there?.place === undefined) return [];
    const over = isOverStored(context) ? { over: there.place } : {};
    return [deletionSteps(info, { ...arrival, ...over }, there)];
  });
  await writeDocuments(writer, stale, patience.signal);
}
