/**
 * One real OpenSearch and one real Redis for all suites below test/live/,
 * started before the first and stopped after the last (mocha's global fixtures,
 * see test/mocharc.json). They have ports and a data folder of their own and
 * share the assembled distribution with `csplade up`.
 */
import { mkdtemp, readdir } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { loadConfig } from "../../src/config/load-config.js";
import type { OpenSearchVersion } from "../../src/servers/distribution-lock.js";
import { findFreePort } from "../../src/servers/port.js";
import { startServers, stopServers } from "../../src/servers/servers.js";
import { endHome, guardHome } from "./process-end.js";

/** What a live suite gets. */
export interface TestServers {
  readonly opensearchUrl: string;
  readonly redisUrl: string;
  /** `kill -9`; returns when the process is gone. */
  killOpenSearch(): Promise<void>;
  /** Starts it again on the same port with the same data; returns when it is healthy. */
  restartOpenSearch(): Promise<void>;
  /** `kill -9`; returns when the process is gone. */
  killRedis(): Promise<void>;
  /** Starts it again on the same port with the same data; returns when it is healthy. */
  restartRedis(): Promise<void>;
}

const folderPrefix = "csplade-test-";
let running: TestServers | undefined;
let home: string | undefined;

/** The servers of this run. */
export function testServers(): TestServers {
  if (running === undefined) {
    throw new Error("No test servers: run mocha with --config test/mocharc.json.");
  }
  return running;
}

/** Folder of downloads and assembled distributions that tests share with `csplade up`. */
export function sharedCache(): string {
  return loadConfig().values.home;
}

/** A folder for one test's own home; removed with {@link endHome}, or with the process. */
export async function makeTestFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), `${folderPrefix}${process.pid}-`));
  guardHome(folder, "removed");
  return folder;
}

/** Called by mocha before the first suite. */
export async function mochaGlobalSetup(): Promise<void> {
  await removeLeftovers();
  const folder = await makeTestFolder();
  home = folder;
  const [opensearchPort, redisPort] = [await findFreePort(), await findFreePort()];
  const start = async (servers: readonly ("opensearch" | "redis")[]) => {
    return await startServers({
      home: folder,
      cache: sharedCache(),
      opensearchPort,
      redisPort,
      servers,
      // One server has the indices of all suites, documents of ten megabytes among them.
      heap: "1g",
      onProgress: (message) => process.stderr.write(`test servers: ${message}\n`),
    });
  };
  const restart = async (server: "opensearch" | "redis") => {
    await start([server]);
  };
  const kill = async (server: "opensearch" | "redis") => {
    await stopServers(folder, { servers: [server], graceMs: 0 });
  };
  const { opensearch, redis } = await start(["redis", "opensearch"]);
  running = {
    opensearchUrl: opensearch?.url ?? "",
    redisUrl: redis?.url ?? "",
    killOpenSearch: () => kill("opensearch"),
    restartOpenSearch: () => restart("opensearch"),
    killRedis: () => kill("redis"),
    restartRedis: () => restart("redis"),
  };
}

/** Called by mocha after the last suite, also when some failed or it was interrupted. */
export async function mochaGlobalTeardown(): Promise<void> {
  if (home === undefined) return;
  await endHome(home);
  home = undefined;
}

/** Servers of a run that was killed outright: their folder names its pid. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(os.tmpdir())) {
    const pid = Number(new RegExp(`^${folderPrefix}(\\d+)-`).exec(name)?.[1]);
    if (!Number.isInteger(pid) || isAlive(pid)) continue;
    try {
      await endHome(path.join(os.tmpdir(), name));
    } catch {
      // another run, started at the same moment, is removing it
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** An OpenSearch of a test's own. */
export interface TestOpenSearch {
  readonly url: string;
  /** Stops it and removes its data. */
  stop(): Promise<void>;
}

/** Starts an OpenSearch of `version` besides the shared one; give the hook some minutes for the first download. */
export async function startTestOpenSearch(version: OpenSearchVersion): Promise<TestOpenSearch> {
  const folder = await makeTestFolder();
  const { opensearch } = await startServers({
    home: folder,
    cache: sharedCache(),
    opensearchPort: await findFreePort(),
    opensearchVersion: version,
    servers: ["opensearch"],
  });
  return { url: opensearch?.url ?? "", stop: () => endHome(folder) };
}
