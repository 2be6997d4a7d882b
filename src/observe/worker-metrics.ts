/** What a worker counts and measures, for Prometheus. Names are listed in docs/reindexing.md. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";

/** Where the work came from: a queue, or an index whose documents are encoded in place. */
export type WorkQueue = "ingest" | "reindex" | "follow";

/** What became of documents. */
export interface DocumentOutcomes {
  readonly written?: number;
  readonly unchanged?: number;
  readonly superseded?: number;
  readonly deleted?: number;
  readonly dead_letters?: number;
  readonly encoded?: number;
  readonly low_quality?: number;
  readonly reused?: number;
  readonly tokens?: number;
}

/** The metrics of one worker process. */
export interface WorkerMetrics {
  readonly registry: Registry;
  /** Counts documents whose outcome is settled. */
  count(queue: WorkQueue, outcomes: DocumentOutcomes): void;
  /** One window of documents went through the encoder. */
  encoded(seconds: number): void;
  /** Share of the computed tokens that were no padding, of some batches. */
  batchFill(ratio: number): void;
  /** From handing documents to the writer until all were acknowledged. */
  bulk(seconds: number): void;
  /** Operations were sent again. */
  retried(cause: "busy" | "away" | "too_large", operations: number): void;
  sliceStarted(): void;
  sliceEnded(outcome: "done" | "released" | "failed" | "lost"): void;
  /** An encoder thread changed its state. */
  threadBecame(from: string, to: string): void;
}

/** Creates the metrics, with those of Node.js and the process. */
export function createWorkerMetrics(): WorkerMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const documents = new Counter({
    name: "csplade_worker_documents_total",
    help: "Documents by what became of them.",
    labelNames: ["queue", "outcome"],
    registers,
  });
  const perQueue = (name: string, help: string) =>
    new Counter({ name, help, labelNames: ["queue"], registers });
  const encodedDocuments = perQueue(
    "csplade_worker_encoded_documents_total",
    "Documents sent through the model.",
  );
  const lowQuality = perQueue(
    "csplade_worker_low_quality_documents_total",
    "Documents written without a vector, their quality being below ingest.min_quality.",
  );
  const reused = perQueue(
    "csplade_worker_reused_vectors_total",
    "Documents whose vector was taken over because text and model are the same.",
  );
  const tokens = perQueue("csplade_worker_tokens_total", "Tokens of encoded documents.");
  const encodeSeconds = new Histogram({
    name: "csplade_worker_encode_seconds",
    help: "Time to encode one window of documents.",
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120],
    registers,
  });
  const fill = new Histogram({
    name: "csplade_worker_batch_fill_ratio",
    help: "Share of the computed tokens that are no padding.",
    buckets: [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1],
    registers,
  });
  const bulkSeconds = new Histogram({
    name: "csplade_worker_bulk_seconds",
    help: "From handing documents to the writer until all are acknowledged.",
    buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers,
  });
  const retries = new Counter({
    name: "csplade_worker_bulk_retries_total",
    help: "Operations that were sent again, by cause.",
    labelNames: ["cause"],
    registers,
  });
  const slicesActive = new Gauge({
    name: "csplade_worker_slices_active",
    help: "Slices being worked on.",
    registers,
  });
  const slices = new Counter({
    name: "csplade_worker_slices_total",
    help: "Slices by how the work on them ended.",
    labelNames: ["outcome"],
    registers,
  });
  const transitions = new Counter({
    name: "csplade_encoder_transitions_total",
    help: "Changes of encoder threads' states.",
    labelNames: ["from", "to"],
    registers,
  });
  return {
    registry,
    count(queue, outcomes) {
      const { written = 0, unchanged = 0, superseded = 0, deleted = 0 } = outcomes;
      const counted = {
        written,
        unchanged,
        superseded,
        deleted,
        dead_letter: outcomes.dead_letters ?? 0,
      };
      for (const [outcome, n] of Object.entries(counted)) documents.inc({ queue, outcome }, n);
      encodedDocuments.inc({ queue }, outcomes.encoded ?? 0);
      lowQuality.inc({ queue }, outcomes.low_quality ?? 0);
      reused.inc({ queue }, outcomes.reused ?? 0);
      tokens.inc({ queue }, outcomes.tokens ?? 0);
    },
    encoded: (seconds) => encodeSeconds.observe(seconds),
    batchFill: (ratio) => fill.observe(ratio),
    bulk: (seconds) => bulkSeconds.observe(seconds),
    retried: (cause, operations) => retries.inc({ cause }, operations),
    sliceStarted: () => slicesActive.inc(),
    sliceEnded(outcome) {
      slicesActive.dec();
      slices.inc({ outcome });
    },
    threadBecame: (from, to) => transitions.inc({ from, to }),
  };
}
