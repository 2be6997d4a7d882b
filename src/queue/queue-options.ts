/** What both queues have in common: their names, and how BullMQ keeps and gives out their jobs. */
import type { JobsOptions, QueueOptions, WorkerOptions } from "bullmq";
import { keyPrefixOf } from "../config/redis-url.js";
import type { Config } from "../config/settings.js";
import { thisProcess } from "./process-owner.js";
import type { RedisClient } from "./redis-connection.js";
import { saidByRedis } from "./redis-refusal.js";

/** What the jobs of a queue are: chunks of files, slices of reindexings. */
export type QueueKind = "ingest" | "reindex";

/** Jobs of each model have a queue of their own: a worker of another one never sees them. */
export function queueName(kind: QueueKind, fingerprint: string): string {
  return `${kind}-${fingerprint}`;
}

/** What kind of jobs a queue has, by its name. */
export function kindOf(name: string): QueueKind {
  return name.startsWith("ingest-") ? "ingest" : "reindex";
}

/** The fingerprint of a queue's model, by its name. */
export function modelOf(name: string): string {
  return name.slice(name.indexOf("-") + 1);
}

/** Of the jobs per state, those that are not over. */
export function openJobs(counts: Readonly<Record<string, number>>): number {
  return ["waiting", "active", "delayed", "prioritized"].reduce(
    (sum, state) => sum + (counts[state] ?? 0),
    0,
  );
}

/** Notes that there is a queue, for those who look at all of them. @throws CspladeError `queue_refused`. */
export async function registerQueue(
  config: Config,
  redis: RedisClient,
  name: string,
): Promise<void> {
  await saidByRedis("Noting the queue", redis.sadd(registryOf(config), name));
}

/** The queues of all models, by name. */
export async function knownQueues(config: Config, redis: RedisClient): Promise<string[]> {
  return (await redis.smembers(registryOf(config))).sort();
}

/** Prefix of all keys; in a Cluster it is a hash tag. */
export function prefixOf(config: Config): string {
  return keyPrefixOf(config["redis.url"], config["redis.prefix"]);
}

function registryOf(config: Config): string {
  return `${prefixOf(config)}:queues`;
}

/** Options of a producer; `jobs` are those in which the queues differ. */
export function producerOptions(
  config: Config,
  redis: RedisClient,
  jobs: Required<Pick<JobsOptions, "attempts" | "removeOnComplete" | "sizeLimit">>,
): QueueOptions {
  return {
    connection: redis,
    prefix: prefixOf(config),
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
export function consumerOptions(
  config: Config,
  redis: RedisClient,
  concurrency: number,
): WorkerOptions {
  return {
    connection: redis,
    prefix: prefixOf(config),
    concurrency,
    // Kept with a job: whoever finds it worked on can tell whether its worker is gone.
    name: thisProcess,
    lockDuration: config["queue.lock_ms"],
    stalledInterval: config["queue.lock_ms"],
    // Jobs are idempotent, and a stalled one is a lost worker or network, not a bad job.
    maxStalledCount: 1_000,
  };
}
