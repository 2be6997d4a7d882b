/** How runs stand, in numbers: for people, for Prometheus and for KEDA. */
import type { Backlog, BacklogByModel, RunNumbers } from "../observe/run-metrics.js";
import type { RunRecord } from "./run-record.js";
import type { RunStore, SliceTotals } from "./run-store.js";

/** Tokens of a document where nothing was encoded yet. */
const GUESSED_TOKENS = 250;

/** A run and its totals. */
export interface RunState {
  readonly run: RunRecord;
  readonly totals: SliceTotals;
}

/** The runs that are not over. */
export async function activeRuns(store: RunStore): Promise<RunState[]> {
  const over = new Set(["done", "rolled_back", "failed"]);
  const runs = (await store.listRuns()).filter(({ state }) => !over.has(state));
  return Promise.all(runs.map(async (run) => ({ run, totals: await store.totals(run.run) })));
}

/** True for a run that is not over and that nobody coordinates: it goes on when it is resumed. */
export function isInterrupted({ state, coordinator }: RunRecord): boolean {
  if (state === "done" || state === "rolled_back" || state === "failed") return false;
  return coordinator === undefined || Date.parse(coordinator.until) < Date.now();
}

/** A run as numbers. */
export function numbersOf({ run, totals }: RunState): RunNumbers {
  const { counts, slices, planned } = totals;
  return {
    run: run.run,
    alias: run.alias,
    planned: Math.round(planned),
    done: counts.read,
    dead_letters: counts.dead_letters,
    slices,
    lag_seconds: lagSeconds({ run, totals }),
    paused: run.control.paused,
  };
}

/** Seconds since the source was in the newest state that is copied whole; null before there is one. */
export function lagSeconds({ run, totals }: RunState): number | null {
  const copies = run.passes.filter(({ task }) => task === "copy");
  const busy = totals.slices.open + totals.slices.running > 0;
  const whole = busy ? copies.at(-2) : copies.at(-1);
  return whole === undefined ? null : (Date.now() - Date.parse(whole.as_of)) / 1_000;
}

/** Work of runs that waits for an encoder. A paused run asks for no worker. */
export function backlogOf(states: readonly RunState[], ingestJobs: number): Backlog {
  let tokens = 0;
  let documents = 0;
  let slices = 0;
  for (const { run, totals } of states) {
    if (run.control.paused) continue;
    const { counts, planned } = totals;
    const left = totals.slices.open + totals.slices.running;
    if (left === 0) continue;
    const open = Math.max(0, Math.round(planned) - counts.read);
    const each = counts.encoded > 0 ? counts.tokens / counts.encoded : GUESSED_TOKENS;
    documents += open;
    tokens += open * each;
    slices += left;
  }
  return { tokens: Math.round(tokens), documents, slices, ingest_jobs: ingestJobs };
}

/** The same, and of each model that has a queue or a run. */
export function backlogByModel(
  states: readonly RunState[],
  ingestJobs: ReadonlyMap<string, number>,
): BacklogByModel {
  const fingerprintOf = ({ run }: RunState) => run.model.fingerprint;
  const known = new Set([...ingestJobs.keys(), ...states.map(fingerprintOf)]);
  const models = [...known].sort().map((model) => {
    const own = states.filter((state) => fingerprintOf(state) === model);
    return [model, backlogOf(own, ingestJobs.get(model) ?? 0)] as const;
  });
  const all = [...ingestJobs.values()].reduce((sum, jobs) => sum + jobs, 0);
  return { ...backlogOf(states, all), models: Object.fromEntries(models) };
}
