/**
 * The embedded servers of one home: start both or one, stop or kill them, and
 * what runs. They go on when the command that started them ends.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { CspladeError } from "../errors/csplade-error.js";
import type { OpenSearchVersion } from "./distribution-lock.js";
import { ensureDistribution, type Distribution } from "./distribution.js";
import { withFolderLock } from "./folder-lock.js";
import { demandDiskSpace, homeAt, makeFolder, prepareHome, type Home } from "./home.js";
import {
  isOpenSearchHealthy,
  openSearchLog,
  openSearchMarks,
  openSearchOutput,
  openSearchUrl,
  startOpenSearch,
} from "./opensearch-server.js";
import type { JavaSearch } from "./java.js";
import { demandFreePort } from "./port.js";
import {
  findRedis,
  isRedisHealthy,
  redisLog,
  redisMarks,
  redisUrl,
  startRedis,
} from "./redis-server.js";
import { endProcess, isRunning, tailOf, type StartedProcess } from "./server-process.js";
import { changeState, readState, type ServersState } from "./state.js";

/** Which of the two. */
export type ServerName = "opensearch" | "redis";

const bothServers: readonly ServerName[] = ["redis", "opensearch"];

/** How {@link startServers} starts. */
export interface StartOptions {
  /** Folder of the servers' data, logs and state (setting `home`). */
  readonly home: string;
  /** Folder of downloads and assembled distributions; `home` where not given. */
  readonly cache?: string;
  /** Default 9250. */
  readonly opensearchPort?: number;
  /** Default 6390. */
  readonly redisPort?: number;
  /** Default 3.6.0. */
  readonly opensearchVersion?: OpenSearchVersion;
  /** Where a JDK is looked for; the usual places where not given. */
  readonly java?: JavaSearch;
  /** Java heap of OpenSearch with its unit, such as `512m` (the default) or `1g`. */
  readonly heap?: string;
  /** Only these; both where not given. */
  readonly servers?: readonly ServerName[];
  /** Milliseconds until a started server must be healthy, default 120,000; downloads not included. */
  readonly healthyWithinMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Told in a few words what is being done. */
  readonly onProgress?: ((message: string) => void) | undefined;
}

/** One running, healthy server. */
export interface RunningServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly log: string;
  /** It ran before this call. */
  readonly alreadyRunning: boolean;
}

/** The servers after {@link startServers}. */
export interface RunningServers {
  readonly home: string;
  readonly opensearch?: RunningServer & { readonly version: OpenSearchVersion };
  readonly redis?: RunningServer;
}

/** One server as {@link serverStatus} found it. */
export interface ServerState {
  readonly state: "healthy" | "unhealthy" | "stopped";
  readonly url?: string;
  readonly pid?: number;
  readonly version?: OpenSearchVersion;
}

const homeLockWaitMs = 300_000;
const startBytes = 600_000_000;

/**
 * Starts the servers of a home and waits until they are healthy. A server that
 * runs and is healthy is left as it is. When one fails, those started by this
 * call are stopped again.
 * @throws CspladeError `server_missing`, `server_port_taken`, `server_failed`, `download_failed`, `deadline_exceeded`, `aborted`.
 */
