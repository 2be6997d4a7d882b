/** Ending the two sides of a queue, and their connections, whatever state Redis is in. */
import type { Queue, Worker } from "bullmq";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import type { RedisClient } from "./redis-connection.js";

/** How long Redis may take to hear of an end, milliseconds. */
const HEAR_MS = 5_000;

/** Closes the producer's side. @throws CspladeError `queue_unreachable`; the connection is gone all the same. */
export async function closeQueue(queue: Queue, redis: RedisClient): Promise<void> {
  await end("queue", queue.close(), HEAR_MS, redis);
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
  const late = setTimeout(
    () => stop(new CspladeError("aborted", "The worker is stopping.")),
    deadlineMs,
  );
  try {
    // BullMQ closes once: closing by force after that would wait for the same end.
    await end("worker", worker.close(), deadlineMs + HEAR_MS, redis);
  } finally {
    clearTimeout(late);
  }
}

/** Waits for a side's end, at most `ms` milliseconds, and ends its connection. */
async function end(
  side: "queue" | "worker",
  closing: Promise<void>,
  ms: number,
  redis: RedisClient,
): Promise<void> {
  try {
    await withDeadline(closing, ms, `Closing the ${side}`);
  } catch (cause) {
    const reason = `Closing the ${side} failed: ${messageOf(cause)}`;
    throw new CspladeError("queue_unreachable", reason, { cause });
  } finally {
    redis.disconnect();
  }
}
