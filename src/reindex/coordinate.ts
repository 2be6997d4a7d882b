/**
 * Brings a run to its end: copy, catch up, verify, catch up again, swap, and follow if asked to. All it
 * knows is in the run's record, so whoever coordinates next goes on where the last one stopped.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { refreshIndex } from "../index/csplade-index.js";
import { activeSpan, traced } from "../observe/tracing.js";
import { withDeadline } from "../waiting/deadline.js";
import { isFinalRefusal, saidByRedis } from "../queue/redis-refusal.js";
import { sliceJobId, type SliceQueue } from "../queue/slice-queue.js";
import { deletesSeen, settledUpTo } from "../sources/index-source.js";
import { demandFewDeadLetters } from "./dead-letter-ceiling.js";
import { releaseWrites } from "./hold-source.js";
import { prepareForLoad, restoreSettings } from "./load-settings.js";
import { demandSameSource, sourceGone } from "./slice-reader.js";
import { countDocuments } from "./missing-documents.js";
import { cutIndex, demandOneOfEachId, openSlice, passOf } from "./plan-run.js";
import { concurrencyOf } from "./run-control.js";
import { lagSeconds } from "./run-numbers.js";
import {
  nextPass,
  withoutMessage,
  type RunRecord,
  type SliceRecord,
  type Verification,
} from "./run-record.js";
import type { RunStore, SliceTotals } from "./run-store.js";
import { noteSwap, swapAlias } from "./swap-alias.js";
import { shardsOf } from "./target-shards.js";
import { verificationLines } from "./verification-lines.js";

/** What coordinating needs. */
export interface Coordination {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly store: RunStore;
  readonly queue: SliceQueue;
  readonly patience: Patience;
  /** Catch-up passes go on until a pass took less, seconds. */
  readonly maxLagSeconds: number;
  /** Checks the new index; the swap needs `ok`. Undefined: swap unchecked. */
  readonly verify: ((run: RunRecord) => Promise<Verification>) | undefined;
  /** Judges the new index by questions: lines for people. The swap needs that it does not throw. */
  readonly judge: ((target: string) => Promise<readonly string[]>) | undefined;
  /** Swap the alias at the end. */
  readonly swap: boolean;
  /** After the swap, go on copying what changes until the signal fires. */
  readonly follow: boolean;
  readonly onProgress: (progress: RunProgress) => void;
  readonly onStep: (message: string) => void;
}

/** Where a run stands. */
export interface RunProgress {
  readonly run: RunRecord;
  readonly totals: SliceTotals;
  /** Age of the newest source state that is copied, seconds; null before the first pass ended. */
  readonly lag_seconds: number | null;
}

/** Pause between two looks at the slices, milliseconds. */
const LOOK_MS = 1_000;

/** How often slices are compared with the queue, milliseconds. */
const REQUEUE_MS = 5_000;

/** Pause between two passes while following, milliseconds. */
const FOLLOW_MS = 2_000;

/** Passes before the swap after which the source is said to change too fast. */
const MANY_PASSES = 50;

/** Passes whose slices are kept while following, at least. */
const PASSES_KEPT = 20;

/** Runs to the end. @throws CspladeError naming what failed; the run can be resumed. */
export async function coordinate(parts: Coordination, runId: string): Promise<RunRecord> {
  const { record } = await parts.store.readRun(runId);
  if (record.state === "done" || record.state === "rolled_back") return record;
  const { run, alias, target } = record;
  const attributes = { "csplade.run": run, "csplade.alias": alias, "csplade.target": target };
  return traced("csplade.run", attributes, async () => {
    const traceparent = activeSpan();
    const known =
      traceparent === undefined
        ? record
        : await parts.store.updateRun(run, (now) => ({ ...now, traceparent }));
    return allPhases(parts, known);
  });
}

