/**
 * The ingest queue on BullMQ. Redis may lose its last second when it is killed
 * (AOF with fsync every second), so whoever adds jobs keeps asking for their
 * outcome by id and adds again what Redis forgot; jobs are idempotent.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Job, Queue, UnrecoverableError, Worker } from "bullmq";
import type { Config } from "../config/settings.js";
import { CspladeError, isDeviceFailure } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import { closeQueue, closeWorker } from "./closing.js";
import {
  giveBack,
  GIVEN_BACK_MS,
  OTHERS_MS,
  takeNothingAfter,
  type JobTaker,
} from "./giving-back.js";
import {
  droppedSchema,
  ingestJobResultSchema,
  ingestJobSchema,
  runOfJob,
  type IngestJob,
  type IngestJobResult,
} from "./ingest-job.js";
import { careAfter } from "./job-care.js";
import { jobFailure } from "./job-failure.js";
import {
  fenceJob,
  RunOverError,
  UnconfirmedError,
  type HeldFence,
  type JobFence,
} from "./job-fence.js";
import { isGone } from "./process-owner.js";
import { saidByRedis } from "./redis-refusal.js";
import { runLives, type RunLease, type RunLives } from "./run-lease.js";
import { consumerOptions, producerOptions, queueName, registerQueue } from "./queue-options.js";
import { connectRedis, type RedisClient } from "./redis-connection.js";

/** What a job of a run that is over returns. */
const DROPPED = { dropped: true } as const;

/** Attempts of a job before it counts as failed. */
const ATTEMPTS = 4;

/** How a job stands. */
export type JobOutcome =
  | { readonly state: "open" }
  /** Its worker took the run for dead: if it lives, the job must be added again. */
  | { readonly state: "dropped" }
  /** Redis does not know the job: it must be added (again). */
  | { readonly state: "missing" }
  | { readonly state: "done"; readonly result: IngestJobResult }
  /** The reason begins with the code of the error. */
  | { readonly state: "failed"; readonly reason: string };

/** The producer's side. */
export interface IngestQueue {
  /**
   * Adds a job; adding the same id again does nothing.
   * @param ahead open jobs of the same run: of the jobs of two runs, the one with fewer goes first, so
   *   that a short ingest does not wait for the end of a long one.
   */
  add(id: string, job: IngestJob, ahead: number): Promise<void>;
  /**
   * Begins a run: ends those whose commands are gone, and returns when no worker holds a job of them.
   * @param onWait told what is waited for.
   */
  begin(run: string, signal: AbortSignal, onWait: (message: string) => void): Promise<RunLease>;
  /** Whether no other run lives. */
  isAlone(run: string): Promise<boolean>;
  /** How a job stands now. */
  outcome(id: string): Promise<JobOutcome>;
  /** Workers that take its jobs. */
  workers(): Promise<number>;
  /** Jobs per state. */
  counts(): Promise<Record<string, number>>;
  /** Forgets a finished or waiting job. */
  remove(id: string): Promise<void>;
  close(): Promise<void>;
}

/** The consumer's side. */
export interface IngestWorker {
  /** True while it works on a job. */
  isBusy(): boolean;
  /** Takes no new job, lets the running ones end (or stops waiting for them after the deadline). */
  close(deadlineMs: number): Promise<void>;
}

/**
 * Connects the producer's side.
 * @param fingerprint of the model that the jobs are for.
 * @throws CspladeError `queue_unreachable`.
 */
export async function openIngestQueue(config: Config, fingerprint: string): Promise<IngestQueue> {
  const redis = await connectRedis(config);
  const name = queueName("ingest", fingerprint);
  await registerQueue(config, redis, name);
  const jobs = {
    attempts: ATTEMPTS,
    // Kept until its producer has read the result; the age bounds what a dead producer leaves.
    removeOnComplete: { age: 86_400 },
    sizeLimit: 1_000_000,
  };
  const queue = new Queue(name, producerOptions(config, redis, jobs));
  const lives = runLives(config, redis);
  queue.on("error", () => {
    // Lost connections come back by themselves; operations report what they could not do.
  });
  return {
    async add(id, job, ahead) {
      await queue.add("chunk", job, { jobId: id, priority: 1 + ahead });
    },
    async begin(run, signal, onWait) {
      const doing = "Beginning the run";
      const lease = await saidByRedis(doing, lives.hold(run));
      try {
        await saidByRedis(doing, lives.endDead(signal, onWait));
        await saidByRedis(doing, removeDeadJobs(queue, redis, lives, signal, onWait));
      } catch (thrown) {
        await lease.end();
        throw thrown;
      }
      return lease;
    },
    isAlone: (run) => lives.isAlone(run),
    async outcome(id) {
      const job = await Job.fromId<IngestJob, unknown>(queue, id);
      if (job === undefined) return { state: "missing" };
      if (job.finishedOn === undefined) return { state: "open" };
      if (await job.isFailed()) return { state: "failed", reason: job.failedReason };
      if (droppedSchema.safeParse(job.returnvalue).success) return { state: "dropped" };
      const result = ingestJobResultSchema.safeParse(job.returnvalue);
      return result.success
        ? { state: "done", result: result.data }
        : { state: "failed", reason: "The worker returned something else than a result." };
    },
    workers: () => queue.getWorkersCount(),
    counts: () => queue.getJobCounts(),
    async remove(id) {
      await queue.remove(id);
    },
    close: () => closeQueue(queue, redis),
  };
}

