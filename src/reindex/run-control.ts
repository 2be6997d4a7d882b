/** What the operator wants of a run, as the workers of this process last heard. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RunControl, RunRecord } from "./run-record.js";
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
  /** Waits until this slice may take `documents` more; returns early when the signal fires. */
  admit(run: string, slice: Throttle, documents: number, signal: AbortSignal): Promise<void>;
}

/** One slice's share of a rate limit. */
export interface Throttle {
  /** When the documents taken so far are paid for, milliseconds of the monotonic clock. */
  paidUntil: number;
}

/** Creates the steering over a store. */
export function createRunControls(store: RunStore): RunControls {
  const heard = new Map<string, Heard>();
  /** Slices of this process, which the records may not show yet. */
  const joined = new Map<string, number>();

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
    async admit(run, slice, documents, signal) {
      for (;;) {
        const { run: record } = await current(run);
        const pause = pauseFor(record.control, slice);
        if (pause <= 0 || signal.aborted) break;
        await sleep(Math.min(pause, HEARD_MS), undefined, { signal }).catch(() => {});
      }
      const { run: record, sharers } = await current(run);
      const rate = record.control.documents_per_second;
      if (rate === null) return;
      const share = rate / Math.max(sharers, joined.get(run) ?? 1);
      const cost = (documents / share) * 1_000;
      slice.paidUntil = Math.max(performance.now(), slice.paidUntil) + cost;
    },
  };
}

/** Milliseconds this slice is ahead of its share. */
function pauseFor(control: RunControl, slice: Throttle): number {
  if (control.documents_per_second === null || control.paused) return 0;
  return slice.paidUntil - performance.now();
}
