/** Redis as a Cluster of three nodes, and as a primary with a replica behind a Sentinel. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { findFreePort } from "../../src/servers/port.js";
import { runProgram } from "../../src/servers/program.js";
import { endWithProcess } from "./process-end.js";

/** Some Redis servers. */
export interface RedisServers {
  /** For `REDIS_URL`. */
  readonly url: string;
  /** Their ports; the primary's first. */
  readonly ports: readonly number[];
  /** `kill -9` of the server on a port. */
  kill(port: number): Promise<void>;
  stop(): Promise<void>;
}

class Servers {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), "csplade-redis-"));
  readonly children = new Map<number, ChildProcess>();

  async start(port: number, args: readonly string[], config?: string): Promise<void> {
    const folder = path.join(this.folder, String(port));
    mkdirSync(folder);
    const file = path.join(folder, "redis.conf");
    writeFileSync(file, config ?? "");
    const own = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
    const child = spawn("redis-server", [file, ...own, ...args], { stdio: "ignore" });
    endWithProcess(child);
    this.children.set(port, child);
    for (;;) {
      const redis = new Redis(port, "127.0.0.1", { lazyConnect: true, retryStrategy: () => null });
      redis.on("error", () => {});
      try {
        await redis.connect();
        await redis.ping();
        return;
      } catch {
        await sleep(50);
      } finally {
        redis.disconnect();
      }
    }
  }

  async kill(port: number): Promise<void> {
    const child = this.children.get(port);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    for (const port of this.children.keys()) await this.kill(port);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Starts one server. */
export async function startRedis(): Promise<RedisServers> {
  const servers = new Servers();
  const port = await findFreePort();
  await servers.start(port, ["--appendonly", "yes"]);
  return {
    url: `redis://127.0.0.1:${port}`,
    ports: [port],
    kill: (killed) => servers.kill(killed),
    stop: () => servers.stop(),
  };
}

/** A port whose cluster bus (10,000 above) is a port too. */
async function clusterPort(): Promise<number> {
  for (;;) {
    const port = await findFreePort();
    if (port < 55_000) return port;
  }
}

/** Starts a Cluster of three nodes. */
export async function startRedisCluster(): Promise<RedisServers> {
  const servers = new Servers();
  const ports: number[] = [];
  for (let i = 0; i < 3; i++) {
    const port = await clusterPort();
    await servers.start(port, ["--cluster-enabled", "yes", "--appendonly", "yes"]);
    ports.push(port);
  }
  const nodes = ports.map((port) => `127.0.0.1:${port}`);
  const args = ["--cluster", "create", ...nodes, "--cluster-yes"];
  const made = await runProgram("redis-cli", args, { deadlineMs: 60_000 });
  if (made.status !== 0) throw new Error(`redis-cli --cluster create: ${made.output}`);
  return {
    url: `redis+cluster://${nodes.join(",")}`,
    ports,
    kill: (port) => servers.kill(port),
    stop: () => servers.stop(),
  };
}

/** Starts a primary, a replica and a Sentinel that makes the replica primary a second after the primary's end. */
export async function startRedisBehindSentinel(): Promise<RedisServers> {
  const servers = new Servers();
  const [primary, replica, sentinel] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ];
  await servers.start(primary, ["--appendonly", "yes"]);
  await servers.start(replica, [
    "--appendonly",
    "yes",
    "--replicaof",
    "127.0.0.1",
    String(primary),
  ]);
  const config = [
    `sentinel monitor main 127.0.0.1 ${primary} 1`,
    "sentinel down-after-milliseconds main 1000",
    "sentinel failover-timeout main 5000",
  ].join("\n");
  await servers.start(sentinel, ["--sentinel"], config + "\n");
  await sleep(2_000);
  return {
    url: `redis+sentinel://127.0.0.1:${sentinel}/main`,
    ports: [primary, replica],
    kill: (port) => servers.kill(port),
    stop: () => servers.stop(),
  };
}
