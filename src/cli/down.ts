/** `csplade down`: stops the embedded servers. */
import { Command, Option } from "commander";
import { loadConfig } from "../config/load-config.js";
import { stopServers, type ServerName } from "../servers/servers.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine } from "./outcome.js";

interface DownOptions {
  readonly home?: string;
  readonly only?: ServerName;
  readonly kill?: true;
  readonly json?: true;
}

/** The command `down`, for the program to add. */
export function downCommand(): Command {
  return new Command("down")
    .description("Stop the embedded OpenSearch and Redis; their data is kept")
    .option("--home <folder>", "folder of the servers' data, logs and downloads (CSPLADE_HOME)")
    .addOption(new Option("--only <server>", "stop one server").choices(["opensearch", "redis"]))
    .option("--kill", "do not let them finish (kill -9)")
    .option("--json", "print one JSON object instead of text")
    .addHelpText(
      "after",
      `
Examples:
  csplade down
  csplade down --only redis
  csplade down --home ./servers --json

Exit status: 0 when nothing runs any more (also when nothing ran), 1 when a server cannot be stopped.`,
    )
    .action(async (options: DownOptions) => {
      const { values } = loadConfig({ flags: { home: options.home } });
      const stopped = await untilInterrupted((signal) =>
        stopServers(values.home, {
          ...(options.only === undefined ? {} : { servers: [options.only] }),
          ...(options.kill === true ? { graceMs: 0 } : {}),
          signal,
        }),
      );
      if (options.json === true) {
        printJson({ home: values.home, stopped });
        return;
      }
      const names = stopped.map((name) => (name === "redis" ? "Redis" : "OpenSearch"));
      printLine(
        names.length === 0
          ? `Nothing runs in ${values.home}.`
          : `Stopped ${names.join(" and ")}; the data stays in ${values.home}.`,
      );
    });
}
