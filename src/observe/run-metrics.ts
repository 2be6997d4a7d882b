/** What the coordinator and the exporter know of runs and queues, for Prometheus. */
import { Gauge, Registry } from "prom-client";

/** How a run stands, as numbers. */
export interface RunNumbers {
  readonly run: string;
  readonly alias: string;
  readonly planned: number;
  readonly done: number;
  readonly dead_letters: number;
  readonly slices: Readonly<Record<string, number>>;
  readonly lag_seconds: number | null;
  readonly paused: boolean;
}

/** Work that waits for an encoder. */
export interface Backlog {
  readonly tokens: number;
  readonly documents: number;
  readonly slices: number;
  readonly ingest_jobs: number;
}

/** The backlog as KEDA is told it: of all models, and of each by its fingerprint. */
export interface BacklogByModel extends Backlog {
  readonly models: Readonly<Record<string, Backlog>>;
}

/** Gauges of runs and queues. */
export interface RunMetrics {
  readonly registry: Registry;
  /** Shows these runs and no others. */
  setRuns(runs: readonly RunNumbers[]): void;
  setBacklog(backlog: Backlog): void;
  setQueue(queue: "ingest" | "reindex", jobs: Readonly<Record<string, number>>): void;
}

/** States of jobs that are shown. */
const STATES = ["waiting", "active", "delayed", "prioritized", "failed"] as const;

/** Creates the gauges, in a registry of their own or in one that exists. */
export function createRunMetrics(registry = new Registry()): RunMetrics {
  const registers = [registry];
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name, help, labelNames, registers });
  const jobs = gauge("csplade_queue_jobs", "Jobs by queue and state.", ["queue", "state"]);
  const tokens = gauge("csplade_backlog_tokens", "Tokens that wait for an encoder.");
  const waiting = gauge("csplade_backlog_documents", "Documents that wait for an encoder.");
  const documents = gauge("csplade_reindex_documents", "Documents of a run.", [
    "run",
    "alias",
    "state",
  ]);
  const letters = gauge("csplade_reindex_dead_letters", "Documents that could not be taken.", [
    "run",
    "alias",
  ]);
  const slices = gauge("csplade_reindex_slices", "Slices of a run by state.", [
    "run",
    "alias",
    "state",
  ]);
  const lag = gauge(
    "csplade_reindex_lag_seconds",
    "Age of the newest state of the source that is copied whole.",
    ["run", "alias"],
  );
  const paused = gauge("csplade_reindex_paused", "1 while the run is paused.", ["run", "alias"]);
  return {
    registry,
    setRuns(runs) {
      for (const each of [documents, letters, slices, lag, paused]) each.reset();
      for (const { run, alias, ...numbers } of runs) {
        documents.set({ run, alias, state: "planned" }, numbers.planned);
        documents.set({ run, alias, state: "done" }, numbers.done);
        letters.set({ run, alias }, numbers.dead_letters);
        for (const [state, n] of Object.entries(numbers.slices)) {
          slices.set({ run, alias, state }, n);
        }
        if (numbers.lag_seconds !== null) lag.set({ run, alias }, numbers.lag_seconds);
        paused.set({ run, alias }, numbers.paused ? 1 : 0);
      }
    },
    setBacklog(backlog) {
      tokens.set(backlog.tokens);
      waiting.set(backlog.documents);
    },
    setQueue(queue, counts) {
      for (const state of STATES) jobs.set({ queue, state }, counts[state] ?? 0);
    },
  };
}
