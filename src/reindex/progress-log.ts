/** Points of a run's progress in `csplade-runs`, for dashboards. */
import type { RunProgress } from "./coordinate.js";
import { numbersOf } from "./run-numbers.js";
import type { RunStore } from "./run-store.js";

/** Time between two points, milliseconds. */
const EVERY_MS = 10_000;

/**
 * Wraps a listener so that a point is written every ten seconds, and one at the end of each pass.
 * Points are not waited for, and one that cannot be written is left out.
 */
export function withProgressLog(
  store: Pick<RunStore, "addProgress">,
  listener: (progress: RunProgress) => void = () => {},
): (progress: RunProgress) => void {
  let last = { at: -Infinity, done: 0, tokens: 0 };
  let writing = false;
  return (progress) => {
    listener(progress);
    const { slices, counts } = progress.totals;
    const { run, alias, planned, done, dead_letters, lag_seconds } = numbersOf(progress);
    const ended = slices.open + slices.running === 0 && done !== last.done;
    const now = performance.now();
    if (writing || (now - last.at < EVERY_MS && !ended)) return;
    // No rate before there are two points; at the end two may be close together.
    const seconds = Math.max(1, (now - last.at) / 1_000);
    const point = {
      run,
      alias,
      documents_done: done,
      documents_planned: planned,
      documents_per_second: Math.max(0, done - last.done) / seconds,
      tokens_per_second: Math.max(0, counts.tokens - last.tokens) / seconds,
      dead_letters,
      ...(lag_seconds === null ? {} : { lag_seconds }),
    };
    last = { at: now, done, tokens: counts.tokens };
    writing = true;
    store
      .addProgress(point)
      .catch(() => {})
      .finally(() => {
        writing = false;
      });
  };
}
