/**
 * The one error type of this project.
 *
 * A message says what was being done, to what, and what is wrong; `hint` says
 * what to do next. `code` is stable and meant for machines.
 */

/** Stable, machine-readable reasons. Grouped by the outside thing at fault. */
export type ErrorCode =
  // configuration and command line
  | "config_invalid"
  | "usage"
  // checkpoint and encoder
  | "model_not_found"
  | "model_invalid"
  | "model_mismatch"
  | "provider_unavailable"
  /** The graph is not one that the execution provider can compute. */
  | "provider_unsuitable"
  | "encode_failed"
  /** The process has no model loaded, by its configuration. */
  | "encode_unsupported"
  /** The device or runtime that encodes is broken; no document is to blame. */
  | "device_failed"
  /** The same, and a thread hangs in the runtime so that only the end of the process ends it. */
  | "device_hung"
  // documents
  | "document_malformed"
  | "document_too_large"
  | "document_duplicate"
  | "document_no_text"
  | "document_wrong_type"
  | "document_rejected"
  /** Devices that encode other texts of its length break on it, again and again. */
  | "document_breaks_device"
  /** More of them than may fail: what was made is not taken into use. */
  | "too_many_dead_letters"
  /** It finds less than was demanded: what was made is not taken into use. */
  | "quality_too_low"
  // sources and files
  | "source_unreadable"
  /** Readable, but not of a kind that can be taken. */
  | "source_unsupported"
  | "file_invalid"
  | "file_unwritable"
  // cluster
  | "cluster_unreachable"
  /** Too busy or not ready (429, 502, 503, 504): the same request may succeed later. */
  | "cluster_busy"
  | "cluster_rejected"
  /** It answered, but nobody can read what. */
  | "cluster_answer_invalid"
  | "cluster_unsupported"
  | "index_not_found"
  | "index_invalid"
  | "query_invalid"
  // redis and queue
  | "queue_unreachable"
  | "queue_unsupported"
  /** It answers and refuses: no memory, no right, no disk. */
  | "queue_refused"
  | "job_failed"
  // embedded servers
  | "server_missing"
  | "server_port_taken"
  | "server_failed"
  | "download_failed"
  // gateway
  | "request_invalid"
  | "batch_too_large"
  | "unauthorized"
  /** The encoder's queue is full: the same request may succeed later. */
  | "overloaded"
  // waits
  | "deadline_exceeded"
  | "aborted";

/** What a {@link CspladeError} carries besides its code and message. */
export interface ErrorDetails {
  /** What the reader should do next, one sentence. */
  readonly hint?: string;
  /** The error underneath, kept for logs. */
  readonly cause?: unknown;
}

/** An error whose message a tired person understands and whose code a machine can act on. */
export class CspladeError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "CspladeError";
    this.code = code;
    this.hint = details.hint;
  }
}

/** The message of anything that was thrown, `Error` or not. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** True where the machine that encodes is at fault, and no text. */
export function isDeviceFailure(thrown: unknown): thrown is CspladeError {
  return (
    thrown instanceof CspladeError &&
    (thrown.code === "device_failed" || thrown.code === "device_hung")
  );
}
