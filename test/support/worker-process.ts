/** `csplade worker` as a process of its own, for experiments that kill, pin or watch it. */
import { spawn, type ChildProcess } from "node:child_process";
import path from "node:path";
import { packageRoot } from "../../src/config/package-root.js";
import type { Config } from "../../src/config/settings.js";
import { environmentOf } from "./csplade-command.js";
import { endWithProcess } from "./process-end.js";

/** How a worker is started. */
export interface WorkerProcessOptions {
  /** Variables over those that follow from the configuration. */
  readonly env?: Readonly<Record<string, string>>;
  /** The one core it may use (Linux, with `taskset`). */
  readonly core?: number;
}

/** Starts a worker with one encoder thread and waits until it works. */
export async function startWorkerProcess(
  config: Config,
  { env = {}, core }: WorkerProcessOptions = {},
): Promise<ChildProcess> {
  const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
  const command = [process.execPath, main, "worker"];
  const pinned = core === undefined ? command : ["taskset", "-c", String(core), ...command];
  const [program = "", ...args] = pinned;
  const worker = spawn(program, args, {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      ...process.env,
      ...environmentOf(config),
      CSPLADE_THREADS: "1",
      CSPLADE_LOCK_MS: String(config["queue.lock_ms"]),
      ...env,
    },
  });
  endWithProcess(worker);
  await new Promise<void>((resolve, reject) => {
    let said = "";
    const late = setTimeout(() => {
      worker.kill("SIGKILL");
      reject(new Error(`The worker is not ready after a minute: ${said}`));
    }, 60_000);
    worker.stderr.setEncoding("utf8").on("data", (text: string) => {
      // Only what came before it was ready is of use, as the reason why it is not.
      if (said.length < 10_000) said += text;
      if (!said.includes("Working with")) return;
      clearTimeout(late);
      resolve();
    });
    worker.once("error", reject);
    worker.once("exit", (code) => {
      clearTimeout(late);
      reject(new Error(`The worker ended (${code}): ${said}`));
    });
  });
  return worker;
}
