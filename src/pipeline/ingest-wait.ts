/** Says what an ingest waits for while none of its jobs ends. */
import type { IngestQueue } from "../queue/ingest-queue.js";
import { openJobs } from "../queue/queue-options.js";

/** After so long without an ended job it is said what is waited for, and as often again, milliseconds. */
const SAY_MS = 5_000;

/** Says what is waited for. */
export interface WaitTeller {
  /** Some jobs ended just now. */
  settled(): void;
  /** No job ended; `open` of the run's are waiting or worked on. */
  waits(open: number): Promise<void>;
}

/** A teller of one run; the first time it speaks at once. */
export function waitTeller(
  queue: Pick<IngestQueue, "workers" | "counts">,
  fingerprint: string,
  say: (message: string) => void,
): WaitTeller {
  let quietUntil = performance.now() + 1_000;
  return {
    settled() {
      quietUntil = performance.now() + SAY_MS;
    },
    async waits(open) {
      if (performance.now() < quietUntil) return;
      quietUntil = performance.now() + SAY_MS;
      const [workers, counts] = await Promise.all([queue.workers(), queue.counts()]);
      const others = Math.max(0, openJobs(counts) - open);
      if (workers === 0) {
        say(
          `Waiting for a worker: ${open} ${open === 1 ? "job waits" : "jobs wait"}, and none with the model ${fingerprint} takes jobs of this Redis and prefix. ` +
            "Start csplade worker with this model there.",
        );
      } else if ((counts.active ?? 0) > 0 || others > 0) {
        say(
          `Waiting for ${workers} ${workers === 1 ? "worker" : "workers"}: ${counts.active ?? 0} jobs are worked on, ` +
            `and ${others} of other runs are in the queue.`,
        );
      }
    },
  };
}
