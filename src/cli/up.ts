/** `csplade up`: the embedded OpenSearch and Redis. */
import { Command, InvalidArgumentError, Option } from "commander";
import { loadConfig } from "../config/load-config.js";
import { opensearchVersions, type OpenSearchVersion } from "../servers/distribution-lock.js";
import { startServers, type RunningServers, type ServerName } from "../servers/servers.js";
import type { Config } from "../config/settings.js";
import { untilInterrupted } from "./interrupt.js";
import { printJson, printLine, printNote } from "./outcome.js";

interface UpOptions {
  readonly home?: string;
  readonly opensearchPort: number;
  readonly redisPort: number;
  readonly opensearchVersion: OpenSearchVersion;
  readonly heap: string;
  readonly only?: ServerName;
  readonly json?: true;
}

/** The command `up`, for the program to add. */
export function upCommand(): Command {
  return new Command("up")
    .description("Start the embedded OpenSearch and Redis, and wait until they are healthy")
    .option("--home <folder>", "folder of the servers' data, logs and downloads (CSPLADE_HOME)")
    .option("--opensearch-port <port>", "port of OpenSearch on 127.0.0.1", parsePort, 9250)
    .option("--redis-port <port>", "port of Redis on 127.0.0.1", parsePort, 6390)
    .addOption(
      new Option("--opensearch-version <version>", "version of OpenSearch")
        .choices(opensearchVersions)
        .default(opensearchVersions[0]),
    )
    .option("--heap <size>", "Java heap of OpenSearch, such as 512m or 2g", "512m")
    .addOption(new Option("--only <server>", "start one server").choices(["opensearch", "redis"]))
    .option("--json", "print one JSON object instead of text")
    .addHelpText(
      "after",
      `
The servers listen on 127.0.0.1 only and go on when the command ends; csplade down stops them.
Their data is kept between runs. The first start downloads about 150 MB.

Examples:
  csplade up
  csplade up --heap 2g
  csplade up --home ./servers --opensearch-port 9260 --redis-port 6400
  csplade up --opensearch-version 2.19.1

Exit status: 0 when the servers run, 1 when they cannot, 2 for wrong usage, 130 when interrupted.`,
    )
    .action(async (options: UpOptions) => {
      const { values } = loadConfig({ flags: { home: options.home } });
      const servers = await untilInterrupted((signal) =>
        startServers({
          home: values.home,
          opensearchPort: options.opensearchPort,
          redisPort: options.redisPort,
          opensearchVersion: options.opensearchVersion,
          heap: options.heap,
          ...(options.only === undefined ? {} : { servers: [options.only] }),
          signal,
          onProgress: (message) => printNote(`${message} …`),
        }),
      );
      if (options.json === true) printJson(servers);
      else describe(servers, values);
    });
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new InvalidArgumentError("A port is a number from 1 to 65535.");
}

function describe({ home, opensearch, redis }: RunningServers, config: Config): void {
  const how = (alreadyRunning: boolean) => (alreadyRunning ? "already runs" : "runs");
  const settings: string[] = [];
  if (opensearch !== undefined) {
    const { version, url, pid, log, alreadyRunning } = opensearch;
    printLine(
      `OpenSearch ${version} ${how(alreadyRunning)} at ${url} (process ${pid}, log ${log})`,
    );
    if (config["opensearch.url"] !== url) settings.push(`OPENSEARCH_URL=${url}`);
  }
  if (redis !== undefined) {
    const { url, pid, log, alreadyRunning } = redis;
    printLine(`Redis ${how(alreadyRunning)} at ${url} (process ${pid}, log ${log})`);
    if (config["redis.url"] !== url) settings.push(`REDIS_URL=${url}`);
  }
  if (settings.length > 0) {
    printLine(`Other commands find them with: export ${settings.join(" ")}`);
  }
  printLine(`Data is kept in ${home}; csplade down stops the servers.`);
}