async function allPhases(parts: Coordination, begun: RunRecord): Promise<RunRecord> {
  const { store, patience } = parts;
  let run = await releaseWrites(parts, await noteSwap(parts, begun));
  await reopenFailed(parts, run);
  if (run.state === "failed") run = await setState(parts, run, "copying");
  try {
    if (run.previous === undefined && begun.state === "failed") await prepareForLoad(parts, run);
    await tracedPass(parts, run);
    if (run.previous === undefined) run = await copyAndSwap(parts, run);
    while (parts.follow && run.previous !== undefined && !patience.signal.aborted) {
      if (await isRolledBack(parts, run)) break;
      if (run.state !== "following") run = await setState(parts, run, "following");
      await sleep(FOLLOW_MS, undefined, { signal: patience.signal }).catch(() => {});
      run = await sweepIfNeeded(parts, await catchUp(parts, run, { once: true }));
      const first = run.folded?.below ?? 0;
      if (nextPass(run) - first >= 2 * PASSES_KEPT) {
        run = await store.foldPasses(run.run, nextPass(run) - PASSES_KEPT);
      }
      await report(parts, run);
    }
    return await finish(parts, run);
  } catch (thrown) {
    if (!patience.signal.aborted && thrown instanceof CspladeError) {
      const message = thrown.message;
      await store.updateRun(run.run, (now) => ({ ...now, state: "failed", message }));
      // The failure is what counts; the next attempt sets them again.
      await restoreSettings(parts, run, true).catch(() => {});
    }
    throw thrown;
  }
}

/** Everything up to the swap: after it nothing is copied but by `--follow`. */
async function copyAndSwap(parts: Coordination, begun: RunRecord): Promise<RunRecord> {
  let run = await catchUpAndSweep(parts, begun);
  await restoreSettings(parts, run, false);
  run = await verifyRun(parts, run);
  await judgeRun(parts, run);
  run = await catchUpAndSweep(parts, run);
  if (!parts.swap) return run;
  return swapAlias(parts, run, {
    copy: (now) => catchUp(parts, now, { once: true }),
    sweep: (now) => sweep(parts, now),
  });
}

/** Afterwards no document of the new index is in an older state than the source's at the beginning of this. */
async function catchUpAndSweep(parts: Coordination, run: RunRecord): Promise<RunRecord> {
  const caughtUp = await catchUp(parts, run);
  const swept = await sweepIfNeeded(parts, caughtUp);
  // What changed meanwhile is there for the sweep in a newer state than was copied, and taken away.
  return swept === caughtUp ? swept : catchUp(parts, swept, { once: true });
}

/** Whoever takes a swap back ends the following. */
async function isRolledBack({ store }: Coordination, run: RunRecord): Promise<boolean> {
  return (await store.readRun(run.run)).record.state === "rolled_back";
}

async function setState(
  { store }: Coordination,
  run: RunRecord,
  state: RunRecord["state"],
): Promise<RunRecord> {
  return store.updateRun(run.run, (now) =>
    now.state === "rolled_back" ? now : { ...withoutMessage(now), state },
  );
}

/** Slices that failed before get another chance when a run is resumed. */
async function reopenFailed({ store, queue }: Coordination, run: RunRecord): Promise<void> {
  const failed = await store.listSlices(run.run, ["failed"]);
  if (failed.length === 0) return;
  await queue.forgetFailed();
  for (const { number } of failed) {
    const found = await store.readSlice(run.run, number);
    await store.writeSlice(found, { ...withoutMessage(found.record), state: "open" });
  }
}

/** Brings the last pass of a run to its end, within a span. */
async function tracedPass(parts: Coordination, run: RunRecord): Promise<void> {
  const pass = run.passes.at(-1);
  const attributes = {
    "csplade.run": run.run,
    "csplade.pass": pass?.number ?? 0,
    "csplade.task": pass?.task ?? "copy",
    "csplade.slices": pass?.slices ?? 0,
    "csplade.documents": pass?.documents ?? 0,
  };
  await traced("csplade.pass", attributes, () => finishSlices(parts, run));
}

/** Queues the slices that are not done, and waits until all are. */
async function finishSlices(parts: Coordination, run: RunRecord): Promise<void> {
  const { store, patience } = parts;
  let comparedAt = -Infinity;
  for (;;) {
    patience.signal.throwIfAborted();
    const { record } = await store.readRun(run.run);
    const totals = await store.totals(run.run);
    parts.onProgress({ run: record, totals, lag_seconds: lagSeconds({ run: record, totals }) });
    const { open, running, failed } = totals.slices;
    if (open + running === 0) {
      if (failed > 0) throw await slicesFailed(store, run, failed);
      return;
    }
    if (performance.now() - comparedAt >= REQUEUE_MS) {
      comparedAt = performance.now();
      await requeue(parts, run);
      if (running === 0 && !record.control.paused) await sayWhoIsExpected(parts, run, open);
    }
    await sleep(LOOK_MS, undefined, { signal: patience.signal }).catch(() => {});
  }
}

