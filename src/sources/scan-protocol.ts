/** Messages between a scan and its thread. */
import type { Chunk, DocumentFailure } from "./chunk.js";
import type { DocumentFields } from "./source-document.js";
import type { SourceFile } from "./source-file.js";

/** What a scan is asked (`workerData` of its thread). */
export interface ScanRequest {
  /** Plain files of lines, in order. */
  readonly files: readonly SourceFile[];
  readonly fields: DocumentFields;
  readonly max_document_bytes: number;
  readonly job_documents: number;
  readonly job_bytes: number;
  /** Chunks the thread may be ahead of its reader. */
  readonly ahead: number;
}

/** A chunk and what was found bad in it. */
export interface ScannedChunk {
  readonly chunk: Chunk;
  /** Lines that hold something, good or bad. */
  readonly read: number;
  /** Good documents. */
  readonly documents: number;
  readonly failures: readonly DocumentFailure[];
}

/** A message of the scan thread. */
export type ScanReply =
  | { readonly type: "chunk"; readonly scanned: ScannedChunk }
  | { readonly type: "end" }
  | { readonly type: "error"; readonly code: string; readonly message: string };
