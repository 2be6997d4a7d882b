/**
 * A real Elasticsearch. Maven Central holds its server whole only up to 7.17 (of 8 and 9 the HTTP
 * module and x-pack are missing), so it is that: with `rank_features`, nested documents, scrolls
 * and points in time, without analyzers but the built-in ones, Painless, ingest processors,
 * `_async_search` and `sparse_vector`.
 *
 * It is a 35 MB download that is kept, and only tests use it.
 */
import { chmod, link, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Artifact } from "../../src/servers/distribution-lock.js";
import { downloadArtifacts } from "../../src/servers/download.js";
import { homeAt, prepareHome, makeServerFolder } from "../../src/servers/home.js";
import { findJdk } from "../../src/servers/java.js";
import { findFreePort } from "../../src/servers/port.js";
import { findProgram } from "../../src/servers/program.js";
import { CONSOLE_LOGGING, startJavaServer } from "./java-server.js";
import { makeTestFolder, sharedCache } from "./servers.js";
import lock from "./elasticsearch-7.17.29.json" with { type: "json" };

/** Its version. */
export const ELASTICSEARCH_VERSION = lock.version;

/** The Elasticsearch of this test run. */
export interface TestElasticsearch {
  readonly url: string;
}

/** Java releases it runs on; a full JDK, since its launcher is started from source. */
const JAVA = { java: { min: 17, max: 21 } };

/** Its own main class insists on a security policy that the plain jars do not carry. */
const LAUNCHER = `import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;

public class NodeLauncher extends Node {
  NodeLauncher(Environment environment) {
    super(environment, List.of(
        org.elasticsearch.transport.Netty4Plugin.class,
        org.elasticsearch.index.mapper.MapperExtrasPlugin.class,
        org.elasticsearch.join.ParentJoinPlugin.class,
        org.elasticsearch.reindex.ReindexPlugin.class,
        org.elasticsearch.search.aggregations.matrix.MatrixAggregationPlugin.class), true);
  }

  public static void main(String[] arguments) throws Exception {
    Environment environment = InternalSettingsPreparer.prepareEnvironment(
        Settings.EMPTY,
        Map.of("path.home", System.getProperty("es.path.home")),
        Path.of(System.getProperty("es.path.conf")),
        () -> "csplade");
    LogConfigurator.setNodeName("csplade");
    LogConfigurator.configure(environment);
    new NodeLauncher(environment).start();
    Thread.currentThread().join();
  }
}
`;

let running: Promise<TestElasticsearch | string> | undefined;

/**
 * One on a free port of the loopback, started for the first suite that asks and ended with the
 * process. Give the hook some minutes for the first download.
 * @returns a sentence instead, where this machine lacks what it needs: a test that is skipped
 *   for it says so.
 */
export function testElasticsearch(): Promise<TestElasticsearch | string> {
  running ??= start();
  return running;
}

async function start(): Promise<TestElasticsearch | string> {
  const java = findJdk(JAVA);
  if (java === undefined) {
    return `no JDK ${JAVA.java.min} to ${JAVA.java.max} (Debian: apt-get install openjdk-17-jdk-headless)`;
  }
  if (findProgram("mvn") === undefined) return "no Maven to fetch it with";
  const downloads = path.join(sharedCache(), "downloads");
  const artifacts = lock.artifacts as readonly Artifact[];
  try {
    await downloadArtifacts(artifacts, downloads);
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
  const folder = await makeTestFolder();
  const home = homeAt(folder);
  await prepareHome(home);
  const places = ["lib", "modules", "plugins"].map((name) => path.join(folder, "server", name));
  for (const place of places) await mkdir(place, { recursive: true });
  for (const { file } of artifacts) {
    await link(path.join(downloads, file), path.join(folder, "server", "lib", file));
  }
  const launcher = path.join(folder, "server", "NodeLauncher.java");
  await writeFile(launcher, LAUNCHER);
  const config = path.join(home.config, "elasticsearch");
  await makeServerFolder(config);
  const port = await findFreePort();
  await writeFile(path.join(config, "elasticsearch.yml"), settings(home.data, home.logs, port));
  await writeFile(path.join(config, "log4j2.properties"), CONSOLE_LOGGING);
  await chmod(path.join(folder, "server"), 0o755);
  const url = `http://127.0.0.1:${port}`;
  await startJavaServer({
    name: "Elasticsearch",
    program: java.program,
    args: [
      "-Xms512m",
      "-Xmx512m",
      `-Djava.io.tmpdir=${home.scratch}`,
      "-Djna.nosys=true",
      `-Des.path.home=${path.join(folder, "server")}`,
      `-Des.path.conf=${config}`,
      "-Des.distribution.type=tar",
      "-cp",
      path.join(folder, "server", "lib", "*"),
      launcher,
    ],
    cwd: home.scratch,
    outputFile: path.join(folder, "elasticsearch.log"),
    isUp: () => answers(url),
  });
  return { url };
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/_cluster/health`)).ok;
  } catch {
    return false;
  }
}

/** JSON strings are valid YAML, whatever is in a path. */
function settings(data: string, logs: string, port: number): string {
  return `cluster.name: csplade
node.name: csplade
network.host: 127.0.0.1
http.port: ${port}
discovery.type: single-node
path.data: ${JSON.stringify(data)}
path.logs: ${JSON.stringify(logs)}
cluster.routing.allocation.disk.threshold_enabled: false
`;
}
