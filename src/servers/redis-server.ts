/** One Redis on loopback with an append-only file: its configuration, and when it is healthy. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { Redis } from "ioredis";
import { CspladeError } from "../errors/csplade-error.js";
import { makeServerFolder, type Home } from "./home.js";
import { loopback } from "./port.js";
import { findProgram } from "./program.js";
import { startProcess, type StartedProcess } from "./server-process.js";

/** The URL of the Redis on `port`. */
export function redisUrl(port: number): string {
  return `redis://${loopback}:${port}`;
}

/** Where Redis writes its log. */
export function redisLog(home: Home): string {
  return path.join(home.logs, "redis.log");
}

function configFile(home: Home): string {
  return path.join(home.config, "redis.conf");
}

/** What is on the command line of this home's Redis: its configuration, or the title it gives itself. */
export function redisMarks(home: Home, port: number): string[] {
  return [configFile(home), `redis-server ${loopback}:${port}`];
}

/**
 * The path of `redis-server`.
 * @throws CspladeError `server_missing`.
 */
export function findRedis(env: NodeJS.ProcessEnv = process.env): string {
  const program = findProgram("redis-server", env);
  if (program !== undefined) return program;
  throw new CspladeError("server_missing", "The queue needs Redis, and there is no redis-server.", {
    hint: "Install it (Debian: apt-get install redis-server; macOS: brew install redis), or run npm run setup.",
  });
}

/**
 * Starts Redis; it is not healthy yet.
 * @throws CspladeError `server_missing`, `server_failed`.
 */
export async function startRedis(home: Home, port: number): Promise<StartedProcess> {
  const program = findRedis();
  const data = path.join(home.data, "redis");
  await makeServerFolder(data);
  await writeFile(
    configFile(home),
    `# Written by csplade up at every start; changes here are lost.
bind ${loopback}
port ${port}
protected-mode yes
daemonize no
dir ${JSON.stringify(data)}
# Jobs must survive a crash: at most the last second is lost.
appendonly yes
appendfsync everysec
save ""
# A full queue must refuse jobs, never drop them.
maxmemory-policy noeviction
`,
  );
  return await startProcess({
    program,
    args: [configFile(home)],
    cwd: data,
    outputFile: redisLog(home),
  });
}

/** Whether the Redis on `port` is process `pid` and has loaded its data. Never throws. */
export async function isRedisHealthy(port: number, pid: number): Promise<boolean> {
  const redis = new Redis(port, loopback, {
    lazyConnect: true,
    connectTimeout: 2_000,
    commandTimeout: 2_000,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  // The failed command says it too; without a listener ioredis prints it.
  redis.on("error", () => undefined);
  try {
    await redis.connect();
    await redis.ping(); // refused while the append-only file is still loaded
    const answered = /^process_id:(\d+)/m.exec(await redis.info("server"))?.[1];
    return Number(answered) === pid;
  } catch {
    return false;
  } finally {
    redis.disconnect();
  }
}
