/**
 * Peers that are Python libraries, in a process of their own (off_server_peers.py): Block-Max
 * Pruning, Seismic and bm25s.
 */
import { spawn, spawnSync, type ChildProcess, type SpawnSyncReturns } from "node:child_process";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { once } from "node:events";
import { z } from "zod";
import { packageRoot } from "../src/config/package-root.js";
import { toFeatures } from "../src/sparse/features.js";
import { quantize } from "../src/sparse/quantize.js";
import type { ResampledText } from "./resampled-corpus.js";
import type { SearchSystem } from "./search-systems.js";

/** A peer: its name here, what pip calls it, how it stands in tables. */
const PEERS = [
  { name: "bmp", packages: ["bmp==0.2.8"], title: "Block-Max Pruning" },
  {
    name: "seismic",
    packages: ["pyseismic-lsr==0.5.4"],
    title: "Seismic (query_cut 10, heap_factor 0.7)",
  },
  { name: "bm25s", packages: ["bm25s==0.3.16", "PyStemmer==3.1.0"], title: "bm25s" },
] as const;

/** A built peer. */
export interface OffServerPeers {
  readonly systems: readonly SearchSystem[];
  /** Index bytes and seconds of building, by the system's name. */
  readonly made: ReadonlyMap<string, { bytes: number; seconds: number }>;
  /** Sentences about peers that are not there. */
  readonly missing: readonly string[];
  close(): Promise<void>;
}

const builtSchema = z.record(
  z.string(),
  z.union([
    z.object({ bytes: z.number(), build_s: z.number() }),
    z.object({ failure: z.string() }),
  ]),
);

const answerSchema = z.object({
  hits: z.array(z.tuple([z.string(), z.number()])),
  ms: z.number(),
});

/**
 * A Python that has the peers' packages: the one that is named, or a virtual environment in
 * `folder`.
 * @returns what could not be installed, by the peer's name.
 */
function preparePython(
  python: string | undefined,
  folder: string,
): { program: string; missing: Map<string, string> } {
  const missing = new Map<string, string>();
  if (python !== undefined) return { program: python, missing };
  const program = path.join(folder, "python", "bin", "python");
  if (!existsSync(program)) {
    const made = spawnSync("python3", ["-m", "venv", path.dirname(path.dirname(program))], {
      encoding: "utf8",
    });
    if (made.status !== 0) {
      const why = `no Python environment could be made: ${reasonOf(made)}`;
      for (const { name } of PEERS) missing.set(name, why);
    }
  }
  for (const { name, packages } of PEERS) {
    if (missing.has(name)) continue;
    console.error(`installing ${packages.join(" ")}`);
    const installed = spawnSync(
      program,
      ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...packages],
      { encoding: "utf8", timeout: 600_000 },
    );
    if (installed.status !== 0) {
      missing.set(name, `pip could not install ${packages.join(" ")}: ${reasonOf(installed)}`);
    }
  }
  return { program, missing };
}

/** Why a program failed: it could not be started, or the last line of its complaint. */
function reasonOf({ error, stderr }: SpawnSyncReturns<string>): string {
  return error?.message ?? stderr.trim().split("\n").at(-1) ?? "";
}

/** What peers are made of, and where they are kept. */
export interface OffServerOptions {
  readonly folder: string;
  /** A Python that has their packages. */
  readonly python: string | undefined;
  readonly documents: Iterable<ResampledText>;
  /** Name of the folder of these documents' indices. */
  readonly name: string;
  /** Indices that an earlier run built are taken as they are. */
  readonly reuse: boolean;
}

/** Installs, writes the documents, builds the indices. Nothing is thrown for a peer that fails. */
export async function startOffServerPeers({
  folder,
  python,
  documents,
  name: corpusName,
  reuse,
}: OffServerOptions): Promise<OffServerPeers> {
  await mkdir(folder, { recursive: true });
  const { program, missing } = preparePython(python, folder);
  const wanted = PEERS.filter(({ name }) => !missing.has(name));
  if (wanted.length === 0) return nothing(missing);
  const corpus = path.join(folder, corpusName);
  if (!reuse) await rm(corpus, { recursive: true, force: true });
  await mkdir(corpus, { recursive: true });
  const text = path.join(corpus, "documents.jsonl");
  if (!existsSync(text)) {
    console.error(`writing the documents of the peers in processes of their own`);
    await writeDocuments(`${text}.part`, documents);
    await rename(`${text}.part`, text);
  }
  const script = path.join(packageRoot, "bench", "off_server_peers.py");
  const names = wanted.map(({ name }) => name);
  // With all threads; what fails is told when the index is opened.
  const building = spawn(program, [script, "--build", corpus, ...names], {
    stdio: ["ignore", 2, 2],
  });
  await once(building, "close");
  const child = spawn(program, [script, corpus, ...names], {
    stdio: ["pipe", "pipe", "inherit"],
    // One thread each, as a search of the server has.
    env: { ...process.env, RAYON_NUM_THREADS: "1", OMP_NUM_THREADS: "1" },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done === true) {
    for (const { name } of wanted) missing.set(name, "the process with the peers ended");
    return nothing(missing);
  }
  const built = builtSchema.parse(JSON.parse(first.value));
  const made = new Map<string, { bytes: number; seconds: number }>();
  const systems: SearchSystem[] = [];
  // One question at a time: answers come in the order of questions.
  let last: Promise<unknown> = Promise.resolve();
  for (const { name, title } of wanted) {
    const one = built[name];
    if (one === undefined || "failure" in one) {
      missing.set(name, one?.failure ?? "it was not built");
      continue;
    }
    made.set(title, { bytes: one.bytes, seconds: one.build_s });
    systems.push({
      name: title,
      group: "own process",
      find({ text, vector }) {
        const ask = async () => {
          child.stdin.write(
            `${JSON.stringify({ peer: name, text, vector: toFeatures(vector) })}\n`,
          );
          const answer = await lines.next();
          if (answer.done === true) throw new Error(`The process of ${title} ended.`);
          const { hits, ms } = answerSchema.parse(JSON.parse(answer.value));
          return { hits: hits.map(([id, score]) => ({ id, score })), ms };
        };
        const answered = last.then(ask);
        last = answered.catch(() => undefined);
        return answered;
      },
    });
  }
  return { systems, made, missing: sentences(missing), close: () => end(child) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const over = once(child, "exit");
  child.stdin?.end();
  await over;
}

function nothing(missing: ReadonlyMap<string, string>): OffServerPeers {
  return {
    systems: [],
    made: new Map(),
    missing: sentences(missing),
    close: () => Promise.resolve(),
  };
}

function sentences(missing: ReadonlyMap<string, string>): string[] {
  return Array.from(missing, ([name, why]) => `Without ${name}: ${why}.`);
}

async function writeDocuments(file: string, documents: Iterable<ResampledText>): Promise<void> {
  const output = createWriteStream(file);
  let id = 0;
  for (const { text, vector } of documents) {
    const line = JSON.stringify({
      id: String(id++),
      text,
      vector: toFeatures(quantize(vector, 9)),
    });
    if (!output.write(`${line}\n`)) await once(output, "drain");
  }
  output.end();
  await finished(output);
}
