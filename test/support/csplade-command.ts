/** Runs the built `csplade` the way a person does: as a program of its own. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import path from "node:path";
import { text } from "node:stream/consumers";
import { packageRoot } from "../../src/config/package-root.js";
import type { Config } from "../../src/config/settings.js";
import { runProgram, type ProgramEnd } from "../../src/servers/program.js";
import { endWithProcess } from "./process-end.js";
import { testServers } from "./servers.js";
import { tinyCheckpoint } from "./tiny-checkpoints.js";

const MAIN = path.join(packageRoot, "dist", "src", "cli", "main.js");

/** Runs `csplade` with `args` to its end; output is both streams together. */
export async function csplade(
  args: readonly string[],
  { deadlineMs = 120_000, env = {} }: { deadlineMs?: number; env?: Record<string, string> } = {},
): Promise<ProgramEnd> {
  return await runProgram(process.execPath, [MAIN, ...args], { deadlineMs, env });
}

/** How a program ended. */
export interface CspladeEnd {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/**
 * Starts `csplade` in a folder, on the servers of this test run, with the tiny model and with `env`;
 * nothing else comes from the environment of the tests.
 */
export function startCsplade(
  folder: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): ChildProcessWithoutNullStreams {
  const { opensearchUrl, redisUrl } = testServers();
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      CSPLADE_HOME: path.join(folder, "home"),
      CSPLADE_MODEL: tinyCheckpoint("bi"),
      CSPLADE_THREADS: "1",
      OPENSEARCH_URL: opensearchUrl,
      REDIS_URL: redisUrl,
      NO_COLOR: "1",
      ...env,
    },
  });
  endWithProcess(child);
  return child;
}

/**
 * {@link startCsplade} to its end, with `input` on its standard input.
 * @param deadlineMs when it is asked to stop; ten seconds later it is killed, and its code is null.
 */
export async function runCsplade(
  folder: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  input = "",
  deadlineMs?: number,
): Promise<CspladeEnd> {
  const child = startCsplade(folder, args, env);
  child.stdin.end(input);
  const kill = (after: number, how: NodeJS.Signals) => setTimeout(() => child.kill(how), after);
  const timers =
    deadlineMs === undefined
      ? []
      : [kill(deadlineMs, "SIGTERM"), kill(deadlineMs + 10_000, "SIGKILL")];
  child.on("close", () => timers.forEach((timer) => clearTimeout(timer)));
  const code = new Promise<number | null>((resolve) => child.on("close", resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

/** The variables that give a program of its own this model, these servers and this queue. */
export function environmentOf(config: Config) {
  return {
    CSPLADE_MODEL: config["model.path"],
    CSPLADE_REDIS_PREFIX: config["redis.prefix"],
    OPENSEARCH_URL: config["opensearch.url"],
    REDIS_URL: config["redis.url"],
  };
}
