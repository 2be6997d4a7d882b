/** The worker of slices: read ahead → encode → write, overlapping, with a checkpoint as it goes. */
import os from "node:os";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError, isDeviceFailure, messageOf } from "../errors/csplade-error.js";
import { bulkWriterOptions, createBulkWriter, type BulkWriter } from "../cluster/bulk-writer.js";
import { readIndexModel } from "../index/csplade-index.js";
import { demandSameModel, modelPhrase } from "../index/index-meta.js";
import { traced } from "../observe/tracing.js";
import { indexModelOf } from "../documents/index-model.js";
import { deviceName, GIVEN_BACK_MS, OTHERS_MS } from "../queue/giving-back.js";
import { isFinal } from "../queue/job-failure.js";
import {
  startSliceWorker,
  type SliceJob,
  type SliceOutcome,
  type SliceSignals,
  type SliceWorker,
} from "../queue/slice-queue.js";
import { patiently } from "../cluster/patience.js";
import { copySlice } from "./copy-slice.js";
import { demandSourceOf } from "./remote-source.js";
import { createRunControls, type RunControls } from "./run-control.js";
import type { RunRecord, SliceCounts, SliceRecord } from "./run-record.js";
import { openRunStore, SliceLostError } from "./run-store.js";
import { afterBrokenDevice, claimSlice } from "./slice-claim.js";
import type { SliceTask, SliceWorkerParts } from "./slice-task.js";
import { sweepSlice } from "./sweep-slice.js";

/** Pause before a released slice is taken again, milliseconds. */
const PAUSED_MS = 5_000;

/** Starts a worker on the queue of slices. @throws CspladeError `queue_unreachable`. */
export async function startReindexWorker(parts: SliceWorkerParts): Promise<SliceWorker> {
  const trouble = parts.onTrouble ?? (() => {});
  const writer = createBulkWriter(parts.cluster, {
    ...bulkWriterOptions(parts.config),
    onRetry({ operations, reason, cause }) {
      parts.metrics.retried(cause, operations);
      trouble(`Writing ${operations} documents again: ${reason}`);
    },
  });
  const name = `${os.hostname()}:${process.pid}`;
  const shared = new AbortController();
  // The steering outlives any one slice.
  const controls = createRunControls(
    openRunStore(parts.cluster, { config: parts.config, signal: shared.signal }),
  );
  const worker = await startSliceWorker(
    parts.config,
    {
      fingerprint: parts.encoder.manifest.fingerprint,
      broken: parts.encoder.broken,
      device: deviceName(parts.config),
      onError: (error) => trouble(`The queue: ${error.message}`),
    },
    (job, signals, last) => handle({ ...parts, writer, controls }, name, job, signals, last),
  );
  return {
    async close(deadlineMs) {
      try {
        await worker.close(deadlineMs);
      } finally {
        shared.abort();
        await writer.close();
      }
    },
  };
}

