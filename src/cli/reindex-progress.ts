/** Progress of a reindexing: a line that changes on a terminal, a line now and then elsewhere. */
import type { RunProgress } from "../reindex/coordinate.js";
import { printNote } from "./outcome.js";
import { createRateMeter, duration } from "./status-view.js";

/** Seconds between two plain lines. */
const LINE_INTERVAL_S = 10;

/** Shows where a run stands. */
export interface ReindexProgress {
  update(progress: RunProgress): void;
  /** Says something between two updates. */
  note(message: string): void;
  stop(): void;
}

/** Starts the display on standard error. */
export function startReindexProgress(quiet: boolean): ReindexProgress {
  const meter = createRateMeter();
  let printedAt = performance.now();
  const live = process.stderr.isTTY;
  const clear = () => (live ? process.stderr.write("\r\x1b[2K") : undefined);
  return {
    update({ run, totals, lag_seconds }) {
      if (quiet) return;
      const now = performance.now();
      const { counts, slices, planned } = totals;
      const rate = meter.measure(counts.read, counts.tokens)?.documents ?? 0;
      if (!live && now - printedAt < LINE_INTERVAL_S * 1_000) return;
      printedAt = now;
      const left = rate > 0 ? Math.max(0, planned - counts.read) / rate : undefined;
      const line =
        `${run.state}: ${counts.read} of ${Math.round(planned)} documents, ${rate.toFixed(0)}/s` +
        (left === undefined || left === 0 ? "" : `, ${duration(left)} left`) +
        `; slices ${slices.done} done, ${slices.running} running, ${slices.open} open` +
        (slices.failed > 0 ? `, ${slices.failed} failed` : "") +
        (counts.dead_letters > 0 ? `; ${counts.dead_letters} dead letters` : "") +
        (lag_seconds === null ? "" : `; lag ${lag_seconds.toFixed(0)} s`) +
        (run.control.paused ? "; PAUSED" : "");
      if (live) {
        clear();
        process.stderr.write(line);
      } else printNote(line);
    },
    note(message) {
      clear();
      printNote(message);
    },
    stop() {
      clear();
    },
  };
}
