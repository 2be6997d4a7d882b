/** What must not outlive this process, whichever way it ends: servers in a home, and children. */
import type { ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { homeAt } from "../../src/servers/home.js";
import { stopServers } from "../../src/servers/servers.js";
import { readState } from "../../src/servers/state.js";

const homes = new Map<string, "kept" | "removed">();
const children = new Set<ChildProcess>();

/** From now on a child is killed when this process ends. */
export function endWithProcess(child: ChildProcess): void {
  listen();
  children.add(child);
  child.once("exit", () => children.delete(child));
}

/**
 * From now on what runs in a home ends with this process, or by {@link endHome}.
 * @param then what becomes of its files: kept for another process, or removed.
 */
export function guardHome(home: string, then: "kept" | "removed"): void {
  listen();
  homes.set(home, then);
}

/** Stops what runs in a guarded home, and removes it if its files are not kept. */
export async function endHome(home: string): Promise<void> {
  if (homes.get(home) === "kept") await stopServers(home);
  else {
    await stopServers(home, { graceMs: 0 });
    await rm(home, { recursive: true, force: true });
  }
  homes.delete(home);
}

let listening = false;

function listen(): void {
  if (listening) return;
  listening = true;
  process.on("exit", endAll);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => process.exit(1));
  }
}

/** The last resort of a process that was interrupted or failed; nothing may wait here. */
function endAll(): void {
  for (const child of children) child.kill("SIGKILL");
  for (const [home, then] of homes) {
    const { opensearch, redis } = readState(homeAt(home));
    for (const server of [opensearch, redis]) {
      try {
        if (server !== undefined) process.kill(server.pid, then === "kept" ? "SIGTERM" : "SIGKILL");
      } catch {
        // it is gone already
      }
    }
  }
  // A server that is being killed may still write.
  const again = { recursive: true, force: true, maxRetries: 5, retryDelay: 200 };
  for (const [home, then] of homes) if (then === "removed") rmSync(home, again);
}
