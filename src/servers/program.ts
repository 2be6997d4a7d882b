/**
 * Runs a program to its end: argument array, no shell, a deadline, an AbortSignal.
 */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** How {@link runProgram} runs. */
export interface ProgramOptions {
  /** Milliseconds after which it is killed. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly cwd?: string;
  /** Variables besides this process's own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How a program ended. */
export interface ProgramEnd {
  /** Exit status; -1 when a signal ended it. */
  readonly status: number;
  /** The last 20,000 characters of standard output and standard error together. */
  readonly output: string;
}

const keptCharacters = 20_000;

/**
 * Runs `program` and waits for its end. A status other than 0 is returned, not thrown.
 * @throws CspladeError `server_missing` (cannot be started), `deadline_exceeded`, `aborted`.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<ProgramEnd> {
  const deadline = AbortSignal.timeout(options.deadlineMs);
  const signal =
    options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
  return await new Promise<ProgramEnd>((resolve, reject) => {
    let output = "";
    const keep = (chunk: string) => {
      output = (output + chunk).slice(-keptCharacters);
    };
    const child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      signal,
      killSignal: "SIGKILL",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: { ...process.env, ...options.env } }),
    });
    child.stdout.setEncoding("utf8").on("data", keep);
    child.stderr.setEncoding("utf8").on("data", keep);
    child.on("error", (thrown) => {
      reject(whyNotRun(program, thrown, options));
    });
    child.on("close", (status) => resolve({ status: status ?? -1, output }));
  });
}

function whyNotRun(program: string, thrown: Error, options: ProgramOptions): CspladeError {
  const name = path.basename(program);
  if (options.signal?.aborted === true) {
    return new CspladeError("aborted", `${name} was cancelled.`, { cause: thrown });
  }
  if (thrown.name === "AbortError") {
    return new CspladeError(
      "deadline_exceeded",
      `${name} did not finish within ${Math.round(options.deadlineMs / 1000)} s and was stopped.`,
      { cause: thrown, hint: "Try again; what is already there is kept." },
    );
  }
  return new CspladeError("server_missing", `${name} cannot be run: ${messageOf(thrown)}.`, {
    cause: thrown,
  });
}

/** The path of an executable found on PATH, or `undefined`. */
export function findProgram(
  name: string,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  for (const folder of (env.PATH ?? "").split(path.delimiter)) {
    if (folder === "") continue;
    const candidate = path.join(folder, name);
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}