const ALL_STATES = ["waiting", "prioritized", "delayed", "completed", "failed", "active"] as const;

/** Removes the jobs of runs that are over, and waits for those that are worked on. */
async function removeDeadJobs(
  queue: Queue,
  redis: RedisClient,
  lives: RunLives,
  signal: AbortSignal,
  onWait: (message: string) => void,
): Promise<void> {
  const isLive = new Map<string, boolean>();
  for (const id of await queue.getRanges([...ALL_STATES])) {
    const run = runOfJob(id);
    if (!isLive.has(run)) isLive.set(run, await lives.isLive(run));
    if (isLive.get(run) === true) continue;
    for (let said = false; await isHeld(queue, redis, id); said = true) {
      if (!said)
        onWait(`Waiting for a worker to let go of a job of the run ${run}, which is over.`);
      await sleep(200, undefined, { signal }).catch(() => {});
      signal.throwIfAborted();
    }
    // One whose worker is gone is still locked: a worker that finds it will drop it.
    await queue.remove(id);
  }
}

/** True while a worker that may be there has a job's lock. */
async function isHeld(queue: Queue, redis: RedisClient, id: string): Promise<boolean> {
  if ((await redis.exists(`${queue.toKey(id)}:lock`)) === 0) return false;
  const job = await Job.fromId(queue, id);
  return job !== undefined && !isGone(job.processedBy ?? "");
}

/** What a worker does with a job, as long as the fence lets it. */
export type IngestHandler = (job: IngestJob, fence: JobFence) => Promise<IngestJobResult>;

/**
 * Starts a worker. A job of a run that is over is dropped. A job of another model, and one that met a
 * broken device or a silent Redis, goes back unblamed; errors that trying again cannot mend fail a job at once, and others cost it an attempt.
 * @throws CspladeError `queue_unreachable`.
 */
export async function startIngestWorker(
  config: Config,
  taker: JobTaker,
  handler: IngestHandler,
): Promise<IngestWorker> {
  const redis = await connectRedis(config);
  const lives = runLives(config, redis);
  const fences = new Map<string, HeldFence>();
  let active = 0;
  const name = queueName("ingest", taker.fingerprint);
  await registerQueue(config, redis, name);
  const worker = new Worker(
    name,
    async (job: Job, token?: string) => {
      const data = ingestJobSchema.safeParse(job.data);
      if (!data.success) throw new UnrecoverableError("The job is of another version of csplade.");
      if (data.data.fingerprint !== taker.fingerprint) {
        return await giveBack(job, token, OTHERS_MS);
      }
      const { run } = data.data;
      const fence = fenceJob(run, (asked) => lives.isLive(asked), config["queue.lock_ms"] / 2);
      fences.set(job.id ?? "", fence);
      active += 1;
      try {
        await fence.demandLive();
        return await handler(data.data, fence);
      } catch (thrown) {
        if (fence.signal.reason instanceof RunOverError) return DROPPED;
        // Its files may have gone with the run.
        const isLive = await withDeadline(lives.isLive(run), 2_000, "Asking").catch(() => true);
        if (!isLive) return DROPPED;
        if (fence.signal.reason instanceof UnconfirmedError) {
          return await giveBack(job, token, GIVEN_BACK_MS);
        }
        if (isDeviceFailure(thrown)) {
          taker.onError(thrown);
          const care = careAfter(data.data.care, taker.device, thrown);
          // A Redis that is away forgets it, and is asked again by the next device.
          await job.updateData({ ...data.data, care }).catch(taker.onError);
          return await giveBack(job, token, GIVEN_BACK_MS);
        }
        throw jobFailure(thrown);
      } finally {
        active -= 1;
        fence.close();
        fences.delete(job.id ?? "");
      }
    },
    consumerOptions(config, redis, config["ingest.concurrency"]),
  );
  worker.on("error", taker.onError);
  takeNothingAfter(worker, taker.broken);
  worker.on("lockRenewalFailed", (ids) => {
    for (const id of ids) {
      fences.get(id)?.abort(new CspladeError("aborted", "The lock of the job was lost."));
    }
  });
  await worker.waitUntilReady();
  return {
    isBusy: () => active > 0,
    close: (deadlineMs) =>
      closeWorker(worker, redis, deadlineMs, (reason) => {
        for (const fence of fences.values()) fence.abort(reason);
      }),
  };
}