export async function startServers(options: StartOptions): Promise<RunningServers> {
  const home = homeAt(options.home);
  const wanted = new Set(options.servers ?? bothServers);
  const plan = {
    opensearchPort: options.opensearchPort ?? 9250,
    redisPort: options.redisPort ?? 6390,
    version: options.opensearchVersion ?? "3.6.0",
    heap: demandHeap(options.heap ?? "512m"),
  };
  await prepareHome(home);
  const lockOptions = {
    waitMs: homeLockWaitMs,
    signal: options.signal,
    onWait: () =>
      options.onProgress?.("waiting for another csplade that starts or stops these servers"),
  };
  // A folder of its own, so that the cache's lock in the same home can be taken meanwhile.
  return await withFolderLock(home.config, lockOptions, async () => {
    const before = readState(home);
    const live = {
      redis: await isUp(home, before, "redis", options),
      opensearch: await isUp(home, before, "opensearch", options),
    };
    const toStart = bothServers.filter((name) => wanted.has(name) && !live[name]);
    demandSamePlan(home, before, live, wanted, plan);
    if (toStart.includes("redis")) {
      findRedis();
      await demandFreePort(plan.redisPort, "Redis", "--redis-port");
    }
    let distribution: Distribution | undefined;
    if (toStart.includes("opensearch")) {
      await demandFreePort(plan.opensearchPort, "OpenSearch", "--opensearch-port");
      distribution = await ensureDistribution(plan.version, options.cache ?? home.root, {
        ...options,
        ...options.java,
      });
      await demandDiskSpace(home.root, startBytes, "OpenSearch");
    }
    const started: Partial<Record<ServerName, StartedProcess>> = {};
    try {
      if (toStart.length > 0) options.onProgress?.(`starting ${toStart.map(nameOf).join(" and ")}`);
      if (toStart.includes("redis")) {
        started.redis = await startRedis(home, plan.redisPort);
        await changeState(home, { redis: { pid: started.redis.pid, port: plan.redisPort } });
      }
      if (distribution !== undefined) {
        const { opensearchPort: port, heap, version } = plan;
        started.opensearch = await startOpenSearch(home, distribution, { port, heap });
        await changeState(home, {
          opensearch: { pid: started.opensearch.pid, port, version, heap },
        });
      }
      const state = readState(home);
      await Promise.all(
        [...wanted].map((name) => waitHealthy(home, state, name, started[name], options)),
      );
    } catch (thrown) {
      await stopRecorded(home, Object.keys(started) as ServerName[], 5_000);
      throw thrown;
    }
    return describe(home, wanted, started);
  });
}

function demandHeap(heap: string): string {
  if (/^[1-9]\d*[mg]$/.test(heap)) return heap;
  throw new CspladeError("config_invalid", `The heap ${heap} is not a size.`, {
    hint: "Write it as megabytes or gigabytes, such as 512m or 2g.",
  });
}

function nameOf(server: ServerName): string {
  return server === "redis" ? "Redis" : "OpenSearch";
}

/** Running servers keep their port and version until they are stopped. */
function demandSamePlan(
  home: Home,
  { redis, opensearch }: ServersState,
  live: Readonly<Record<ServerName, boolean>>,
  wanted: ReadonlySet<ServerName>,
  plan: { opensearchPort: number; redisPort: number; version: OpenSearchVersion },
): void {
  const refuse = (running: string, asked: string) => {
    throw new CspladeError(
      "server_failed",
      `${running} already runs in ${home.root}, not ${asked}.`,
      {
        hint: "Stop it first with csplade down, or use another folder with --home.",
      },
    );
  };
  if (live.redis && redis !== undefined && wanted.has("redis") && redis.port !== plan.redisPort) {
    refuse(`Redis on port ${redis.port}`, `on ${plan.redisPort}`);
  }
  if (live.opensearch && opensearch !== undefined && wanted.has("opensearch")) {
    const { port, version } = opensearch;
    if (port !== plan.opensearchPort || version !== plan.version) {
      refuse(`OpenSearch ${version} on port ${port}`, `${plan.version} on ${plan.opensearchPort}`);
    }
  }
}

function recorded(
  home: Home,
  state: ServersState,
  name: ServerName,
): { pid: number; port: number; marks: string[] } | undefined {
  const record = state[name];
  if (record === undefined) return undefined;
  const marks = name === "redis" ? redisMarks(home, record.port) : openSearchMarks(home);
  return { pid: record.pid, port: record.port, marks };
}

async function isHealthy(name: ServerName, port: number, pid: number): Promise<boolean> {
  return name === "redis" ? await isRedisHealthy(port, pid) : await isOpenSearchHealthy(port, pid);
}

/**
 * Waits for what a server that was started before turns out to be: healthy
 * (`true`), or ended (`false`), as one that was killed a moment ago.
 */
async function isUp(
  home: Home,
  state: ServersState,
  name: ServerName,
  options: StartOptions,
): Promise<boolean> {
  const server = recorded(home, state, name);
  if (server === undefined) return false;
  return await untilHealthy(home, name, server, options, () => isRunning(server.pid, server.marks));
}

async function waitHealthy(
  home: Home,
  state: ServersState,
  name: ServerName,
  started: StartedProcess | undefined,
  options: StartOptions,
): Promise<void> {
  const server = recorded(home, state, name);
  if (server === undefined || started === undefined) return;
  const lives = () => Promise.resolve(started.exited() === undefined);
  if (await untilHealthy(home, name, server, options, lives)) return;
  const log = logOf(home, name);
  const output = name === "redis" ? log : openSearchOutput(home);
  throw new CspladeError(
    "server_failed",
    `${nameOf(name)} ended while it started (${started.exited() ?? ""}): ${tailOf(output) || "it said nothing"}`,
    { hint: `Read ${output}${output === log ? "" : ` and ${log}`}.` },
  );
}

