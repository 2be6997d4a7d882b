/** Waiting for a cluster that is away or busy, with a bound. */
import pRetry from "p-retry";
import type { Config } from "../config/settings.js";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";

/** Reasons that pass by themselves: the same request may succeed later. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "cluster_busy",
  "cluster_unreachable",
  "deadline_exceeded",
]);

/** A disk over its flood-stage watermark; the cluster lifts the block when there is space again. */
const DISK_BLOCK = /cluster_block_exception.*\/12\//;

/** How to wait. */
export interface Patience {
  readonly config: Pick<Config, "write.max_wait_ms">;
  readonly signal: AbortSignal;
  /** Told once when the waiting begins. */
  readonly onTrouble?: ((message: string) => void) | undefined;
}

/**
 * Repeats an idempotent request while the cluster is away, busy or out of disk space, up to
 * `write.max_wait_ms`.
 * @throws what the request throws for any other reason, or at the end of the patience.
 */
export async function patiently<T>(
  { config, signal, onTrouble }: Patience,
  request: () => Promise<T>,
): Promise<T> {
  return pRetry(request, {
    retries: Number.MAX_SAFE_INTEGER,
    minTimeout: 250,
    maxTimeout: 5_000,
    randomize: true,
    maxRetryTime: config["write.max_wait_ms"],
    signal,
    shouldRetry: ({ error }) => isPassing(error),
    onFailedAttempt: ({ error, attemptNumber }) => {
      if (attemptNumber === 1) onTrouble?.(`Waiting for the cluster: ${error.message}`);
    },
  });
}

/** True for a failure that the same request may not meet again later. */
export function isPassing(thrown: unknown): boolean {
  if (!(thrown instanceof CspladeError)) return false;
  return PASSING.has(thrown.code) || DISK_BLOCK.test(thrown.message);
}
