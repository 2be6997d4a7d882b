/** Connections to Redis, standalone, as a Cluster or behind Sentinels: nobody else opens one. */
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { parseRedisUrl, type RedisPlace } from "../config/redis-url.js";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import { certificateRefusal } from "./redis-certificate.js";

/** A connection to Redis. */
export type RedisClient = Redis | Cluster;

/** Longest pause between two attempts to reach Redis again, milliseconds. */
const MAX_RECONNECT_MS = 2_000;

/** How long the first connection may take, milliseconds. */
const CONNECT_MS = 5_000;

/** How long a failover may be under way when a command begins, milliseconds. */
const FAILOVER_MS = 30_000;

/** Pause before the next look for a primary, milliseconds. */
const FAILOVER_PAUSE_MS = 500;

/** Longest silence of a server that was asked something, milliseconds: blocking commands ask for ten seconds. */
const SOCKET_TIMEOUT_MS = 30_000;

/** The address of Redis without its password, for messages. */
function redisName(config: Config): string {
  const place = placeOf(config);
  const mode = place.kind === "standalone" ? "" : `+${place.kind}`;
  const hosts = place.nodes.map(({ host, port }) => `${host}:${port}`).join(",");
  return `redis${place.tls ? "s" : ""}${mode}://${hosts}${place.primary === undefined ? "" : `/${place.primary}`}`;
}

function placeOf(config: Config): RedisPlace {
  const place = parseRedisUrl(config["redis.url"]);
  if (place === undefined) throw new CspladeError("config_invalid", "redis.url is no Redis URL.");
  return place;
}

/** What ioredis keeps to itself and its clients cannot be ended without. */
interface Inside {
  readonly socketTimeoutTimer?: NodeJS.Timeout;
  setStatus(status: "end"): void;
  flushQueue(error: Error): void;
}

/**
 * A client that ends when it is told to, and its copies with it: BullMQ makes one that waits for jobs.
 *
 * ioredis stops trying when it is closed in the pause before it connects again, but never says that it
 * has ended, nor answers what was asked of it: whoever waits for either would wait for ever.
 */
function thatEnds<Client extends RedisClient>(client: Client): Client {
  const inside = client as unknown as Inside;
  const disconnect = client.disconnect.bind(client);
  client.disconnect = (reconnect = false) => {
    const isPausing = client.status === "reconnecting";
    disconnect(reconnect);
    if (reconnect || !isPausing) return;
    inside.setStatus("end");
    inside.flushQueue(new Error("Connection is closed."));
  };
  // ioredis would hold the process for the rest of SOCKET_TIMEOUT_MS where a copy is closed while it waits for a job.
  client.on("close", () => clearTimeout(inside.socketTimeoutTimer));
  return client;
}

function standaloneThatEnds(redis: Redis): Redis {
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (override) => endingWith(redis, standaloneThatEnds(duplicate(override)));
  return thatEnds(redis);
}

function clusterThatEnds(cluster: Cluster): Cluster {
  cluster.on("+node", (node: Redis) => thatEnds(node));
  const duplicate = cluster.duplicate.bind(cluster);
  cluster.duplicate = (...given) => endingWith(cluster, clusterThatEnds(duplicate(...given)));
  return thatEnds(cluster);
}

function endingWith<Client extends RedisClient>(original: RedisClient, copy: Client): Client {
  original.once("end", () => {
    if (copy.status !== "end") copy.disconnect();
  });
  return copy;
}

function clientOf(place: RedisPlace, isUp: () => boolean): RedisClient {
  const { nodes, username, password, database, primary, sentinelPassword, tls } = place;
  const again = (attempt: number) => (isUp() ? Math.min(100 * attempt, MAX_RECONNECT_MS) : null);
  const common: RedisOptions = {
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    // BullMQ's workers need both: blocking commands must outlive a reconnect.
    maxRetriesPerRequest: null,
    enableReadyCheck: true,
    // After a failover this connection leads to a replica, and a new one to the new primary.
    reconnectOnError: ({ message }) => (/READONLY|UNBLOCKED/.test(message) ? 2 : false),
    socketTimeout: SOCKET_TIMEOUT_MS,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
  };
  if (place.kind === "cluster") {
    const cluster = new Cluster([...nodes], {
      lazyConnect: true,
      redisOptions: common,
      clusterRetryStrategy: again,
      // Certificates name hosts: their names must reach TLS.
      ...(tls ? { dnsLookup: (address, callback) => callback(null, address) } : {}),
    });
    return clusterThatEnds(cluster);
  }
  if (place.kind === "sentinel") {
    const behindSentinels = new Redis({
      ...common,
      sentinels: [...nodes],
      name: primary ?? "",
      db: database,
      retryStrategy: again,
      sentinelRetryStrategy: again,
      ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
      ...(tls ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {}),
    });
    return standaloneThatEnds(behindSentinels);
  }
  return standaloneThatEnds(
    new Redis({ ...common, ...nodes[0], db: database, retryStrategy: again }),
  );
}