/** Where nobody takes slices, whom they wait for. */
async function sayWhoIsExpected(
  { queue, onStep }: Pick<Coordination, "queue" | "onStep">,
  { model }: RunRecord,
  open: number,
): Promise<void> {
  const workers = await withDeadline(queue.workers(), 5_000, "Asking for the workers").catch(
    () => undefined,
  );
  if (workers !== 0) return;
  onStep(
    `Waiting for a worker: ${open} slices wait, and none with the model ${model.name} (${model.fingerprint}) takes jobs of this Redis and prefix. ` +
      "Start csplade worker with this model there.",
  );
}

/** Adds what is to be done and not in the queue: at first everything, later what Redis forgot. */
async function requeue(
  { store, queue, onStep }: Pick<Coordination, "store" | "queue" | "onStep">,
  run: RunRecord,
): Promise<void> {
  const slices = await store.listSlices(run.run, ["open", "running"]);
  await limitConcurrency({ store, queue }, run);
  try {
    const asking = "Asking for the queue";
    const queued = await withDeadline(saidByRedis(asking, queue.openIds()), 10_000, asking);
    const missing = slices
      .map(({ number }) => ({ format: 1 as const, run: run.run, slice: number }))
      .filter((job) => !queued.has(sliceJobId(job)));
    if (missing.length === 0) return;
    await withDeadline(queue.forgetFailed(), 10_000, "Clearing the queue");
    const adding = "Queueing slices";
    await withDeadline(saidByRedis(adding, queue.add(missing)), 60_000, adding);
  } catch (thrown) {
    if (isFinalRefusal(thrown)) throw thrown;
    // Redis is away; the next comparison adds what is missing.
    if (thrown instanceof CspladeError && thrown.code === "queue_refused") onStep(thrown.message);
  }
}

/** Makes the queue's limit what the runs' records say: Redis may forget it, and runs end. */
async function limitConcurrency(
  { store, queue }: Pick<Coordination, "store" | "queue">,
  { model }: RunRecord,
) {
  const limit = concurrencyOf(await store.listRuns(), model);
  try {
    await withDeadline(queue.setConcurrency(limit), 10_000, "Setting the concurrency");
  } catch {
    // Redis is away; the next comparison with the queue sets it.
  }
}

async function slicesFailed(
  store: RunStore,
  run: RunRecord,
  failed: number,
): Promise<CspladeError> {
  const [first] = await store.listSlices(run.run, ["failed"], 1);
  return new CspladeError(
    "job_failed",
    `${failed} slices of the run ${run.run} failed; the first one, slice ${first?.number ?? "?"}: ${first?.message ?? "no reason was noted"}`,
    { hint: `Mend the cause and go on with: csplade reindex --resume ${run.run}` },
  );
}

/** Passes over what changed, until one is quick enough. */
async function catchUp(
  parts: Coordination,
  before: RunRecord,
  { once = false }: { readonly once?: boolean } = {},
): Promise<RunRecord> {
  const { cluster, store, patience } = parts;
  let run = before;
  const { source } = run;
  if (source.type !== "index") return run;
  for (let passes = 1; ; passes++) {
    await demandSameSource({ run, cluster, patience });
    await demandOneOfEachId(parts, source, run.target_shards ?? source.shards);
    const as_of = new Date().toISOString();
    const up_to = await patiently(patience, () =>
      settledUpTo(cluster, source, patience.signal),
    ).catch((thrown: unknown) => sourceGone({ run, cluster, patience }, thrown));
    const last = run.passes.findLast(({ task }) => task === "copy");
    const number = nextPass(run);
    const first = await nextSlice(store, run);
    const slices = await cutIndex(parts, run, { number, first, after: last?.up_to ?? [], up_to });
    if (slices.length === 0) {
      // Nothing changed: the last pass is as good as this moment.
      run = await store.updateRun(run.run, (now) => ({
        ...now,
        passes: now.passes.map((pass) =>
          pass === now.passes.findLast(isCopy) ? { ...pass, up_to, as_of } : pass,
        ),
      }));
      return run;
    }
    if (run.previous === undefined && run.state !== "catching_up") {
      run = await setState(parts, run, "catching_up");
    }
    const pass = passOf(number, "copy", slices, up_to, as_of);
    parts.onStep(`Catching up: ${pass.documents} documents changed meanwhile.`);
    await store.addSlices(slices);
    run = await store.updateRun(run.run, (now) => ({ ...now, passes: [...now.passes, pass] }));
    await tracedPass(parts, run);
    const lag = (Date.now() - Date.parse(as_of)) / 1_000;
    if (once || lag <= parts.maxLagSeconds) return run;
    if (passes === MANY_PASSES) {
      parts.onStep(
        `The source changes as fast as it is copied: after ${passes} passes the lag is ${lag.toFixed(0)} s. ` +
          "Add workers, or raise --max-lag.",
      );
    }
  }
}

