/**
 * One run of an ingest: scans the sources into chunks, queues them, follows every
 * job to its end, and accounts for every document: read = written + skipped + failed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config/settings.js";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import { ingestJobId, type IngestJob, type IngestJobResult } from "../queue/ingest-job.js";
import type { IngestQueue, JobOutcome } from "../queue/ingest-queue.js";
import { isFinalRefusal, saidByRedis } from "../queue/redis-refusal.js";
import type { DocumentFailure } from "../sources/chunk.js";
import type { DeadLetterFile } from "../sources/dead-letters.js";
import { waitTeller, type WaitTeller } from "./ingest-wait.js";
import {
  countFailures,
  type FailureKind,
  type FileFailureExample,
} from "../sources/failure-kinds.js";
import { firstTruncated } from "../documents/document-path.js";
import { besideOf, type Beside } from "../sources/found-document.js";
import { scan } from "../sources/scan.js";
import type { ScannedChunk } from "../sources/scan-protocol.js";
import type { SourceFile } from "../sources/source-file.js";

/** Where a run stands. */
export interface IngestCounts {
  /** Documents found in the sources, good or bad. */
  read: number;
  encoded: number;
  /** Documents the cluster acknowledged. */
  written: number;
  /** Documents that are in the index already, unchanged. */
  skipped: number;
  failed: number;
  /** Documents of which some text was left out (`ingest.max_passages`). */
  truncated: number;
  /** Ids of the first of them. */
  truncated_ids: string[];
  /** Documents written without a vector, because their quality is below `ingest.min_quality`. */
  low_quality: number;
  passages: number;
  tokens: number;
  /** Term weights written, over all passages. */
  terms: number;
  /** Bytes of the sources that are accounted for. */
  bytes_done: number;
  /** The failed documents by their code. */
  failures: FailureKind<FileFailureExample>[];
}

/** What a run needs. */
export interface IngestRun {
  readonly config: Config;
  readonly queue: IngestQueue;
  /** Names the run in job ids. */
  readonly run: string;
  readonly files: readonly SourceFile[];
  /** Everything a job needs besides its chunk. */
  readonly job: Omit<IngestJob, "format" | "run" | "chunk">;
  readonly deadLetters: DeadLetterFile;
  readonly onProgress: (counts: IngestCounts) => void;
  /** Told what the run waits for, while it waits. */
  readonly onWait?: ((message: string) => void) | undefined;
  readonly signal: AbortSignal;
}

/** Jobs that are queued and not accounted for: bounds Redis and memory. */
const MAX_OPEN_JOBS = 64;

/** Pause between two looks at the open jobs, milliseconds. */
const POLL_MS = 200;

interface OpenJob {
  readonly id: string;
  readonly job: IngestJob;
  readonly scanned: ScannedChunk;
}

/** A run's counts with nothing counted. */
function noCounts(): IngestCounts {
  return {
    read: 0,
    encoded: 0,
    written: 0,
    skipped: 0,
    failed: 0,
    truncated: 0,
    truncated_ids: [],
    low_quality: 0,
    passages: 0,
    tokens: 0,
    terms: 0,
    bytes_done: 0,
    failures: [],
  };
}

/**
 * Runs to the end. An interrupted run removes its waiting jobs and throws; running it
 * again is safe, since ids are deterministic and unchanged documents are skipped.
 * @throws CspladeError `queue_unreachable` if Redis stays away longer than `write.max_wait_ms`,
 *   `job_failed` if a job did, `aborted`, `source_unreadable`.
 */
