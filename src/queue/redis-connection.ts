/** Connections to Redis, and the sentence for when it cannot be reached. */
import { Redis } from "ioredis";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** Longest pause between two attempts to reach Redis again, milliseconds. */
const MAX_RECONNECT_MS = 2_000;

/** The URL of Redis without its password, for messages. */
function redisName(config: Config): string {
  const url = new URL(config["redis.url"]);
  return `${url.protocol}//${url.host}${url.pathname}`;
}

/**
 * Connects to Redis and asks for an answer. Once connected, it reconnects for as
 * long as it takes: how long an operation may wait is decided by its caller.
 * @throws CspladeError `queue_unreachable` if Redis does not answer within five seconds.
 */
export async function connectRedis(config: Config): Promise<Redis> {
  const redis = new Redis(config["redis.url"], {
    lazyConnect: true,
    connectTimeout: 5_000,
    // BullMQ's workers need both: blocking commands must outlive a reconnect.
    maxRetriesPerRequest: null,
    enableReadyCheck: true,
    retryStrategy: () => null,
  });
  let lastError: unknown;
  redis.on("error", (error) => (lastError = error));
  try {
    await redis.connect();
    await redis.ping();
  } catch (thrown) {
    redis.disconnect();
    const cause = lastError ?? thrown;
    throw new CspladeError(
      "queue_unreachable",
      `Redis at ${redisName(config)} cannot be reached: ${messageOf(cause)}`,
      {
        cause,
        hint: "Start the embedded servers with csplade up, or point REDIS_URL at your Redis.",
      },
    );
  }
  redis.options.retryStrategy = (attempt) => Math.min(100 * attempt, MAX_RECONNECT_MS);
  return redis;
}

/**
 * Says what Redis it is and whether it keeps the queues safe.
 * @throws CspladeError `queue_unreachable`.
 */
export async function checkRedis(config: Config): Promise<string> {
  const redis = await connectRedis(config);
  try {
    const info = await redis.info();
    const field = (name: string) => new RegExp(`^${name}:(.*)$`, "m").exec(info)?.[1]?.trim();
    const aof =
      field("aof_enabled") === "1" ? "AOF on" : "AOF off: queued work is lost when it stops";
    const eviction = field("maxmemory_policy") ?? "unknown";
    const safe =
      eviction === "noeviction"
        ? ""
        : `; maxmemory-policy ${eviction} can drop jobs, set noeviction`;
    return `Redis ${field("redis_version") ?? "?"} at ${redisName(config)}, ${aof}${safe}`;
  } finally {
    redis.disconnect();
  }
}