const isCopy = ({ task }: { readonly task: string }) => task === "copy";

/** Looks for documents that the source has no more, if it has seen deletes or the counts say so. */
async function sweepIfNeeded(parts: Coordination, run: RunRecord): Promise<RunRecord> {
  const { cluster, patience } = parts;
  const { source } = run;
  if (source.type !== "index") return run;
  const deletes = await patiently(patience, () =>
    deletesSeen(cluster, source.index, patience.signal),
  );
  if (run.deletes_seen !== undefined && run.deletes_seen !== deletes) return sweep(parts, run);
  // After the swap the new index may have documents of its own.
  if (run.previous !== undefined) return run;
  return (await countDocuments(parts, run)).extra === 0 ? run : sweep(parts, run);
}

/** Removes from the target what the run wrote and the source has no more, or has in a newer state. */
async function sweep(parts: Coordination, run: RunRecord): Promise<RunRecord> {
  const { cluster, store, patience } = parts;
  const { source } = run;
  if (source.type !== "index") return run;
  const deletes_seen = await patiently(patience, () =>
    deletesSeen(cluster, source.index, patience.signal),
  );
  const shards = await patiently(patience, () => shardsOf(cluster, run.target));
  const target = { index: run.target, shards };
  const up_to = await patiently(patience, () => settledUpTo(cluster, target, patience.signal));
  const number = nextPass(run);
  const first = await nextSlice(store, run);
  const slices: SliceRecord[] = [];
  for (const [part, settled] of up_to.entries()) {
    if (settled < 0) continue;
    const range = { from: 0, to: settled + 1, documents: 0 };
    const slice = { number: first + slices.length, pass: number, task: "sweep", part } as const;
    slices.push(openSlice(run, { ...slice, ...range }));
  }
  parts.onStep(`Looking for documents of ${run.target} that ${source.index} has no more.`);
  await store.addSlices(slices);
  const pass = passOf(number, "sweep", slices, [], new Date().toISOString());
  const next = await store.updateRun(run.run, (now) => ({ ...now, passes: [...now.passes, pass] }));
  await tracedPass(parts, next);
  return store.updateRun(run.run, (now) => ({ ...now, deletes_seen }));
}

async function nextSlice(store: RunStore, run: RunRecord): Promise<number> {
  return (await store.lastSlice(run.run)) + 1;
}

async function verifyRun(parts: Coordination, run: RunRecord): Promise<RunRecord> {
  if (parts.verify === undefined) return run;
  await setState(parts, run, "verifying");
  const { verify } = parts;
  const verification = await traced("csplade.verify", { "csplade.run": run.run }, () =>
    verify(run),
  );
  const next = await parts.store.updateRun(run.run, (now) => ({ ...now, verification }));
  for (const line of verificationLines(verification)) parts.onStep(line);
  if (verification.ok) return next;
  const {
    problems,
    dead_letters,
    target_documents: target,
    source_documents: source,
  } = verification;
  const counted = { source, target, dead_letters };
  if (problems.length === 1) demandFewDeadLetters(parts.config, run, counted);
  throw new CspladeError(
    "index_invalid",
    `The new index ${run.target} did not pass the verification: ${problems.join(" ")}`,
    {
      hint: `The alias ${run.alias} was not moved. Look into csplade-dead-letters, mend the cause and resume the run; --no-verify swaps unchecked.`,
    },
  );
}

async function judgeRun({ cluster, patience, judge, onStep }: Coordination, { target }: RunRecord) {
  if (judge === undefined) return;
  await patiently(patience, () => refreshIndex(cluster, target));
  onStep(`Asking ${target} the judged questions.`);
  for (const line of await patiently(patience, () => judge(target))) onStep(line);
}

async function finish(parts: Coordination, run: RunRecord): Promise<RunRecord> {
  const finished_at = new Date().toISOString();
  await restoreSettings(parts, run, true);
  const done = await parts.store.updateRun(run.run, (now) => ({
    ...withoutMessage(now),
    state: now.state === "rolled_back" ? now.state : "done",
    finished_at,
  }));
  await limitConcurrency(parts, done);
  await report(parts, done);
  return done;
}

async function report({ store, onProgress }: Coordination, run: RunRecord): Promise<void> {
  const totals = await store.totals(run.run);
  onProgress({ run, totals, lag_seconds: lagSeconds({ run, totals }) });
}