export async function runIngest(run: IngestRun): Promise<IngestCounts> {
  const counts = noCounts();
  const open = new Map<string, OpenJob>();
  const teller = waitTeller(run.queue, run.job.fingerprint, run.onWait ?? (() => {}));
  const workFailures: FailureKind<FileFailureExample>[] = [];
  let number = 0;
  try {
    for await (const scanned of scan(scanRequest(run), run.signal)) {
      counts.read += scanned.read;
      await fail(run, counts, scanned.failures);
      if (scanned.documents === 0) {
        counts.bytes_done += scanned.chunk.bytes;
        continue;
      }
      while (open.size >= MAX_OPEN_JOBS) await settleSome(run, counts, open, workFailures, teller);
      const id = ingestJobId(run.run, number++);
      const job: IngestJob = { ...run.job, format: 1, run: run.run, chunk: scanned.chunk };
      open.set(id, { id, job, scanned });
      await patiently(run, "Adding a job", () => run.queue.add(id, job, open.size - 1));
      run.onProgress(counts);
    }
    while (open.size > 0) await settleSome(run, counts, open, workFailures, teller);
    return counts;
  } catch (thrown) {
    await Promise.allSettled(
      [...open.keys()].map((id) => withDeadline(run.queue.remove(id), 2_000, "Removing a job")),
    );
    throw thrown;
  }
}

function scanRequest(run: IngestRun): Parameters<typeof scan>[0] {
  return {
    files: run.files,
    fields: {
      id_field: run.job.id_field,
      text_fields: run.job.text_fields,
      html_fields: run.job.html_fields,
    },
    max_document_bytes: run.config["ingest.max_document_bytes"],
    job_documents: run.config["ingest.job_documents"],
    job_bytes: run.config["ingest.job_bytes"],
    ahead: 4,
  };
}

/** Looks at the open jobs once and accounts for those that ended; pauses if none did. */
async function settleSome(
  run: IngestRun,
  counts: IngestCounts,
  open: Map<string, OpenJob>,
  workFailures: FailureKind<FileFailureExample>[],
  teller: WaitTeller,
): Promise<void> {
  run.signal.throwIfAborted();
  const outcomes = await patiently(run, "Asking for the jobs", () =>
    Promise.all(
      [...open.values()].map(async (job) => [job, await run.queue.outcome(job.id)] as const),
    ),
  );
  let settled = 0;
  for (const [job, outcome] of outcomes) {
    if (outcome.state === "open") continue;
    if (outcome.state === "missing" || outcome.state === "dropped") {
      // Redis lost it with its last second, or a worker the run's life with it: add it again.
      if (outcome.state === "dropped") {
        await patiently(run, "Removing a job", () => run.queue.remove(job.id));
      }
      await patiently(run, "Adding a job again", () => run.queue.add(job.id, job.job, 0));
      continue;
    }
    await account(run, counts, workFailures, job, outcome);
    open.delete(job.id);
    settled += 1;
    await patiently(run, "Removing a job", () => run.queue.remove(job.id));
  }
  run.onProgress(counts);
  if (settled > 0) teller.settled();
  else await withDeadline(teller.waits(open.size), 5_000, "Asking for the workers").catch(() => {});
  if (settled === 0) await sleep(POLL_MS, undefined, { signal: run.signal }).catch(() => {});
  run.signal.throwIfAborted();
}

async function account(
  run: IngestRun,
  counts: IngestCounts,
  workFailures: FailureKind<FileFailureExample>[],
  { scanned }: OpenJob,
  outcome: Extract<JobOutcome, { state: "done" | "failed" }>,
): Promise<void> {
  if (outcome.state === "failed") throw jobFailed(run, scanned, outcome.reason);
  counts.bytes_done += scanned.chunk.bytes;
  const result: IngestJobResult = outcome.result;
  counts.encoded += result.encoded;
  counts.written += result.written;
  counts.skipped += result.skipped;
  counts.truncated += result.truncated;
  counts.truncated_ids = firstTruncated(counts.truncated_ids, result.truncated_ids);
  counts.low_quality += result.low_quality;
  counts.passages += result.passages;
  counts.tokens += result.tokens;
  counts.terms += result.terms;
  const failures = result.failures.map(({ id, code, beside, ...failure }) => ({
    ...failure,
    code: code as ErrorCode,
    ...(id === undefined ? {} : { id }),
    ...noted(beside),
  }));
  await fail(run, counts, failures);
  stopIfAllFail(counts, workFailures, named(run, failures));
}

