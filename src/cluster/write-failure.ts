/** How a bulk write that did not end well says so. */
import { isPassing } from "./patience.js";
import type { Refusal } from "./refusal.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { BulkOperation, WriteResult } from "./bulk-operation.js";

/** A write that ended before every operation had an outcome. Writing it again is safe. */
export class UnacknowledgedError extends CspladeError {
  /** Per operation, in order: its outcome, or undefined if the cluster did not acknowledge it. */
  readonly results: readonly (WriteResult | undefined)[];
  /** The reason, without the count. */
  readonly why: CspladeError;

  constructor(why: CspladeError, results: readonly (WriteResult | undefined)[]) {
    const known = results.filter((result) => result !== undefined).length;
    super(why.code, `${why.message} ${known} of ${results.length} operations were acknowledged.`, {
      cause: why,
      ...(why.hint === undefined ? {} : { hint: why.hint }),
    });
    this.results = results;
    this.why = why;
  }
}

/** The errors of writes to one cluster. */
export interface WriteFailures {
  readonly aborted: () => CspladeError;
  /** The cluster refused a request, or one operation, for a reason that no document is at fault of. */
  readonly refused: (
    verdict: { readonly refusal: Refusal; readonly reason: string },
    operation?: BulkOperation,
  ) => CspladeError;
  /** It was away, or forbade writes, for as long as it may. */
  readonly stayedAway: (reason: string) => CspladeError;
  /** By what name an index is written could not be asked. */
  readonly noName: (thrown: unknown) => CspladeError;
}

/**
 * The errors of writes to a cluster.
 * @param url the cluster's, without credentials.
 * @param maxWaitMs how long it may be away, milliseconds.
 */
export function writeFailures(url: string, maxWaitMs: number): WriteFailures {
  const aborted = () => new CspladeError("aborted", `Writing to ${url} was cancelled.`);
  const stayedAway = (reason: string) =>
    new CspladeError(
      "cluster_unreachable",
      `${url} took no documents for ${Math.round(maxWaitMs / 1000)} s: ${reason}.`,
      {
        hint: "Documents that were not acknowledged can be written again; write.max_wait_ms sets the patience.",
      },
    );
  return {
    aborted,
    stayedAway,
    refused({ refusal, reason }, operation) {
      const { code, hint } = refusal;
      const what = operation === undefined ? "a bulk request" : `to write to ${operation.index}`;
      return new CspladeError(code, `${url} refused ${what}: ${reason}.`, {
        ...(hint === undefined ? {} : { hint }),
      });
    },
    noName(thrown) {
      if (!(thrown instanceof CspladeError)) return aborted();
      return isPassing(thrown) ? stayedAway(thrown.message.replace(/\.$/, "")) : thrown;
    },
  };
}
