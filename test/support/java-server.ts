/** Java servers of tests that `csplade up` does not know: they end with the process. */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { serverUser } from "../../src/servers/home.js";
import { endWithProcess } from "./process-end.js";

/** How one is started. */
export interface JavaServerStart {
  /** For messages. */
  readonly name: string;
  /** Path of `java`. */
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Standard output and error go here. */
  readonly outputFile: string;
  /** Never throws. */
  readonly isUp: () => Promise<boolean>;
}

const START_MS = 180_000;

/** `log4j2.properties` of a server that logs to its standard output. */
export const CONSOLE_LOGGING = `status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
`;

/**
 * Starts it as the servers' user and waits until it is up.
 * @throws Error with the end of its output.
 */
export async function startJavaServer(start: JavaServerStart): Promise<void> {
  const output = openSync(start.outputFile, "w");
  const child = spawn(start.program, start.args, {
    cwd: start.cwd,
    stdio: ["ignore", output, output],
    env: { PATH: process.env.PATH, LANG: "C.UTF-8", HOME: start.cwd },
    ...serverUser(),
  });
  closeSync(output);
  endWithProcess(child);
  const until = Date.now() + START_MS;
  while (!(await start.isUp())) {
    if (child.exitCode === null && Date.now() < until) {
      await sleep(200);
      continue;
    }
    const { outputFile, name } = start;
    const said = existsSync(outputFile) ? readFileSync(outputFile, "utf8").slice(-2_000) : "";
    child.kill("SIGKILL");
    throw new Error(`${name} does not start: ${said}`);
  }
}
