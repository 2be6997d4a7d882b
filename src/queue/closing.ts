/** Ending the two sides of a queue, and their connections, whatever state Redis is in. */
import type { Queue, Worker } from "bullmq";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { RedisClient } from "./redis-connection.js";

/** Closes the producer's side. @throws CspladeError `queue_unreachable`; the connection is gone all the same. */
export async function closeQueue(queue: Queue, redis: RedisClient): Promise<void> {
  try {
    await queue.close();
  } catch (thrown) {
    throw new CspladeError("queue_unreachable", `Closing the queue failed: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  } finally {
    redis.disconnect();
  }
}

/**
 * Closes the consumer's side: waits for running jobs, at most `deadlineMs` milliseconds.
 * @param stop told, once it is late, to abort the jobs that still run; their locks then expire.
 */
export async function closeWorker(
  worker: Worker,
  redis: RedisClient,
  deadlineMs: number,
  stop: (reason: CspladeError) => void,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), deadlineMs);
  });
  if ((await Promise.race([worker.close(), late])) === "late") {
    stop(new CspladeError("aborted", "The worker is stopping."));
    await worker.close(true);
  }
  clearTimeout(timer);
  redis.disconnect();
}
