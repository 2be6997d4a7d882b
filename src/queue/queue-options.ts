/** What both queues have in common: their names, and how BullMQ keeps and gives out their jobs. */
import type { JobsOptions, QueueOptions, WorkerOptions } from "bullmq";
import type { Redis } from "ioredis";
import type { Config } from "../config/settings.js";

/** The queues. */
export const QUEUES = { ingest: "ingest", slices: "reindex" } as const;

/** Options of a producer; `jobs` are those in which the queues differ. */
export function producerOptions(
  config: Config,
  redis: Redis,
  jobs: Required<Pick<JobsOptions, "attempts" | "removeOnComplete" | "sizeLimit">>,
): QueueOptions {
  return {
    connection: redis,
    prefix: config["redis.prefix"],
    defaultJobOptions: {
      ...jobs,
      backoff: { type: "exponential", delay: 1_000, jitter: 0.5 },
      removeOnFail: { age: 7 * 86_400 },
      keepLogs: 0,
    },
    streams: { events: { maxLen: 1_000 } },
  };
}

/** Options of a consumer that works on `concurrency` jobs at once. */
export function consumerOptions(config: Config, redis: Redis, concurrency: number): WorkerOptions {
  return {
    connection: redis,
    prefix: config["redis.prefix"],
    concurrency,
    lockDuration: config["queue.lock_ms"],
    stalledInterval: config["queue.lock_ms"],
    // Jobs are idempotent, and a stalled one is a lost worker or network, not a bad job.
    maxStalledCount: 1_000,
  };
}
