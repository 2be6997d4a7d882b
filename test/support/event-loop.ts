/** How long code keeps the event loop to itself, whatever else this machine does meanwhile. */
import { readFileSync } from "node:fs";

/** Milliseconds of processor time of this thread, where the system tells; else of the clock. */
export function threadMs(): number {
  try {
    // Linux: nanoseconds on a processor, without those of waiting for one.
    return Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[0]) / 1e6;
  } catch {
    return performance.now();
  }
}

/**
 * The longest time in milliseconds that this thread worked without letting anything else come to
 * its turn, while `work` goes on. Time in which the thread waits for a processor counts as nothing.
 */
export async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  let [longest, going, last] = [0, true, threadMs()];
  const tick = (): void => {
    const now = threadMs();
    longest = Math.max(longest, now - last);
    last = now;
    if (going) setTimeout(tick, 1);
  };
  tick();
  try {
    await work();
  } finally {
    going = false;
  }
  tick();
  return longest;
}