/** Documents that may fail at work, and for one reason, before a run without a success is stopped. */
const MOST_FAILURES_AT_FIRST = 1_000;

/**
 * Stops a run whose documents could be read and all fail where they are encoded or written.
 * @param kinds what failed there so far; the new failures are added
 * @throws CspladeError with the code of the failures.
 */
function stopIfAllFail(
  counts: IngestCounts,
  kinds: FailureKind<FileFailureExample>[],
  failures: readonly DocumentFailure[],
): void {
  countFailures(kinds, failures);
  const [only, ...others] = kinds;
  const isSuccess = counts.written + counts.skipped > 0;
  if (isSuccess || only === undefined || others.length > 0 || only.count < MOST_FAILURES_AT_FIRST)
    return;
  const { reason, file, line, id } = only.example;
  throw new CspladeError(
    only.code,
    `The first ${only.count} documents failed for one reason, so the run was stopped: ${reason} ` +
      `(${id ?? `line ${line} of ${file}`})`,
    { hint: "Mend the cause and run the command again; the dead-letter file has them all." },
  );
}

async function fail(
  run: IngestRun,
  counts: IngestCounts,
  failures: readonly DocumentFailure[],
): Promise<void> {
  counts.failed += failures.length;
  countFailures(counts.failures, named(run, failures));
  await run.deadLetters.add(failures);
}

/** Failures by the names of their inputs, which spools hide. */
function named(run: IngestRun, failures: readonly DocumentFailure[]): DocumentFailure[] {
  return failures.map((failure) => ({ ...failure, file: nameOf(run, failure.file) }));
}

function nameOf({ files }: IngestRun, path: string): string {
  const file = files.find((each) => each.path === path);
  return file?.spooled === true ? file.origin.name : path;
}

/** A job that failed as a whole is no document's fault: the run stops, and none of them is buried. */
function jobFailed(
  run: IngestRun,
  { chunk, documents }: ScannedChunk,
  reason: string,
): CspladeError {
  return new CspladeError(
    "job_failed",
    `${documents} documents from line ${chunk.first_line} of ${nameOf(run, chunk.file)} on were not written: ${reason}`,
    {
      hint: "None of them is a dead letter. Mend the cause and run the command again: what was written is skipped.",
    },
  );
}

/** What a failure notes of what stood beside its document. */
function noted(
  found: { readonly [name in keyof Beside]: Beside[name] | undefined } = {},
): Pick<DocumentFailure, "beside"> {
  const beside = besideOf(found);
  return beside === undefined ? {} : { beside };
}

/**
 * Repeats an idempotent queue operation while Redis is away or refuses for a time, up to
 * `write.max_wait_ms`. What Redis says is told at once.
 */
async function patiently<T>(
  run: IngestRun,
  doing: string,
  operation: () => Promise<T>,
): Promise<T> {
  const giveUpAt = performance.now() + run.config["write.max_wait_ms"];
  for (let said = false; ;) {
    run.signal.throwIfAborted();
    try {
      return await withDeadline(saidByRedis(doing, operation()), 5_000, doing);
    } catch (cause) {
      if (isFinalRefusal(cause)) throw cause;
      const isRefused = cause instanceof CspladeError && cause.code === "queue_refused";
      if (isRefused && !said) run.onWait?.(`Waiting for Redis: ${cause.message}`);
      said ||= isRefused;
      if (performance.now() >= giveUpAt) {
        if (isRefused) throw cause;
        throw new CspladeError("queue_unreachable", `${doing} failed: Redis does not answer.`, {
          cause,
          hint: "Bring Redis back and run the command again: what was written is skipped.",
        });
      }
      await sleep(POLL_MS, undefined, { signal: run.signal }).catch(() => {});
    }
  }
}
