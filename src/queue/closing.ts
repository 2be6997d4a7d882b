/** Ending the two sides of a queue, and their connections, whatever state Redis is in. */
import type { Queue, Worker } from "bullmq";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import type { RedisClient } from "./redis-connection.js";

/** How long Redis may take to hear of an end, milliseconds. */
const HEAR_MS = 5_000;

/** Closes the producer's side. @throws CspladeError `queue_unreachable`; the connection is gone all the same. */
export async function closeQueue(queue: Queue, redis: RedisClient): Promise<void> {
  try {
    await withDeadline(queue.close(), HEAR_MS, "Closing the queue");
  } catch (thrown) {
    throw unheard("queue", thrown);
  } finally {
    redis.disconnect();
  }
}

/**
 * Closes the consumer's side: waits for running jobs, at most `deadlineMs` milliseconds, and then a few
 * seconds for what they leave.
 * @param stop told, once it is late, to abort the jobs that still run; their locks then expire.
 * @throws CspladeError `queue_unreachable` if Redis does not hear of it; the connection is gone all the same.
 */
export async function closeWorker(
  worker: Worker,
  redis: RedisClient,
  deadlineMs: number,
  stop: (reason: CspladeError) => void,
): Promise<void> {
  // BullMQ closes once: closing by force after that would wait for the same end.
  const closing = worker.close();
  const late = setTimeout(
    () => stop(new CspladeError("aborted", "The worker is stopping.")),
    deadlineMs,
  );
  try {
    await withDeadline(closing, deadlineMs + HEAR_MS, "Closing the worker");
  } catch (thrown) {
    throw unheard("worker", thrown);
  } finally {
    clearTimeout(late);
    redis.disconnect();
  }
}

function unheard(what: string, cause: unknown): CspladeError {
  return new CspladeError("queue_unreachable", `Closing the ${what} failed: ${messageOf(cause)}`, {
    cause,
  });
}