/** `true` when healthy, `false` when the process ended before. */
async function untilHealthy(
  home: Home,
  name: ServerName,
  { pid, port }: { pid: number; port: number },
  { healthyWithinMs = 120_000, signal }: StartOptions,
  lives: () => Promise<boolean>,
): Promise<boolean> {
  const until = Date.now() + healthyWithinMs;
  while (await lives()) {
    if (await isHealthy(name, port, pid)) return true;
    if (signal?.aborted === true) {
      throw new CspladeError("aborted", `Waiting for ${nameOf(name)} was cancelled.`);
    }
    if (Date.now() >= until) {
      throw new CspladeError(
        "deadline_exceeded",
        `${nameOf(name)} (process ${pid}) is not healthy after ${Math.round(healthyWithinMs / 1000)} s.`,
        { hint: `Read ${logOf(home, name)}; csplade down stops it.` },
      );
    }
    await sleep(100);
  }
  return false;
}

function logOf(home: Home, name: ServerName): string {
  return name === "redis" ? redisLog(home) : openSearchLog(home);
}

function describe(
  home: Home,
  wanted: ReadonlySet<ServerName>,
  started: Partial<Record<ServerName, StartedProcess>>,
): RunningServers {
  const { opensearch, redis } = readState(home);
  return {
    home: home.root,
    ...(wanted.has("opensearch") && opensearch !== undefined
      ? {
          opensearch: {
            url: openSearchUrl(opensearch.port),
            port: opensearch.port,
            pid: opensearch.pid,
            version: opensearch.version,
            log: openSearchLog(home),
            alreadyRunning: started.opensearch === undefined,
          },
        }
      : {}),
    ...(wanted.has("redis") && redis !== undefined
      ? {
          redis: {
            url: redisUrl(redis.port),
            port: redis.port,
            pid: redis.pid,
            log: redisLog(home),
            alreadyRunning: started.redis === undefined,
          },
        }
      : {}),
  };
}

/** How {@link stopServers} stops. */
export interface StopOptions {
  /** Only these; both where not given. */
  readonly servers?: readonly ServerName[];
  /** Milliseconds a server has to end by itself before it is killed, default 30,000; 0 is `kill -9`. */
  readonly graceMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Stops servers of a home and waits until they are gone. Data stays.
 * @returns those that ran.
 * @throws CspladeError `server_failed`, `deadline_exceeded`, `aborted`.
 */
export async function stopServers(home: string, options: StopOptions = {}): Promise<ServerName[]> {
  const at = homeAt(home);
  const { graceMs = 30_000, signal, servers = bothServers } = options;
  if (Object.keys(readState(at)).length === 0) return [];
  await makeFolder(at.config);
  return await withFolderLock(at.config, { waitMs: homeLockWaitMs, signal }, () =>
    stopRecorded(at, servers, graceMs, signal),
  );
}

async function stopRecorded(
  home: Home,
  servers: readonly ServerName[],
  graceMs: number,
  signal?: AbortSignal,
): Promise<ServerName[]> {
  const state = readState(home);
  const stopped = await Promise.all(
    servers.map(async (name) => {
      const server = recorded(home, state, name);
      if (server === undefined || !(await isRunning(server.pid, server.marks))) return [];
      await endProcess(server.pid, server.marks, { graceMs, signal });
      return [name];
    }),
  );
  await changeState(home, Object.fromEntries(servers.map((name) => [name, undefined])));
  return stopped.flat();
}

/** What runs in a home, asked of the servers themselves. */
export async function serverStatus(home: string): Promise<Record<ServerName, ServerState>> {
  const at = homeAt(home);
  const state = readState(at);
  const ask = async (name: ServerName): Promise<ServerState> => {
    const server = recorded(at, state, name);
    if (server === undefined || !(await isRunning(server.pid, server.marks))) {
      return { state: "stopped" };
    }
    const { pid, port } = server;
    const healthy = await isHealthy(name, port, pid);
    return {
      state: healthy ? "healthy" : "unhealthy",
      url: name === "redis" ? redisUrl(port) : openSearchUrl(port),
      pid,
      ...(name === "opensearch" && state.opensearch !== undefined
        ? { version: state.opensearch.version }
        : {}),
    };
  };
  const [redis, opensearch] = await Promise.all([ask("redis"), ask("opensearch")]);
  return { redis, opensearch };
}