async function handle(
  parts: SliceWorkerParts & { readonly writer: BulkWriter; readonly controls: RunControls },
  worker: string,
  job: SliceJob,
  signals: SliceSignals,
  last: boolean,
): Promise<SliceOutcome> {
  const { cluster, config, encoder, metrics } = parts;
  const lost = new AbortController();
  const signal = AbortSignal.any([signals.stop, lost.signal]);
  const patience = { config, cluster, signal, onTrouble: parts.onTrouble };
  const store = openRunStore(cluster, patience);
  const run = await parts.controls.current(job.run);
  if (run.control.paused) return { kind: "released", pause_ms: PAUSED_MS };
  const found = await store.readSlice(job.run, job.slice);
  if (found.record.state === "done" || run.state === "done" || run.state === "failed") {
    return { kind: "done" };
  }
  if (signals.drain.aborted || encoder.broken.aborted) return { kind: "released", pause_ms: 0 };
  if (encoder.manifest.fingerprint !== run.model.fingerprint) {
    parts.onTrouble?.(mismatch(encoder, run).message);
    return { kind: "released", pause_ms: OTHERS_MS };
  }
  try {
    demandSourceOf(run, cluster);
  } catch (thrown) {
    parts.onTrouble?.(`Slices of ${run.run} are given back: ${messageOf(thrown)}`);
    return { kind: "released", pause_ms: OTHERS_MS };
  }
  const claim = await claimSlice(store, found, worker);
  metrics.sliceStarted();
  const leave = parts.controls.join(job.run);
  const started = performance.now();
  let error: unknown;
  const { run: name, number: slice, position } = claim.record;
  parts.onSlice?.({ run: name, slice, event: "claimed", position });
  let outcome: "done" | "released" | "failed" | "lost" = "failed";
  try {
    const info = await patiently(patience, () => readIndexModel(cluster, run.target, { signal }));
    demandSameModel(info.model, indexModelOf(encoder.manifest), run.target);
    const task: SliceTask = { ...parts, run, info, drain: signals.drain, signal };
    const { task: kind } = claim.record;
    const attributes = { "csplade.run": name, "csplade.slice": slice, "csplade.task": kind };
    const ended = await traced(
      "csplade.slice",
      attributes,
      async (add) => {
        const before = claim.record.counts;
        try {
          return await (kind === "copy" ? copySlice(task, claim) : sweepSlice(task, claim));
        } finally {
          add(spanCounts(before, claim.record.counts));
        }
      },
      { linkTo: run.traceparent, consumer: true },
    );
    await claim.end(ended === "done" ? "done" : "open");
    outcome = ended === "done" ? "done" : "released";
    if (ended === "done") return { kind: "done" };
    return { kind: "released", pause_ms: ended === "paused" ? PAUSED_MS : 0 };
  } catch (thrown) {
    // What is still in flight must end with the hold.
    lost.abort(new CspladeError("aborted", "The work on the slice has ended."));
    error = thrown;
    if (thrown instanceof SliceLostError) {
      outcome = "lost";
      parts.onTrouble?.(thrown.message);
      return { kind: "done" };
    }
    const unblamed = isDeviceFailure(thrown);
    const isLast = !unblamed && (last || isFinal(thrown));
    const care = unblamed ? afterBrokenDevice(claim.record, deviceName(config)) : { crashes: 0 };
    await letGo(parts, claim.record, thrown, isLast, care);
    if (!unblamed) throw thrown;
    outcome = "released";
    parts.onTrouble?.(`Slice ${slice} of ${name} was given back: ${messageOf(thrown)}`);
    return { kind: "released", pause_ms: GIVEN_BACK_MS };
  } finally {
    leave();
    parts.onSlice?.({
      run: name,
      slice,
      event: outcome,
      position: claim.record.position,
      counts: claim.record.counts,
      seconds: (performance.now() - started) / 1_000,
      ...(error === undefined ? {} : { error }),
    });
    metrics.sliceEnded(outcome);
  }
}

/** Notes why a slice was let go; it stays open unless trying again is of no use. */
async function letGo(
  { cluster, config }: SliceWorkerParts,
  { run, number: slice, claim }: SliceRecord,
  thrown: unknown,
  isLast: boolean,
  care: Partial<SliceRecord>,
): Promise<void> {
  const signal = AbortSignal.timeout(5_000);
  const store = openRunStore(cluster, { config, signal });
  try {
    const now = await store.readSlice(run, slice);
    if (now.record.claim !== claim || now.record.state !== "running") return;
    await store.writeSlice(now, {
      ...now.record,
      state: isLast ? "failed" : "open",
      ...care,
      message: messageOf(thrown).slice(0, 2_000),
      updated_at: new Date().toISOString(),
    });
  } catch {
    // The cluster is away: the slice stays "running" and is claimed again from its checkpoint.
  }
}

/** What was done of a slice, as attributes of its span. */
function spanCounts(before: SliceCounts, after: SliceCounts): Record<string, number> {
  return {
    "csplade.documents": after.read - before.read,
    "csplade.tokens": after.tokens - before.tokens,
    "csplade.dead_letters": after.dead_letters - before.dead_letters,
  };
}

function mismatch(encoder: Encoder, run: RunRecord): CspladeError {
  return new CspladeError(
    "model_mismatch",
    `The run ${run.run} was planned for ${modelPhrase(run.model)}, ` +
      `but this worker has ${modelPhrase(indexModelOf(encoder.manifest))}: its slices are given back.`,
    { hint: "Give all workers the checkpoint of the run (CSPLADE_MODEL)." },
  );
}
