/** A request to a cluster, its answer, and how to read an error out of it. */

/** One request. Paths are percent-encoded by the caller (see {@link pathOf}). */
export interface ClusterRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE" | "HEAD";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  /** A JSON value, or a ready newline-delimited body for `_bulk` and `_msearch`. */
  readonly body?: object | string;
  /** Sent besides the connection's own: a caller's credentials, for example. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Deadline in milliseconds; the configuration's `opensearch.request_timeout_ms` without it. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** The cluster's answer, whatever its status: statuses are the caller's to judge. */
export interface ClusterResponse {
  readonly status: number;
  readonly body: unknown;
  /** Seconds the cluster asked to wait (`Retry-After`), if it did. */
  readonly retryAfterSeconds: number | undefined;
}

/** An answer as it came. */
export interface ClusterText extends Omit<ClusterResponse, "body"> {
  readonly text: string;
  /** Whether the text is JSON, by its content type. */
  readonly json: boolean;
}

/** Sends one request and returns the answer whatever its status. */
export type Send = (request: ClusterRequest) => Promise<ClusterResponse>;

/** Joins path segments, each percent-encoded: `pathOf("my index", "_doc", "a/b")`. */
export function pathOf(...segments: readonly string[]): string {
  return "/" + segments.map((segment) => encodeURIComponent(segment)).join("/");
}

/** What a status of 400 or above means: the same request may succeed later, or it was refused. */
export function codeOfStatus(status: number): "cluster_busy" | "cluster_rejected" {
  return [429, 502, 503, 504].includes(status) ? "cluster_busy" : "cluster_rejected";
}

/**
 * The cluster's own words for an error body: its type and reason, root cause first. What stands before
 * a cluster, such as Amazon's front, says a `message` instead.
 */
export function reasonOf(body: unknown): string {
  if (typeof body === "string") return body.slice(0, 500);
  if (body === null || typeof body !== "object") return "no reason given";
  const { error, message, Message = message } = body as Record<string, unknown>;
  if (error === undefined && typeof Message === "string") return Message.slice(0, 500);
  if (typeof error === "string") return error;
  if (error === null || typeof error !== "object") return "no reason given";
  const { type, reason, caused_by: cause } = error as Record<string, unknown>;
  const text = [type, reason].filter((part) => typeof part === "string").join(": ");
  return cause === undefined ? text : `${text} (${reasonOf({ error: cause })})`;
}
