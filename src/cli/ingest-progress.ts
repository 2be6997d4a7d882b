/** Progress of an ingest: a bar with rate and ETA on a terminal, plain lines elsewhere. */
import { SingleBar } from "cli-progress";
import type { IngestCounts } from "../pipeline/ingest-run.js";
import { printNote } from "./outcome.js";

/** Seconds between two plain lines. */
const LINE_INTERVAL_S = 5;

/** Shows counts as they change. */
export interface IngestProgress {
  update(counts: IngestCounts): void;
  stop(): void;
}

/** Starts the display on standard error. */
export function startIngestProgress(totalBytes: number, quiet: boolean): IngestProgress {
  if (quiet) return { update: () => {}, stop: () => {} };
  const started = performance.now();
  const rate = (counts: IngestCounts) => {
    const seconds = Math.max(0.001, (performance.now() - started) / 1000);
    return (counts.written + counts.skipped + counts.failed) / seconds;
  };
  if (process.stderr.isTTY) return bar(totalBytes, rate);
  let last = started;
  return {
    update(counts) {
      if (performance.now() - last < LINE_INTERVAL_S * 1000) return;
      last = performance.now();
      printNote(lineOf(counts, totalBytes, rate(counts), (last - started) / 1000));
    },
    stop() {},
  };
}

function lineOf(counts: IngestCounts, total: number, rate: number, seconds: number): string {
  const share = total === 0 ? 1 : counts.bytes_done / total;
  const eta = share > 0 ? Math.round(seconds / share - seconds) : undefined;
  return (
    `${(100 * share).toFixed(0)} %  ${counts.written} written, ${counts.skipped} skipped, ` +
    `${counts.failed} failed, ${rate.toFixed(0)} documents/s` +
    (eta === undefined ? "" : `, ${eta} s left`)
  );
}

function bar(totalBytes: number, rate: (counts: IngestCounts) => number): IngestProgress {
  const display = new SingleBar({
    format:
      "{bar} {percentage} % | {written} written, {skipped} skipped, {failed} failed | {rate} documents/s | {eta_formatted} left",
    stream: process.stderr,
    hideCursor: true,
    etaBuffer: 50,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    clearOnComplete: true,
  });
  display.start(Math.max(1, totalBytes), 0, { written: 0, skipped: 0, failed: 0, rate: 0 });
  return {
    update: (counts) =>
      display.update(counts.bytes_done, {
        written: counts.written,
        skipped: counts.skipped,
        failed: counts.failed,
        rate: rate(counts).toFixed(0),
      }),
    stop: () => display.stop(),
  };
}
