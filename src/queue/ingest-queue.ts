/**
 * The ingest queue on BullMQ. Redis may lose its last second when it is killed
 * (AOF with fsync every second), so whoever adds jobs keeps asking for their
 * outcome by id and adds again what Redis forgot; jobs are idempotent.
 */
import { Job, Queue, UnrecoverableError, Worker } from "bullmq";
import type { Config } from "../config/settings.js";
import { isDeviceFailure } from "../errors/csplade-error.js";
import { closeQueue, closeWorker } from "./closing.js";
import {
  giveBack,
  GIVEN_BACK_MS,
  OTHERS_MS,
  takeNothingAfter,
  type JobTaker,
} from "./giving-back.js";
import {
  ingestJobResultSchema,
  ingestJobSchema,
  type IngestJob,
  type IngestJobResult,
} from "./ingest-job.js";
import { jobFailure } from "./job-failure.js";
import { consumerOptions, producerOptions, queueName, registerQueue } from "./queue-options.js";
import { connectRedis } from "./redis-connection.js";

/** Attempts of a job before it counts as failed. */
const ATTEMPTS = 4;

/** How a job stands. */
export type JobOutcome =
  | { readonly state: "open" }
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
  queue.on("error", () => {
    // Lost connections come back by themselves; operations report what they could not do.
  });
  return {
    async add(id, job, ahead) {
      await queue.add("chunk", job, { jobId: id, priority: 1 + ahead });
    },
    async outcome(id) {
      const job = await Job.fromId<IngestJob, unknown>(queue, id);
      if (job === undefined) return { state: "missing" };
      if (job.finishedOn === undefined) return { state: "open" };
      if (await job.isFailed()) return { state: "failed", reason: job.failedReason };
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

/** What a worker does with a job; `signal` aborts when the worker is closing late. */
export type IngestHandler = (job: IngestJob, signal: AbortSignal) => Promise<IngestJobResult>;

/**
 * Starts a worker. A job of another model, and one that met a broken device, goes back unblamed;
 * errors that trying again cannot mend fail a job at once, and others cost it an attempt.
 * @throws CspladeError `queue_unreachable`.
 */
export async function startIngestWorker(
  config: Config,
  taker: JobTaker,
  handler: IngestHandler,
): Promise<IngestWorker> {
  const redis = await connectRedis(config);
  const stop = new AbortController();
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
      active += 1;
      try {
        return await handler(data.data, stop.signal);
      } catch (thrown) {
        if (isDeviceFailure(thrown)) {
          taker.onError(thrown);
          return await giveBack(job, token, GIVEN_BACK_MS);
        }
        throw jobFailure(thrown);
      } finally {
        active -= 1;
      }
    },
    consumerOptions(config, redis, config["ingest.concurrency"]),
  );
  worker.on("error", taker.onError);
  takeNothingAfter(worker, taker.broken);
  await worker.waitUntilReady();
  return {
    isBusy: () => active > 0,
    close: (deadlineMs) => closeWorker(worker, redis, deadlineMs, (reason) => stop.abort(reason)),
  };
}
