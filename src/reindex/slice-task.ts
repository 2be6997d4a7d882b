/** What the work on a slice is done with, and how it can end. */
import type { Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import type { IndexInfo } from "../index/csplade-index.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import type { RunControls } from "./run-control.js";
import type { RunRecord, SliceCounts } from "./run-record.js";

/** How the work on a slice ended. */
export type SliceEnding = "done" | "drained" | "paused";

/** A slice was taken or let go. */
export interface SliceEvent {
  readonly run: string;
  readonly slice: number;
  readonly event: "claimed" | "done" | "released" | "failed" | "lost";
  /** Where it stands: a sequence number or a byte offset. */
  readonly position: number;
  readonly counts?: SliceCounts;
  readonly seconds?: number;
  readonly error?: unknown;
}

/** What a worker works with. */
export interface SliceWorkerParts {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly metrics: WorkerMetrics;
  /** True while this process has live ingestion to do, which goes first. */
  readonly isBusyWithIngest?: (() => boolean) | undefined;
  /** Told how the work on slices goes. */
  readonly onSlice?: ((event: SliceEvent) => void) | undefined;
  /** Called with what the worker survived. */
  readonly onTrouble?: ((message: string) => void) | undefined;
}

/** Everything the work on one slice needs besides the slice. */
export interface SliceTask extends SliceWorkerParts {
  readonly run: RunRecord;
  readonly info: IndexInfo;
  readonly writer: BulkWriter;
  readonly controls: RunControls;
  /** Come to a checkpoint and stop. */
  readonly drain: AbortSignal;
  /** Stop at once. */
  readonly signal: AbortSignal;
}