/**
 * Connects to Redis, asks for an answer, and refuses a server that cannot hold queues. Once connected,
 * it reconnects for as long as it takes: how long an operation may wait is decided by its caller.
 * @throws CspladeError `queue_unreachable` if Redis does not answer within five seconds, or a Cluster or
 *   Sentinels name no primary that does for as long as a failover takes, or at once if its certificate
 *   is not trusted; `queue_unsupported` if it cannot work, with the command that mends it.
 */
export async function connectRedis(config: Config): Promise<RedisClient> {
  const place = placeOf(config);
  const patience = place.kind === "standalone" ? 0 : FAILOVER_MS;
  const giveUpAt = performance.now() + patience;
  for (;;) {
    try {
      return await connectOnce(config, place);
    } catch (thrown) {
      const isAway = thrown instanceof CspladeError && thrown.code === "queue_unreachable";
      if (isAway) {
        const refusal = await certificateRefusal(place);
        if (refusal !== undefined) throw refusal;
      }
      if (!isAway || performance.now() >= giveUpAt) throw thrown;
      await sleep(FAILOVER_PAUSE_MS);
    }
  }
}

async function connectOnce(config: Config, place: RedisPlace): Promise<RedisClient> {
  let isUp = false;
  const redis = clientOf(place, () => isUp);
  let lastError: unknown;
  redis.on("error", (error: unknown) => {
    lastError = error;
  });
  let info: string;
  try {
    await withDeadline(redis.connect(), CONNECT_MS, "Connecting");
    info = await withDeadline(redis.info(), CONNECT_MS, "Asking");
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
  isUp = true;
  try {
    demandAble(config, place, info);
  } catch (thrown) {
    redis.disconnect();
    throw thrown;
  }
  return redis;
}

function fieldOf(info: string, name: string): string | undefined {
  return new RegExp(`^${name}:(.*)$`, "m").exec(info)?.[1]?.trim();
}

/** @throws CspladeError `queue_unsupported` for a server that would lose or refuse jobs. */
function demandAble(config: Config, { kind, nodes }: RedisPlace, info: string): void {
  const eviction = fieldOf(info, "maxmemory_policy") ?? "noeviction";
  const [first] = nodes;
  const at = `${first?.host ?? ""}:${first?.port ?? ""}`;
  if (eviction !== "noeviction") {
    throw new CspladeError(
      "queue_unsupported",
      `Redis at ${redisName(config)} may throw jobs away: its maxmemory-policy is ${eviction}.`,
      { hint: "redis-cli CONFIG SET maxmemory-policy noeviction, on every node" },
    );
  }
  if (fieldOf(info, "cluster_enabled") === "1" && kind !== "cluster") {
    throw new CspladeError(
      "queue_unsupported",
      `Redis at ${redisName(config)} is a node of a Cluster, which needs a client of its own and keys with a hash tag.`,
      { hint: `export REDIS_URL=redis+cluster://${at}` },
    );
  }
}

/**
 * Says what Redis it is and whether it keeps the queues safe.
 * @throws CspladeError `queue_unreachable`, `queue_unsupported`.
 */
export async function checkRedis(config: Config): Promise<string> {
  const redis = await connectRedis(config);
  try {
    const info = await redis.info();
    const field = (name: string) => fieldOf(info, name);
    const aof =
      field("aof_enabled") === "1" ? "AOF on" : "AOF off: queued work is lost when it stops";
    return `Redis ${field("redis_version") ?? "?"} at ${redisName(config)}, ${aof}`;
  } finally {
    redis.disconnect();
  }
}
