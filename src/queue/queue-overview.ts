/** The queues of all models together, for those who only look. */
import { Queue } from "bullmq";
import type { Config } from "../config/settings.js";
import { closeQueue } from "./closing.js";
import {
  kindOf,
  knownQueues,
  modelOf,
  openJobs,
  prefixOf,
  type QueueKind,
} from "./queue-options.js";
import { connectRedis } from "./redis-connection.js";

/** Looks at all queues of a prefix. */
export interface QueueOverview {
  /** Jobs per state, summed over the models. */
  counts(): Promise<Record<QueueKind, Record<string, number>>>;
  /** Jobs of ingests that are not over, by the fingerprint of their model; a known model may have none. */
  openIngestJobs(): Promise<ReadonlyMap<string, number>>;
  close(): Promise<void>;
}

/** Connects. @throws CspladeError `queue_unreachable`. */
export async function openQueueOverview(config: Config): Promise<QueueOverview> {
  const redis = await connectRedis(config);
  const queues = new Map<string, Queue>();
  /** Jobs per state of every queue, by the queue's name. */
  async function perQueue(): Promise<Map<string, Record<string, number>>> {
    const found = new Map<string, Record<string, number>>();
    for (const name of await knownQueues(config, redis)) {
      let queue = queues.get(name);
      if (queue === undefined) {
        queue = new Queue(name, { connection: redis, prefix: prefixOf(config) });
        queue.on("error", () => {
          // Lost connections come back by themselves; operations report what they could not do.
        });
        queues.set(name, queue);
      }
      found.set(name, await queue.getJobCounts());
    }
    return found;
  }
  return {
    async counts() {
      const sums: Record<QueueKind, Record<string, number>> = { ingest: {}, reindex: {} };
      for (const [name, counts] of await perQueue()) {
        const sum = sums[kindOf(name)];
        for (const [state, n] of Object.entries(counts)) sum[state] = (sum[state] ?? 0) + n;
      }
      return sums;
    },
    async openIngestJobs() {
      const open = new Map<string, number>();
      for (const [name, counts] of await perQueue()) {
        const jobs = kindOf(name) === "ingest" ? openJobs(counts) : 0;
        open.set(modelOf(name), (open.get(modelOf(name)) ?? 0) + jobs);
      }
      return open;
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => closeQueue(queue, redis)));
      redis.disconnect();
    },
  };
}
