/** Errors as OpenSearch and Elasticsearch write them, so that their clients read them. */
import type { ErrorCode } from "../errors/csplade-error.js";
import { ClauseError } from "./csplade-clause.js";
import { asCspladeError, statusOf } from "./http-error.js";
import { ClusterRefusal } from "./index-plans.js";

const TYPES: Partial<Record<ErrorCode, string>> = {
  query_invalid: "parsing_exception",
  overloaded: "rejected_execution_exception",
  index_not_found: "index_not_found_exception",
};

/**
 * The status and body that tell a client of the cluster about an error.
 * @param sent the body in which the error is, to say where.
 */
export function openSearchError(
  thrown: unknown,
  sent?: Buffer,
): { readonly status: number; readonly body: unknown } {
  if (thrown instanceof ClusterRefusal) return { status: thrown.status, body: thrown.body };
  const { code, message, hint } = asCspladeError(thrown);
  // The cluster's own word for a request that makes no sense is 400.
  const status = statusOf(thrown) === 422 ? 400 : statusOf(thrown);
  const cause = {
    type: TYPES[code] ?? `${code}_exception`,
    reason: hint === undefined ? message : `${message} ${hint}`,
    ...(thrown instanceof ClauseError && sent !== undefined
      ? placeOf(sent.toString("utf8"), thrown.offset)
      : {}),
  };
  return {
    status,
    body: { error: { root_cause: [cause], ...cause }, status },
  };
}

/** Line and column, both from 1. */
function placeOf(text: string, offset: number): { line: number; col: number } {
  let [line, start] = [1, 0];
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) {
    line += 1;
    start = at + 1;
  }
  return { line, col: offset - start + 1 };
}
