/** Waiting for a cluster that is away or busy, with a bound. */
import pRetry from "p-retry";
import { z } from "zod";
import type { Config } from "../config/settings.js";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import type { Cluster } from "./cluster.js";
import { PASSING_BLOCK } from "./refusal.js";

/** Reasons that pass by themselves: the same request may succeed later. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "cluster_busy",
  "cluster_unreachable",
  "deadline_exceeded",
]);

/** How to wait. */
export interface Patience {
  readonly config: Pick<Config, "write.max_wait_ms">;
  readonly signal: AbortSignal;
  /** Asked, where an index is not found, whether it has come to know its indices yet. */
  readonly cluster?: Cluster | undefined;
  /** Told once when the waiting begins. */
  readonly onTrouble?: ((message: string) => void) | undefined;
}

/**
 * Repeats an idempotent request while the cluster is away, busy, out of disk space or closed for
 * writes, up to `write.max_wait_ms`.
 * @throws what the request throws for any other reason, or at the end of the patience.
 */
export async function patiently<T>(
  { config, signal, cluster, onTrouble }: Patience,
  request: () => Promise<T>,
): Promise<T> {
  const believed = cluster === undefined ? request : () => believe404(cluster, request);
  return pRetry(believed, {
    retries: Number.MAX_SAFE_INTEGER,
    minTimeout: 250,
    maxTimeout: 5_000,
    randomize: true,
    maxRetryTime: config["write.max_wait_ms"],
    signal,
    shouldRetry: ({ error }) => isPassing(error),
    onFailedAttempt: ({ error, attemptNumber }) => {
      if (attemptNumber === 1 && isPassing(error))
        onTrouble?.(`Waiting for the cluster: ${error.message}`);
    },
  });
}

/** A cluster that is just starting says 404 of indices it has not read from its disk yet. */
async function believe404<T>(cluster: Cluster, request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (thrown) {
    if (!(thrown instanceof CspladeError) || thrown.code !== "index_not_found") throw thrown;
    const answer = await cluster.send({ method: "GET", path: "/_cluster/state/blocks" });
    const blocks = blocksSchema.safeParse(answer.body).data?.blocks.global ?? {};
    if (answer.status === 503 || Object.keys(blocks).length > 0) {
      throw new CspladeError("cluster_busy", `${cluster.url} is still starting.`, {
        cause: thrown,
      });
    }
    return request();
  }
}

const blocksSchema = z.object({
  blocks: z.object({ global: z.record(z.string(), z.unknown()).optional() }),
});

/** True for a failure that the same request may not meet again later. */
export function isPassing(thrown: unknown): boolean {
  if (!(thrown instanceof CspladeError)) return false;
  return PASSING.has(thrown.code) || PASSING_BLOCK.test(thrown.message);
}
