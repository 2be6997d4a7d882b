/** Redis as a Cluster of three nodes, and as a primary with a replica behind a Sentinel. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { findFreePort } from "../../src/servers/port.js";
import { findProgram, runProgram } from "../../src/servers/program.js";
import { makeCertificates } from "./certificates.js";
import { endWithProcess } from "./process-end.js";

/** Some Redis servers. */
export interface RedisServers {
  /** For `REDIS_URL`. */
  readonly url: string;
  /** Their ports; the primary's first. */
  readonly ports: readonly number[];
  /** The authority that signed their certificate, PEM, where they speak TLS. */
  readonly caFile?: string;
  /** `kill -9` of the server on a port. */
  kill(port: number): Promise<void>;
  stop(): Promise<void>;
}

class Servers {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), "csplade-redis-"));
  readonly children = new Map<number, ChildProcess>();

  private certificates: string | undefined;

  get caFile(): string | undefined {
    return this.certificates === undefined ? undefined : path.join(this.certificates, "ca.pem");
  }

  /** From now on servers speak TLS alone, to each other too. */
  async secure(): Promise<void> {
    const openssl = findProgram("openssl");
    if (openssl === undefined) throw new Error("There is no openssl to make certificates with.");
    this.certificates = path.join(this.folder, "certificates");
    mkdirSync(this.certificates);
    await makeCertificates(openssl, this.certificates);
  }

  private portArgs(port: number): string[] {
    if (this.certificates === undefined) return ["--port", String(port)];
    const at = (name: string) => path.join(this.certificates ?? "", name);
    return [
      ...["--port", "0", "--tls-port", String(port), "--tls-auth-clients", "no"],
      ...["--tls-cert-file", at("node.pem"), "--tls-key-file", at("node-key-for-server.pem")],
      ...["--tls-ca-cert-file", at("ca.pem"), "--tls-replication", "yes", "--tls-cluster", "yes"],
    ];
  }

  async start(port: number, args: readonly string[], config?: string): Promise<void> {
    const folder = path.join(this.folder, String(port));
    mkdirSync(folder);
    const file = path.join(folder, "redis.conf");
    writeFileSync(file, config ?? "");
    const own = [...this.portArgs(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
    const child = spawn("redis-server", [file, ...own, ...args], { stdio: "ignore" });
    endWithProcess(child);
    this.children.set(port, child);
    const deadline = Date.now() + 20_000;
    for (;;) {
      if (child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`redis-server on port ${port} did not start (exit ${child.exitCode}).`);
      }
      const tls = this.caFile === undefined ? {} : { tls: { ca: readFileSync(this.caFile) } };
      const redis = new Redis(port, "127.0.0.1", {
        lazyConnect: true,
        retryStrategy: () => null,
        ...tls,
      });
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
export async function startRedisCluster({ tls = false } = {}): Promise<RedisServers> {
  const servers = new Servers();
  if (tls) await servers.secure();
  const ports: number[] = [];
  for (let i = 0; i < 3; i++) {
    const port = await clusterPort();
    await servers.start(port, ["--cluster-enabled", "yes", "--appendonly", "yes"]);
    ports.push(port);
  }
  const nodes = ports.map((port) => `127.0.0.1:${port}`);
  const secure = servers.caFile === undefined ? [] : ["--tls", "--cacert", servers.caFile];
  const args = [...secure, "--cluster", "create", ...nodes, "--cluster-yes"];
  const made = await runProgram("redis-cli", args, { deadlineMs: 60_000 });
  if (made.status !== 0) throw new Error(`redis-cli --cluster create: ${made.output}`);
  return {
    url: `redis${tls ? "s" : ""}+cluster://${nodes.join(",")}`,
    ports,
    ...(servers.caFile === undefined ? {} : { caFile: servers.caFile }),
    kill: (port) => servers.kill(port),
    stop: () => servers.stop(),
  };
}

/** Starts a primary, a replica and a Sentinel that makes the replica primary a second after the primary's end. */
export async function startRedisBehindSentinel({ tls = false } = {}): Promise<RedisServers> {
  const servers = new Servers();
  if (tls) await servers.secure();
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
    url: `redis${tls ? "s" : ""}+sentinel://127.0.0.1:${sentinel}/main`,
    ports: [primary, replica],
    ...(servers.caFile === undefined ? {} : { caFile: servers.caFile }),
    kill: (port) => servers.kill(port),
    stop: () => servers.stop(),
  };
}

/** A primary and a replica behind one address, as cloud services and Kubernetes give them. */
export interface RedisBehindAddress extends RedisServers {
  /**
   * The replica becomes the primary and the other way round: new connections to the address reach the
   * new primary, and those that are open lead to the old one, which takes no writes any more.
   */
  failOver(): Promise<void>;
}

/** Starts them. */
export async function startRedisBehindAddress(): Promise<RedisBehindAddress> {
  const servers = new Servers();
  const [old, next] = [await findFreePort(), await findFreePort()];
  const durable = ["--appendonly", "yes"];
  await servers.start(old, durable);
  await servers.start(next, [...durable, "--replicaof", "127.0.0.1", String(old)]);
  await sleep(2_000);
  let primary = old;
  const open = new Set<Socket>();
  const address = createServer((client) => {
    const server = connect(primary, "127.0.0.1");
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      open.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  const port = await findFreePort();
  await new Promise<void>((resolve) => address.listen(port, "127.0.0.1", resolve));
  const tell = async (server: number, ...order: readonly string[]) => {
    const redis = new Redis(server, "127.0.0.1");
    await redis.call("REPLICAOF", ...order);
    redis.disconnect();
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    ports: [old, next],
    kill: (killed) => servers.kill(killed),
    async failOver() {
      await tell(next, "NO", "ONE");
      primary = next;
      await tell(old, "127.0.0.1", String(next));
    },
    async stop() {
      address.close();
      for (const socket of open) socket.destroy();
      await servers.stop();
    },
  };
}
