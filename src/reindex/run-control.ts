/** What the operator wants of a run, as the workers of this process last heard. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RunRecord } from "./run-record.js";
import type { RunStore } from "./run-store.js";

/** How often a run's record is read for steering, milliseconds. */
const HEARD_MS = 2_000;

interface Heard {
  run: RunRecord;
  at: number;
  /** Slices of all workers that share the rate. */
  sharers: number;
  asking: Promise<void> | undefined;
}

/** Steering of all runs a process works on. */
export interface RunControls {
  /** The run's record, at most some seconds old. */
  current(run: string): Promise<RunRecord>;
  /** Notes that this process works on a slice of a run; call what it returns at the end. */
  join(run: string): () => void;
  /** Waits until a slice of this process may take `documents` more; returns early when the signal fires. */
  admit(run: string, documents: number, signal: AbortSignal): Promise<void>;
}

/**
 * Slices at once that the queue may give out: all runs share it, so the smallest limit of those
 * that are not over holds. Null: no limit.
 */
export function concurrencyOf(
  runs: readonly RunRecord[],
  { fingerprint }: Pick<RunRecord["model"], "fingerprint">,
): number | null {
  const limits = runs
    .filter(({ model }) => model.fingerprint === fingerprint)
    .filter(({ state }) => state !== "done" && state !== "failed" && state !== "rolled_back")
    .map(({ control }) => control.concurrency)
    .filter((limit) => limit !== null);
  return limits.length === 0 ? null : Math.min(...limits);
}

/** Creates the steering over a store. */
export function createRunControls(store: RunStore): RunControls {
  const heard = new Map<string, Heard>();
  /** Slices of this process, which the records may not show yet. */
  const joined = new Map<string, number>();
  /**
   * Per run, when the documents this process took are paid for, milliseconds of the monotonic
   * clock. It outlives a slice: else the last window of each would be free.
   */
  const paidUntil = new Map<string, number>();

  async function ask(run: string): Promise<Heard> {
    const { record } = await store.readRun(run);
    const before = heard.get(run);
    const limited = record.control.documents_per_second !== null;
    const sharers = limited ? Math.max(1, (await store.totals(run)).slices.running) : 1;
    const now = { run: record, at: performance.now(), sharers, asking: before?.asking };
    heard.set(run, now);
    return now;
  }

  async function current(run: string): Promise<Heard> {
    const known = heard.get(run);
    if (known === undefined) return ask(run);
    if (performance.now() - known.at > HEARD_MS) {
      known.asking ??= ask(run).then(
        () => undefined,
        () => undefined,
      );
      await known.asking;
      known.asking = undefined;
      const fresh = heard.get(run);
      if (fresh !== undefined) fresh.asking = undefined;
    }
    return heard.get(run) ?? known;
  }

  return {
    join(run) {
      joined.set(run, (joined.get(run) ?? 0) + 1);
      return () => joined.set(run, (joined.get(run) ?? 1) - 1);
    },
    current: async (run) => (await current(run)).run,
    async admit(run, documents, signal) {
      for (;;) {
        const { run: record, sharers } = await current(run);
        const { documents_per_second: rate, paused } = record.control;
        if (rate === null || paused || signal.aborted) return;
        const now = performance.now();
        const free = paidUntil.get(run) ?? now;
        if (free <= now) {
          const here = joined.get(run) ?? 1;
          const share = (rate * here) / Math.max(sharers, here);
          paidUntil.set(run, now + (documents / share) * 1_000);
          return;
        }
        await sleep(Math.min(free - now, HEARD_MS), undefined, { signal }).catch(() => {});
      }
    },
  };
}
