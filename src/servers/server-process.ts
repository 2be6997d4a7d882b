/**
 * Processes that outlive the command that started them: starting, recognising
 * and ending them. A pid alone proves nothing, so each is recognised by its
 * command line too.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { serverUser } from "./home.js";
import { runProgram } from "./program.js";

/** How a server process is started. */
export interface ServerStart {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Standard output and error go here; emptied first. */
  readonly outputFile: string;
}

/** A started server process; {@link exited} tells when it ended early. */
export interface StartedProcess {
  readonly pid: number;
  /** How it ended, once it has. */
  exited(): string | undefined;
}

/**
 * Starts a server in the background, as the servers' user.
 * @throws CspladeError `server_failed` when the program cannot be started.
 */
export async function startProcess(start: ServerStart): Promise<StartedProcess> {
  const output = openSync(start.outputFile, "w", 0o644);
  let child: ChildProcess;
  try {
    child = spawn(start.program, start.args, {
      cwd: start.cwd,
      detached: true,
      stdio: ["ignore", output, output],
      env: { PATH: process.env.PATH, LANG: "C.UTF-8", HOME: start.cwd },
      ...serverUser(),
    });
  } finally {
    closeSync(output);
  }
  let ended: string | undefined;
  child.once("exit", (status, signal) => {
    ended = signal === null ? `status ${status ?? -1}` : `signal ${signal}`;
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) => {
      reject(
        new CspladeError(
          "server_failed",
          `${start.program} cannot be started: ${messageOf(cause)}.`,
          { cause, hint: "Check that the servers' user may run this program." },
        ),
      );
    });
  });
  child.unref();
  const pid = child.pid;
  if (pid === undefined) throw new CspladeError("server_failed", `${start.program} has no pid.`);
  return { pid, exited: () => ended };
}

/**
 * Whether process `pid` runs and its command line contains one of `marks`.
 * A zombie, or another program that got the pid since, is not ours.
 */
export async function isRunning(pid: number, marks: readonly string[]): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  const commandLine = await commandLineOf(pid);
  if (commandLine === "") return isDying(pid);
  return marks.some((mark) => commandLine.includes(mark));
}

/**
 * Linux empties the command line early in a process's end. A JVM then still gives back its
 * memory, which takes a while on a busy machine, and only afterwards closes its port. It is
 * gone when it is a zombie without further threads.
 */
async function isDying(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // What follows the name in parentheses, by the numbers of proc(5) less three.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, flags, threads] = [fields[0], Number(fields[6]), Number(fields[17])];
  const exiting = 0x4; // else it is one of the kernel's own, which have no command line either
  return (flags & exiting) !== 0 && !(state === "Z" && threads <= 1);
}

async function commandLineOf(pid: number): Promise<string> {
  if (process.platform === "linux") {
    const raw = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    return raw.replaceAll("\0", " ");
  }
  const end = await runProgram("ps", ["-ww", "-o", "command=", "-p", String(pid)], {
    deadlineMs: 5_000,
  });
  return end.output;
}

/** How {@link endProcess} ends a process. */
export interface EndOptions {
  /** Milliseconds between asking (SIGTERM) and forcing (SIGKILL); 0 forces at once. */
  readonly graceMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Ends a process and waits until it is gone.
 * @throws CspladeError `server_failed` when it may not be ended or does not go away, `aborted`.
 */
export async function endProcess(
  pid: number,
  marks: readonly string[],
  options: EndOptions,
): Promise<void> {
  const afterKillMs = 15_000;
  const forceAt = Date.now() + options.graceMs;
  let forced = false;
  if (options.graceMs > 0 && (await isRunning(pid, marks))) send(pid, "SIGTERM");
  while (await isRunning(pid, marks)) {
    if (options.signal?.aborted === true) {
      throw new CspladeError("aborted", `Waiting for process ${pid} to end was cancelled.`);
    }
    const now = Date.now();
    if (now >= forceAt && !forced) {
      forced = true;
      send(pid, "SIGKILL");
    }
    if (now >= forceAt + afterKillMs) {
      throw new CspladeError("server_failed", `Process ${pid} does not end even when killed.`, {
        hint: "It may hang in a disk or network call; look at it with ps.",
      });
    }
    await sleep(50);
  }
}

function send(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ESRCH") return;
    throw new CspladeError(
      "server_failed",
      `Process ${pid} cannot be ended: ${messageOf(cause)}.`,
      {
        cause,
        hint: "Run the command as the user who started the servers.",
      },
    );
  }
}

/** The last lines of a log file, for an error message; empty where there is none. */
export function tailOf(file: string, lines = 5): string {
  try {
    const all = readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line.trim() !== "");
    const telling = all.filter((line) => /error|exception|fatal|cannot|can't/i.test(line));
    return (telling.length > 0 ? telling : all).slice(0, lines).join(" | ").slice(0, 800);
  } catch {
    return "";
  }
}
