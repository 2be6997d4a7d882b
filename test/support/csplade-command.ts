/** Runs the built `csplade` the way a person does: as a program of its own. */
import path from "node:path";
import { packageRoot } from "../../src/config/package-root.js";
import type { Config } from "../../src/config/settings.js";
import { runProgram, type ProgramEnd } from "../../src/servers/program.js";

/** Runs `csplade` with `args` to its end; output is both streams together. */
export async function csplade(
  args: readonly string[],
  { deadlineMs = 120_000, env = {} }: { deadlineMs?: number; env?: Record<string, string> } = {},
): Promise<ProgramEnd> {
  const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
  return await runProgram(process.execPath, [main, ...args], { deadlineMs, env });
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
