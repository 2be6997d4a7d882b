/** The terminal view of runs: lines of text, made from records and nothing else. */
import pc from "picocolors";
import { isInterrupted, lagSeconds, type RunState } from "../reindex/run-numbers.js";
import { nextPass, type SliceRecord } from "../reindex/run-record.js";
import { verificationLines } from "../reindex/verification-lines.js";

/** Everything the view of a run shows. */
export interface RunStatus extends RunState {
  /** Slices that are worked on, and those that failed. */
  readonly running: readonly SliceRecord[];
  readonly failed: readonly SliceRecord[];
}

/** Measures rates over the last looks. */
export interface RateMeter {
  /** Per second since the oldest look that counts; undefined at the first. */
  measure(documents: number, tokens: number): { documents: number; tokens: number } | undefined;
}

/** Seconds over which rates are taken. */
const WINDOW_S = 30;

/** Creates a meter. */
export function createRateMeter(): RateMeter {
  const looks: { at: number; documents: number; tokens: number }[] = [];
  return {
    measure(documents, tokens) {
      const at = performance.now();
      looks.push({ at, documents, tokens });
      while (looks.length > 2 && at - (looks[0]?.at ?? at) > WINDOW_S * 1_000) looks.shift();
      const [first] = looks;
      if (first === undefined || first.at === at) return undefined;
      const seconds = (at - first.at) / 1_000;
      return {
        documents: (documents - first.documents) / seconds,
        tokens: (tokens - first.tokens) / seconds,
      };
    },
  };
}

/** One line per run. */
export function runsLines(states: readonly RunState[]): string[] {
  if (states.length === 0) return ["There are no runs. csplade reindex begins one."];
  const head = ["run", "state", "documents", "dead letters", "target"];
  const rows = states.map(({ run, totals }) => [
    run.run,
    [
      run.state,
      ...(run.control.paused ? ["paused"] : []),
      ...(isInterrupted(run) ? ["interrupted"] : []),
    ].join(", "),
    `${totals.counts.read} of ${Math.round(totals.planned)}`,
    String(totals.counts.dead_letters),
    run.target,
  ]);
  return table([head, ...rows]);
}

/** The view of one run. */
export function runLines(status: RunStatus, meter: RateMeter, columns = 100): string[] {
  const { run, totals, running, failed } = status;
  const { counts, planned, slices } = totals;
  const share = planned === 0 ? 1 : Math.min(1, counts.read / planned);
  const rate = meter.measure(counts.read, counts.tokens) ?? averageOf(running);
  const left = rate.documents > 0 ? Math.max(0, planned - counts.read) / rate.documents : undefined;
  const lag = lagSeconds({ run, totals });
  const stopped = isInterrupted(run);
  const state =
    run.state +
    (run.control.paused ? pc.yellow(", PAUSED") : "") +
    (stopped ? pc.yellow(", INTERRUPTED") : "");
  const bar = Math.max(10, Math.min(50, columns - 50));
  const filled = Math.round(bar * share);
  const lines = [
    `${pc.bold(run.run)}  ${run.state === "failed" ? pc.red(state) : state}`,
    `${run.from.join(" ")} → ${run.target} → alias ${run.alias}, model ${run.model.name}`,
    ...(stopped ? [`Nobody coordinates it. Go on with: csplade reindex --resume ${run.run}`] : []),
    "",
    `${"█".repeat(filled)}${"░".repeat(bar - filled)} ${(100 * share).toFixed(1)} %  ` +
      `${counts.read} of ${Math.round(planned)} documents`,
    `${rate.documents.toFixed(0)} documents/s, ${rate.tokens.toFixed(0)} tokens/s` +
      (left === undefined || left < 1 ? "" : `, ${duration(left)} left`) +
      (lag === null ? "" : `, lag ${duration(lag)}`) +
      limitsOf(status),
    `written ${counts.written} (encoded ${counts.encoded}, vectors taken over ${counts.reused}` +
      (counts.low_quality > 0 ? `, without a vector ${counts.low_quality}` : "") +
      "), " +
      `unchanged ${counts.unchanged}, superseded ${counts.superseded}, deleted ${counts.deleted}, ` +
      (counts.dead_letters > 0 ? pc.red(`dead letters ${counts.dead_letters}`) : "dead letters 0"),
    `slices: ${slices.done} done, ${slices.running} running, ${slices.open} open, ` +
      (slices.failed > 0 ? pc.red(`${slices.failed} failed`) : "0 failed") +
      `; pass ${nextPass(run)} of this run`,
  ];
  if (run.verification !== undefined) lines.push(...verificationLines(run.verification));
  if (run.message !== undefined) lines.push(pc.red(run.message));
  if (running.length > 0) lines.push("", ...workerLines(running));
  if (failed.length > 0) {
    lines.push("", pc.red("failed slices"));
    for (const slice of failed.slice(0, 10)) {
      lines.push(`  ${slice.number}: ${slice.message ?? "no reason was noted"}`);
    }
  }
  return lines;
}

function limitsOf({ run }: RunStatus): string {
  const { documents_per_second: rate, concurrency } = run.control;
  return (
    (rate === null ? "" : `, limit ${rate} documents/s`) +
    (concurrency === null ? "" : `, limit ${concurrency} slices`)
  );
}

/** What the workers did since they took their slices, while there is only one look. */
function averageOf(running: readonly SliceRecord[]): { documents: number; tokens: number } {
  let documents = 0;
  let tokens = 0;
  for (const slice of running) {
    const seconds = secondsOf(slice);
    if (seconds <= 0 || slice.claims > 1) continue;
    documents += slice.counts.read / seconds;
    tokens += slice.counts.tokens / seconds;
  }
  return { documents, tokens };
}

function secondsOf({ started_at, updated_at }: SliceRecord): number {
  if (started_at === undefined || updated_at === undefined) return 0;
  return (Date.parse(updated_at) - Date.parse(started_at)) / 1_000;
}

function workerLines(running: readonly SliceRecord[]): string[] {
  const rows = running.map((slice) => {
    const seconds = secondsOf(slice);
    const silent = (Date.now() - Date.parse(slice.updated_at ?? "")) / 1_000;
    return [
      slice.worker ?? "?",
      `${slice.number}${slice.task === "sweep" ? " (sweep)" : ""}`,
      `${slice.counts.read} of ${Math.round(slice.documents)}`,
      seconds > 0 ? `${(slice.counts.read / seconds).toFixed(0)}/s` : "",
      slice.claims > 1 ? `${slice.claims} times` : "",
      silent > 60 ? pc.yellow(`silent for ${duration(silent)}`) : "",
    ];
  });
  rows.sort(([a], [b]) => ((a ?? "") < (b ?? "") ? -1 : 1));
  return table([["worker", "slice", "documents", "rate", "taken", ""], ...rows]);
}

/** Rows as lines of columns; the first is the head. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row, n) => {
    const line = row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
    return n === 0 ? pc.dim(line) : line;
  });
}

/** Seconds in words: `45 s`, `12 min`, `3.4 h`, `2.1 d`. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3_600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(1)} d`;
}
