/**
 * The queue of slices on BullMQ. A job names a slice and nothing else: what is known of it is in
 * the run's records, so Redis holds some hundred bytes per slice and may even lose them.
 */
import { Queue, UnrecoverableError, Worker, type Job } from "bullmq";
import { z } from "zod";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { closeQueue, closeWorker } from "./closing.js";
import { giveBack, takeNothingAfter, type JobTaker } from "./giving-back.js";
import { consumerOptions, producerOptions, queueName, registerQueue } from "./queue-options.js";
import { isFinal } from "./job-failure.js";
import { connectRedis } from "./redis-connection.js";

/** Attempts of a job, each from the slice's checkpoint on, before the slice counts as failed. */
const ATTEMPTS = 5;

const jobSchema = z.object({
  format: z.literal(1),
  run: z.string(),
  slice: z.number().int().min(0),
});

/** A job of the queue. */
export type SliceJob = z.infer<typeof jobSchema>;

/** What a handler can say of a job it did not finish. */
export type SliceOutcome =
  | { readonly kind: "done" }
  /** Not finished for now; to be taken again, by anybody, after a pause. */
  | { readonly kind: "released"; readonly pause_ms: number };

/** The coordinator's side. */
export interface SliceQueue {
  /**
   * Adds jobs; those already queued stay as they are. The first of them go before the later ones of
   * other runs, so that runs share the workers.
   */
  add(jobs: readonly SliceJob[]): Promise<void>;
  /** Ids ({@link sliceJobId}) of all jobs that are queued or worked on. */
  openIds(): Promise<Set<string>>;
  /** Jobs whose attempts are used up are forgotten, so that they can be added again. */
  forgetFailed(): Promise<void>;
  /** Slices at once of all workers together; null removes the limit. */
  setConcurrency(concurrency: number | null): Promise<void>;
  /** Workers that take its jobs. */
  workers(): Promise<number>;
  /** Jobs per state. */
  counts(): Promise<Record<string, number>>;
  close(): Promise<void>;
}

/** The worker's side. */
export interface SliceWorker {
  /** Takes no new job and lets running ones come to a checkpoint; then, or at the deadline, ends. */
  close(deadlineMs: number): Promise<void>;
}

/** Id of a slice's job. */
export function sliceJobId({ run, slice }: Pick<SliceJob, "run" | "slice">): string {
  return `${run}.${slice}`;
}

/** Jobs added per round trip. */
const JOBS_PER_REQUEST = 1_000;

/** Highest number that BullMQ takes for a priority. */
const MOST_PRIORITY = 2_097_151;

/**
 * Connects the coordinator's side.
 * @param fingerprint of the model that the slices are for.
 * @throws CspladeError `queue_unreachable`.
 */
export async function openSliceQueue(config: Config, fingerprint: string): Promise<SliceQueue> {
  const redis = await connectRedis(config);
  const name = queueName("reindex", fingerprint);
  await registerQueue(config, redis, name);
  const jobs = { attempts: ATTEMPTS, removeOnComplete: true, sizeLimit: 10_000 };
  const queue = new Queue(name, producerOptions(config, redis, jobs));
  queue.on("error", () => {
    // Lost connections come back by themselves; operations report what they could not do.
  });
  return {
    async add(jobs) {
      for (let from = 0; from < jobs.length; from += JOBS_PER_REQUEST) {
        await queue.addBulk(
          jobs.slice(from, from + JOBS_PER_REQUEST).map((data, i) => ({
            name: "slice",
            data,
            opts: { jobId: sliceJobId(data), priority: Math.min(MOST_PRIORITY, 1 + from + i) },
          })),
        );
      }
    },
    async openIds() {
      const ids = await queue.getRanges(["waiting", "active", "delayed", "prioritized"]);
      return new Set(ids);
    },
    async forgetFailed() {
      await queue.clean(0, 100_000, "failed");
    },
    async setConcurrency(concurrency) {
      if (concurrency === null) await queue.removeGlobalConcurrency();
      else await queue.setGlobalConcurrency(concurrency);
    },
    workers: () => queue.getWorkersCount(),
    counts: () => queue.getJobCounts(),
    close: () => closeQueue(queue, redis),
  };
}

/** How a worker's job may be told to stop. */
export interface SliceSignals {
  /** Come to a checkpoint and release the slice. */
  readonly drain: AbortSignal;
  /** Stop at once: the lock is lost, or the time to drain is over. */
  readonly stop: AbortSignal;
}

/** What a worker does with a job. `last` is true at its last attempt. */
export type SliceHandler = (
  job: SliceJob,
  signals: SliceSignals,
  last: boolean,
) => Promise<SliceOutcome>;

/** Starts a worker of slices. @throws CspladeError `queue_unreachable`. */
export async function startSliceWorker(
  config: Config,
  taker: JobTaker,
  handler: SliceHandler,
): Promise<SliceWorker> {
  const redis = await connectRedis(config);
  const drain = new AbortController();
  const stops = new Map<string, AbortController>();
  const name = queueName("reindex", taker.fingerprint);
  await registerQueue(config, redis, name);
  const worker = new Worker(
    name,
    async (job: Job, token?: string) => {
      const data = jobSchema.safeParse(job.data);
      if (!data.success) throw new UnrecoverableError("The job is of another version of csplade.");
      const stop = new AbortController();
      stops.set(job.id ?? "", stop);
      try {
        const last = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
        const signals = { drain: drain.signal, stop: stop.signal };
        const outcome = await handler(data.data, signals, last);
        if (outcome.kind === "released") {
          await giveBack(job, token, outcome.pause_ms);
        }
      } catch (thrown) {
        if (isFinal(thrown)) throw new UnrecoverableError(messageOf(thrown));
        throw thrown;
      } finally {
        stops.delete(job.id ?? "");
      }
    },
    consumerOptions(config, redis, config["reindex.concurrency"]),
  );
  worker.on("error", taker.onError);
  takeNothingAfter(worker, taker.broken);
  worker.on("lockRenewalFailed", (ids) => {
    for (const id of ids) {
      stops.get(id)?.abort(new CspladeError("aborted", "The lock of the slice was lost."));
    }
  });
  await worker.waitUntilReady();
  return {
    async close(deadlineMs) {
      drain.abort();
      await closeWorker(worker, redis, deadlineMs, (reason) => {
        for (const stop of stops.values()) stop.abort(reason);
      });
    },
  };
}
