/** Progress of a reindexing: a line that changes on a terminal, a line now and then elsewhere. */
import type { RunProgress } from "../reindex/coordinate.js";
import { printNote } from "./outcome.js";

/** Seconds between two plain lines. */
const LINE_INTERVAL_S = 10;

/** Seconds over which the rate is taken. */
const RATE_WINDOW_S = 30;

/** Shows where a run stands. */
export interface ReindexProgress {
  update(progress: RunProgress): void;
  /** Says something between two updates. */
  note(message: string): void;
  stop(): void;
}

/** Starts the display on standard error. */
export function startReindexProgress(quiet: boolean): ReindexProgress {
  const points: { at: number; done: number; tokens: number }[] = [];
  let printedAt = performance.now();
  const live = process.stderr.isTTY;
  const clear = () => (live ? process.stderr.write("\r\x1b[2K") : undefined);
  return {
    update({ run, totals, lag_seconds }) {
      if (quiet) return;
      const now = performance.now();
      const { counts, slices, planned } = totals;
      points.push({ at: now, done: counts.read, tokens: counts.tokens });
      while (points.length > 2 && now - (points[0]?.at ?? now) > RATE_WINDOW_S * 1_000)
        points.shift();
      if (!live && now - printedAt < LINE_INTERVAL_S * 1_000) return;
      printedAt = now;
      const [first] = points;
      const seconds = Math.max(0.001, (now - (first?.at ?? now)) / 1_000);
      const rate = (counts.read - (first?.done ?? 0)) / seconds;
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

/** Seconds in words: `45 s`, `12 min`, `3.4 h`, `2.1 d`. */
function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3_600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(1)} d`;
}
