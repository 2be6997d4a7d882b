/**
 * An OpenSearch 2.19.1 with the security plugin, the newest version for which Maven Central holds
 * both: TLS with a certificate authority of its own, users, roles, document-level security. A
 * 44 MB download that is kept.
 */
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { Agent } from "undici";
import { ensureDistribution, launcherOf } from "../../src/servers/distribution.js";
import { distributionLock, type Artifact } from "../../src/servers/distribution-lock.js";
import { downloadArtifacts } from "../../src/servers/download.js";
import { homeAt, makeServerFolder, prepareHome } from "../../src/servers/home.js";
import { findJdk } from "../../src/servers/java.js";
import { findFreePort } from "../../src/servers/port.js";
import { findProgram } from "../../src/servers/program.js";
import { makeCertificates } from "./certificates.js";
import { unpackZip } from "../../src/servers/zip.js";
import { CONSOLE_LOGGING, startJavaServer } from "./java-server.js";
import { makeTestFolder, sharedCache } from "./servers.js";

/** A running one. Its administrator is `admin`, password `admin`, of the plugin's demo files. */
export interface SecuredOpenSearch {
  /** `https://…` */
  readonly url: string;
  /** The authority that signed its certificate, PEM. */
  readonly caFile: string;
}

const VERSION = "2.19.1";

const PLUGIN: Artifact = {
  coordinate: "org.opensearch.plugin:opensearch-security:2.19.1.0:zip",
  file: "opensearch-security-2.19.1.0.zip",
  sha256: "94a04f12ac6033902209fac1e4e512618d45beee604bbf0e42c3ed79c55220cf",
  to: "plugins/opensearch-security",
};

/**
 * Starts one on a free port of the loopback; it ends with the process.
 * @returns a sentence instead, where this machine lacks what it needs.
 */
export async function startSecuredOpenSearch(): Promise<SecuredOpenSearch | string> {
  const openssl = findProgram("openssl");
  if (openssl === undefined) return "no openssl to make certificates with";
  if (findJdk(distributionLock(VERSION)) === undefined) {
    return "no JDK 17 to 23 (Debian: apt-get install openjdk-17-jdk-headless)";
  }
  const cache = sharedCache();
  const downloads = path.join(cache, "downloads");
  try {
    await downloadArtifacts([PLUGIN], downloads);
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
  const distribution = await ensureDistribution(VERSION, cache);
  const folder = await makeTestFolder();
  const home = homeAt(folder);
  await prepareHome(home);
  const server = path.join(folder, "server");
  await cp(distribution.folder, server, { recursive: true });
  const plugin = path.join(server, PLUGIN.to);
  await mkdir(plugin);
  await unpackZip(path.join(downloads, PLUGIN.file), plugin);

  const config = path.join(home.config, "opensearch");
  await makeServerFolder(config);
  await cp(path.join(plugin, "config"), path.join(config, "opensearch-security"), {
    recursive: true,
  });
  await makeCertificates(openssl, config);
  const port = await findFreePort();
  await writeFile(path.join(config, "opensearch.yml"), settings(home.data, home.logs, port));
  await writeFile(path.join(config, "log4j2.properties"), CONSOLE_LOGGING);

  const url = `https://localhost:${port}`;
  const caFile = path.join(config, "ca.pem");
  const dispatcher = new Agent({ connect: { ca: await readFile(caFile) } });
  await startJavaServer({
    name: "OpenSearch with the security plugin",
    program: distribution.java.program,
    args: [
      "-Xms512m",
      "-Xmx512m",
      `-Djava.io.tmpdir=${home.scratch}`,
      "-Djna.nosys=true",
      `-Dopensearch.path.home=${server}`,
      `-Dopensearch.path.conf=${config}`,
      "-Dopensearch.distribution.type=tar",
      "-cp",
      path.join(server, "lib", "*"),
      launcherOf({ ...distribution, folder: server }),
    ],
    cwd: home.scratch,
    outputFile: path.join(folder, "opensearch.log"),
    // Its own index of users is there some seconds after it listens.
    isUp: () => answers(`${url}/_cluster/health`, dispatcher),
  });
  await dispatcher.close();
  return { url, caFile };
}

async function answers(url: string, dispatcher: Agent): Promise<boolean> {
  const authorization = `Basic ${Buffer.from("admin:admin").toString("base64")}`;
  try {
    const { statusCode, body } = await dispatcher.request({
      origin: new URL(url).origin,
      path: new URL(url).pathname,
      method: "GET",
      headers: { authorization },
    });
    await body.dump();
    return statusCode === 200;
  } catch {
    return false;
  }
}

function settings(data: string, logs: string, port: number): string {
  const pem = (layer: string): string => `plugins.security.ssl.${layer}.pemcert_filepath: node.pem
plugins.security.ssl.${layer}.pemkey_filepath: node-key-for-server.pem
plugins.security.ssl.${layer}.pemtrustedcas_filepath: ca.pem
`;
  return `cluster.name: csplade
node.name: csplade
network.host: 127.0.0.1
http.port: ${port}
discovery.type: single-node
path.data: ${JSON.stringify(data)}
path.logs: ${JSON.stringify(logs)}
cluster.routing.allocation.disk.threshold_enabled: false
${pem("transport")}plugins.security.ssl.transport.enforce_hostname_verification: false
${pem("http")}plugins.security.ssl.http.enabled: true
plugins.security.allow_default_init_securityindex: true
plugins.security.authcz.admin_dn: ["CN=admin"]
plugins.security.nodes_dn: ["CN=node"]
plugins.security.restapi.roles_enabled: ["all_access"]
`;
}
