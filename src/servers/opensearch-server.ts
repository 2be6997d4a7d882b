/** One OpenSearch node on loopback: its configuration, its command line, and when it is healthy. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { launcherOf, type Distribution } from "./distribution.js";
import { makeServerFolder, type Home } from "./home.js";
import { findFreePort, loopback } from "./port.js";
import { startProcess, type StartedProcess } from "./server-process.js";

/** What distinguishes one start from another. */
export interface OpenSearchStart {
  readonly port: number;
  /** Java heap, such as `512m`. */
  readonly heap: string;
}

/** The URL of the node on `port`. */
export function openSearchUrl(port: number): string {
  return `http://${loopback}:${port}`;
}

/** Where the node writes its log. */
export function openSearchLog(home: Home): string {
  return path.join(home.logs, "opensearch.log");
}

/** Where the JVM writes what goes wrong before and after logging works. */
export function openSearchOutput(home: Home): string {
  return path.join(home.logs, "opensearch-console.log");
}

/** What is on the command line of this home's OpenSearch and on no other. */
export function openSearchMarks(home: Home): string[] {
  return [`-Dcsplade.home=${home.root} `];
}

/**
 * Starts the node; it is not healthy yet.
 * @throws CspladeError `server_failed`.
 */
export async function startOpenSearch(
  home: Home,
  distribution: Distribution,
  start: OpenSearchStart,
): Promise<StartedProcess> {
  const { lock, folder, java } = distribution;
  const config = path.join(home.config, "opensearch");
  // A newer version's data cannot be read by an older one, so each version has its own.
  const data = path.join(home.data, `opensearch-${lock.version}`);
  await makeServerFolder(config); // it keeps a keystore there
  await makeServerFolder(data);
  // Left to itself the node takes one of 9300 to 9400, which another start may just have found free.
  const ports = { http: start.port, transport: await findFreePort() };
  await writeFile(path.join(config, "opensearch.yml"), nodeSettings(home, data, ports));
  await writeFile(path.join(config, "log4j2.properties"), logging(openSearchLog(home)));
  const libraries = java.full ? ["lib"] : ["lib", "lib-locale"];
  const classPath = libraries.map((name) => path.join(folder, name, "*")).join(path.delimiter);
  return await startProcess({
    program: java.program,
    args: [
      `-Xms${start.heap}`,
      `-Xmx${start.heap}`,
      // As in OpenSearch's own jvm.options: its parent circuit breaker counts garbage too, and refuses
      // everything while a collector that is left to itself sees no need to begin.
      "-XX:+UseG1GC",
      "-XX:G1ReservePercent=25",
      "-XX:InitiatingHeapOccupancyPercent=30",
      "-XX:G1PeriodicGCInterval=10000",
      "-XX:+ExitOnOutOfMemoryError",
      `-XX:ErrorFile=${path.join(home.logs, "opensearch-crash-%p.log")}`,
      "-Dfile.encoding=UTF-8",
      "-Djava.awt.headless=true",
      `-Djava.io.tmpdir=${home.scratch}`,
      `-Djna.tmpdir=${home.scratch}`,
      "-Djna.nosys=true",
      "-Dlog4j2.disable.jmx=true",
      "-Dlog4j.shutdownHookEnabled=false",
      "-Dio.netty.noUnsafe=true",
      "-Dio.netty.noKeySetOptimization=true",
      ...(java.release >= 21 ? ["--enable-native-access=ALL-UNNAMED"] : []),
      // The downloaded runtime lacks the incubator module; Lucene is only slower without it.
      ...(java.full
        ? ["--add-modules=jdk.incubator.vector"]
        : ["-Djava.locale.providers=CLDR,SPI"]),
      `-Dopensearch.path.home=${folder}`,
      `-Dopensearch.path.conf=${config}`,
      "-Dopensearch.distribution.type=tar",
      `-Dcsplade.home=${home.root}`,
      "-cp",
      classPath,
      lock.start === "bootstrap" ? "org.opensearch.bootstrap.OpenSearch" : launcherOf(distribution),
    ],
    cwd: home.scratch,
    outputFile: openSearchOutput(home),
  });
}

/** `opensearch.yml`: JSON strings are valid YAML, whatever is in a path. */
function nodeSettings(
  home: Home,
  data: string,
  ports: { readonly http: number; readonly transport: number },
): string {
  return `# Written by csplade up at every start; changes here are lost.
cluster.name: csplade
node.name: csplade
network.host: ${loopback}
http.port: ${ports.http}
transport.port: ${ports.transport}
discovery.type: single-node
path.data: ${JSON.stringify(data)}
path.logs: ${JSON.stringify(home.logs)}
# Percentages of a large, mostly full disk would make indices read-only with much space left.
cluster.routing.allocation.disk.watermark.low: 2gb
cluster.routing.allocation.disk.watermark.high: 1gb
cluster.routing.allocation.disk.watermark.flood_stage: 500mb
`;
}

function logging(file: string): string {
  const pattern = "[%d{ISO8601}][%-5p][%-25c{1.}] [%node_name]%marker %m%n";
  return `status = error
appender.rolling.type = RollingFile
appender.rolling.name = rolling
appender.rolling.fileName = ${file}
appender.rolling.filePattern = ${file}.%i
appender.rolling.layout.type = PatternLayout
appender.rolling.layout.pattern = ${pattern}
appender.rolling.policies.type = Policies
appender.rolling.policies.size.type = SizeBasedTriggeringPolicy
appender.rolling.policies.size.size = 20MB
appender.rolling.strategy.type = DefaultRolloverStrategy
appender.rolling.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.rolling.ref = rolling
`;
}

const rootAnswer = z.object({ version: z.object({ number: z.string() }) });
const processAnswer = z.object({
  nodes: z.record(z.string(), z.object({ process: z.object({ id: z.number() }) })),
});
const healthAnswer = z.object({
  status: z.enum(["green", "yellow", "red"]),
  unassigned_shards: z.number(),
  initializing_shards: z.number(),
  number_of_pending_tasks: z.number(),
  number_of_in_flight_fetch: z.number(),
});

/** What a node that is red for good is asked again after, in milliseconds. */
const settledMs = 1_000;

/**
 * Whether the node on `port` is process `pid` and can be searched and written: cluster health yellow
 * or green, or red with nothing left to try. One damaged index does not keep the others from
 * starting. Never throws: no answer is `false`.
 */
export async function isOpenSearchHealthy(
  port: number,
  pid: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const ask = async (asked: string): Promise<unknown> => {
    const deadline = AbortSignal.timeout(5_000);
    const answer = await fetch(openSearchUrl(port) + asked, {
      signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
    });
    return await answer.json();
  };
  try {
    rootAnswer.parse(await ask("/"));
    const nodes = Object.values(processAnswer.parse(await ask("/_nodes/_local/process")).nodes);
    if (nodes[0]?.process.id !== pid) return false;
    const health = async () => healthAnswer.parse(await ask("/_cluster/health"));
    const first = await health();
    if (first.status !== "red") return true;
    if (!hasTriedAll(first)) return false;
    await sleep(settledMs);
    const second = await health();
    return second.status !== "red" || hasTriedAll(second);
  } catch {
    return false;
  }
}

/** No shard is being looked for or opened, and some could not be. */
function hasTriedAll(health: z.infer<typeof healthAnswer>): boolean {
  const underWay =
    health.initializing_shards + health.number_of_pending_tasks + health.number_of_in_flight_fetch;
  return underWay === 0 && health.unassigned_shards > 0;
}
