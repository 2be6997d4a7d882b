/** Which HTTP status an error of ours has, and who is told what. */
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";

const STATUS: Partial<Record<ErrorCode, number>> = {
  request_invalid: 422,
  query_invalid: 400,
  config_invalid: 400,
  batch_too_large: 413,
  unauthorized: 401,
  overloaded: 429,
  device_failed: 503,
  device_hung: 503,
  model_mismatch: 400,
  index_invalid: 400,
  index_not_found: 404,
  queue_unreachable: 503,
  cluster_unreachable: 502,
  cluster_busy: 503,
  cluster_rejected: 502,
  cluster_answer_invalid: 502,
  cluster_unsupported: 502,
  encode_unsupported: 501,
  deadline_exceeded: 504,
  aborted: 503,
};

/** The status for an error: 500 for what nobody expected, and for texts that cannot be encoded. */
export function statusOf(thrown: unknown): number {
  if (thrown instanceof CspladeError) return STATUS[thrown.code] ?? 500;
  const status = fastifyStatus(thrown);
  return status ?? 500;
}

/** An error as a {@link CspladeError}; what the HTTP server itself refused keeps its sentence. */
export function asCspladeError(thrown: unknown): CspladeError {
  if (thrown instanceof CspladeError) return thrown;
  const status = fastifyStatus(thrown);
  if (status === 413) return new CspladeError("batch_too_large", messageOf(thrown));
  if (status !== undefined && status < 500) {
    return new CspladeError("request_invalid", messageOf(thrown));
  }
  // An unexpected error may quote a text, so its message goes to nobody.
  return new CspladeError("encode_failed", "The gateway failed unexpectedly.", { cause: thrown });
}

/**
 * Tells the operator about an error that nobody expected: its kind and where it happened. Its
 * message may quote a text, so that is left out.
 */
export function reportUnexpected(thrown: unknown): void {
  if (thrown instanceof CspladeError || fastifyStatus(thrown) !== undefined) return;
  const frames = thrown instanceof Error ? /(?:\n\s+at .*)+/.exec(thrown.stack ?? "")?.[0] : "";
  const name = thrown instanceof Error ? thrown.name : typeof thrown;
  process.stderr.write(`gateway: unexpected ${name}${frames ?? ""}\n`);
}

/** Seconds a client should wait before it sends the same request again, if that may help. */
export function retryAfter(status: number): string | undefined {
  return status === 429 || status === 503 ? "1" : undefined;
}

function fastifyStatus(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !("statusCode" in thrown)) return undefined;
  return typeof thrown.statusCode === "number" ? thrown.statusCode : undefined;
}
