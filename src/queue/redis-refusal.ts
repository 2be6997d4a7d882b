/** What Redis says when it answers and refuses, as an error in its own words. */
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** How Redis begins what it says, and what to do; whether it may pass by itself. */
const REFUSALS: readonly (readonly [word: string, passes: boolean, hint: string])[] = [
  ["NOAUTH", false, "Put the password into REDIS_URL."],
  ["WRONGPASS", false, "Mend the name and password in REDIS_URL."],
  ["NOPERM", false, "Give the user of REDIS_URL all commands on the keys of redis.prefix."],
  ["OOM", true, "Give Redis more memory (maxmemory), or empty what else it holds."],
  ["MISCONF", true, "Redis cannot write its disk: make room there."],
  ["READONLY", true, "REDIS_URL leads to a replica: name the primary, or the Sentinels."],
  ["LOADING", true, "Redis is starting."],
  ["MASTERDOWN", true, "The primary is away."],
  ["CLUSTERDOWN", true, "Bring the Cluster's nodes back."],
  ["NOREPLICAS", true, "Bring the replicas back that min-replicas-to-write asks for."],
];

/** The refusal in an error of Redis; scripts have it inside a sentence of their own. */
function refusalIn(thrown: unknown): (typeof REFUSALS)[number] | undefined {
  if (!(thrown instanceof Error) || thrown.name !== "ReplyError") return undefined;
  return REFUSALS.find(([word]) => new RegExp(`\\b${word}\\b`).test(thrown.message));
}

/**
 * Waits for an operation on Redis.
 * @throws CspladeError `queue_refused` in Redis's words if it refuses; else what the operation throws.
 */
export async function saidByRedis<T>(doing: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (cause) {
    const refusal = refusalIn(cause);
    if (refusal === undefined) throw cause;
    const [, , hint] = refusal;
    throw new CspladeError("queue_refused", `${doing} is refused by Redis: ${messageOf(cause)}`, {
      cause,
      hint,
    });
  }
}

/** True for a refusal that waiting does not mend. */
export function isFinalRefusal(thrown: unknown): boolean {
  if (!(thrown instanceof CspladeError) || thrown.code !== "queue_refused") return false;
  return refusalIn(thrown.cause)?.[1] === false;
}
