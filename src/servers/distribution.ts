/**
 * Assembles an OpenSearch from its parts, the way the official archive lays
 * them out. It is built beside its place and renamed, so it is whole or absent.
 */
import { existsSync } from "node:fs";
import {
  chmod,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import path from "node:path";
import {
  distributionLock,
  lockDigest,
  type DistributionLock,
  type OpenSearchVersion,
} from "./distribution-lock.js";
import { downloadArtifacts, type DownloadOptions } from "./download.js";
import { withFolderLock } from "./folder-lock.js";
import { demandDiskSpace, makeFolder } from "./home.js";
import { ensureJava, type Java, type JavaSearch } from "./java.js";
import { addNativeKnnGuard, nativeKnnGuard } from "./native-knn-guard.js";
import { pluginDescriptor } from "./plugin-descriptor.js";
import { filterZip, unpackZip } from "./zip.js";

/** An OpenSearch that is ready to start. */
export interface Distribution {
  readonly lock: DistributionLock;
  readonly folder: string;
  readonly java: Java;
}

/** Bytes that downloads, their Maven repository, Java and the assembled parts need at most. */
const neededBytes = 700_000_000;
const lockWaitMs = 1_200_000;

/** ICU4J brings providers for many locale services; only this one is wanted, the rest changes results. */
const breakIterators = "META-INF/services/java.text.spi.BreakIteratorProvider";

/**
 * The launcher of versions whose official main class insists on a security
 * policy that the plain jars do not carry.
 */
const nodeLauncher = `import java.nio.file.Path;
import java.util.Map;
import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;

public class NodeLauncher {
  public static void main(String[] arguments) throws Exception {
    Environment environment = InternalSettingsPreparer.prepareEnvironment(
        Settings.EMPTY,
        Map.of("path.home", System.getProperty("opensearch.path.home")),
        Path.of(System.getProperty("opensearch.path.conf")),
        () -> "csplade");
    LogConfigurator.setNodeName("csplade");
    LogConfigurator.configure(environment);
    Node node = new Node(environment);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        node.close();
      } catch (Exception failed) {
        failed.printStackTrace();
      }
    }));
    node.start();
    Thread.currentThread().join();
  }
}
`;

/** Path of the launcher's source inside a distribution. */
export function launcherOf(distribution: Distribution): string {
  return path.join(distribution.folder, "NodeLauncher.java");
}

/**
 * The assembled distribution of `version` below `cache`: the one that is there, or a new one.
 * @throws CspladeError when something it needs is missing, cannot be fetched, or does not fit.
 */
export async function ensureDistribution(
  version: OpenSearchVersion,
  cache: string,
  options: DownloadOptions & JavaSearch = {},
): Promise<Distribution> {
  const lock = distributionLock(version);
  const digest = lockDigest(lock, [nodeLauncher, nativeKnnGuard]);
  const folder = path.join(cache, "opensearch", `${version}-${digest}`);
  await makeFolder(cache);
  return await withFolderLock(
    cache,
    {
      waitMs: lockWaitMs,
      signal: options.signal,
      onWait: () => options.onProgress?.("waiting for another csplade that prepares the servers"),
    },
    async () => {
      if (!existsSync(folder)) {
        await removeUnfinished(cache);
        await demandDiskSpace(cache, neededBytes, `Assembling OpenSearch ${version}`);
      }
      const java = await ensureJava(lock, cache, options);
      if (!existsSync(folder)) {
        const downloads = path.join(cache, "downloads");
        await downloadArtifacts(lock.artifacts, downloads, options);
        options.onProgress?.(`assembling OpenSearch ${version}`);
        await makeFolder(path.dirname(folder));
        await assemble(lock, downloads, folder, java);
      }
      return { lock, folder, java };
    },
  );
}

/** What a killed process left half made; the caller holds the lock, so nobody works on it. */
async function removeUnfinished(cache: string): Promise<void> {
  for (const part of ["downloads", "java", "opensearch"]) {
    const folder = path.join(cache, part);
    if (!existsSync(folder)) continue;
    for (const name of await readdir(folder)) {
      if (!/^\.(building|fetch)-/.test(name)) continue;
      await rm(path.join(folder, name), { recursive: true, force: true });
    }
  }
}

async function assemble(
  lock: DistributionLock,
  downloads: string,
  folder: string,
  java: Java,
): Promise<void> {
  const building = await mkdtemp(path.join(path.dirname(folder), ".building-"));
  try {
    // OpenSearch looks into these even where they are empty.
    for (const name of ["bin", "extensions", "lib", "lib-locale", "modules", "plugins"]) {
      await mkdir(path.join(building, name));
    }
    for (const { file, to } of lock.artifacts) {
      const from = path.join(downloads, file);
      const target = path.join(building, to);
      await mkdir(target, { recursive: true });
      if (file.endsWith(".zip")) await unpackZip(from, target);
      else if (file.startsWith("icu4j-localespi")) await onlyBreakIterators(from, target, file);
      else
        await link(from, path.join(target, file)).catch(() =>
          copyFile(from, path.join(target, file)),
        );
    }
    for (const module of lock.modules) {
      await writeFile(
        path.join(building, "modules", module.name, "plugin-descriptor.properties"),
        pluginDescriptor(lock, module),
      );
    }
    await addNativeKnnGuard(building, lock, java);
    await writeFile(path.join(building, "NodeLauncher.java"), nodeLauncher);
    await chmod(building, 0o755);
    await rename(building, folder);
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

async function onlyBreakIterators(from: string, folder: string, file: string): Promise<void> {
  await filterZip(
    from,
    path.join(folder, file),
    (name) => !name.startsWith("META-INF/services/") || name === breakIterators,
  );
}
