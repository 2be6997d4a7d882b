/** The queues of all models together, for those who only look. */
import { Queue } from "bullmq";
import type { Config } from "../config/settings.js";
import { closeQueue } from "./closing.js";
import { kindOf, knownQueues, prefixOf, type QueueKind } from "./queue-options.js";
import { connectRedis } from "./redis-connection.js";

/** Looks at all queues of a prefix. */
export interface QueueOverview {
  /** Jobs per state, summed over the models. */
  counts(): Promise<Record<QueueKind, Record<string, number>>>;
  close(): Promise<void>;
}

/** Connects. @throws CspladeError `queue_unreachable`. */
export async function openQueueOverview(config: Config): Promise<QueueOverview> {
  const redis = await connectRedis(config);
  const queues = new Map<string, Queue>();
  return {
    async counts() {
      const sums: Record<QueueKind, Record<string, number>> = { ingest: {}, reindex: {} };
      for (const name of await knownQueues(config, redis)) {
        let queue = queues.get(name);
        if (queue === undefined) {
          queue = new Queue(name, { connection: redis, prefix: prefixOf(config) });
          queue.on("error", () => {
            // Lost connections come back by themselves; operations report what they could not do.
          });
          queues.set(name, queue);
        }
        const sum = sums[kindOf(name)];
        for (const [state, n] of Object.entries(await queue.getJobCounts())) {
          sum[state] = (sum[state] ?? 0) + n;
        }
      }
      return sums;
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => closeQueue(queue, redis)));
      redis.disconnect();
    },
  };
}
