/**
 * Encoding speed, ours beside what one would otherwise use, on the same texts, the same cores and
 * in one run: all are loaded, take turns round by round, and are compared round by round.
 *
 *   npm run bench:encoder                              a few minutes
 *   npm run bench:encoder -- --cores 2,3               all of them on these cores
 *   npm run bench:encoder -- --python venv/bin/python  a Python that has bench/requirements.txt
 *   npm run bench:encoder -- --make-python             makes one, once (PyTorch: more than 2 GB)
 *   npm run bench:encoder -- --json FILE               the figures as JSON too
 *
 * - ours: the encoder as a worker uses it, documents in windows of ingest.job_documents with
 *   ingest.concurrency in flight; it alone cuts and tokenizes the texts and returns vectors;
 * - raw onnxruntime-node: a bare loop over tokens in hand, sorted by length, at its best batch;
 * - onnxruntime from Python: the same, the same graph;
 * - sentence-transformers' SparseEncoder with the same network in PyTorch, fp32 and bf16.
 *
 * Each peer first finds its best batch size on the same texts. Every peer's vectors are compared
 * with ours: a peer that computes something else is no peer.
 */
import { spawnSync } from "node:child_process";
import os from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { loadConfig } from "../src/config/load-config.js";
import { openEncoder, type Encoder } from "../src/encoder/encoder.js";
import { tokenBudgetOf } from "../src/encoder/token-budget.js";
import { openSession } from "../src/encoder/onnx-session.js";
import { sparseVector, termsOf, type SparseVector } from "../src/sparse/sparse-vector.js";
import { createTokenizer, readTokenizerFile } from "../src/text/tokenizer.js";
import { benchFlags } from "./bench-flags.js";
import {
  describeMachine,
  machineLine,
  markdownTable,
  packageVersion,
  writeReport,
  type BenchReport,
} from "./bench-report.js";
import { mixedTexts } from "./mixed-texts.js";
import { inRounds, median, pairedRatio, type PairedRatio } from "../src/encoder/paired-rounds.js";
import { makePython, startPythonPeer, type PythonPeer } from "./python-peer.js";
import { openRawOnnxLoop } from "./raw-onnx-loop.js";

const flags = benchFlags(import.meta.url, {
  model: { type: "string" },
  texts: { type: "string", default: "192" },
  rounds: { type: "string", default: "9" },
  threads: { type: "string" },
  cores: { type: "string" },
  python: { type: "string" },
  "make-python": { type: "boolean", default: false },
  "token-budget": { type: "string" },
  json: { type: "string" },
});

/** Token budgets that the raw loop tries. */
const BUDGETS = [256, 512, 1024, 2048, 4096];

/** Texts that batch sizes are tried on and how often, and texts whose vectors are compared. */
const TRIAL_TEXTS = 32;
const TRIALS = 2;
const COMPARED_TEXTS = 32;

/** Pause between two turns, so that the last one's idle threads have gone to sleep. */
const REST_MS = 250;

/** What one turn of one system gave. */
interface Turn {
  readonly seconds: number;
  /** Of all threads, those that wait by spinning included. */
  readonly cpu_seconds: number;
  readonly tokens: number;
  readonly padded_tokens: number;
}

interface System {
  readonly id: string;
  readonly name: string;
  readonly batch: string;
  /** Tokens per second of the batch sizes that were tried. */
  readonly tried: ReadonlyMap<number, number>;
  /** Likeness of its vectors to ours: mean cosine. */
  readonly likeness: number;
  readonly turn: () => Promise<Turn>;
}

interface Texts {
  readonly texts: readonly string[];
  readonly rows: readonly (readonly number[])[];
}

if (flags.cores === undefined) await main();
else pinned(flags.cores);

/** This command again, where the kernel lets it and its children use these cores only. */
function pinned(cores: string): void {
  const place = process.argv.indexOf("--cores");
  const rest = process.argv.filter(
    (word, i) => i !== place && i !== place + 1 && !word.startsWith("--cores="),
  );
  const args = ["-c", cores, ...process.execArgv, ...rest];
  const end = spawnSync("taskset", args, { stdio: "inherit" });
  if (end.error !== undefined) throw new Error(`taskset cannot run: ${end.error.message}`);
  process.exitCode = end.status ?? 1;
}

async function main(): Promise<void> {
  const machine = describeMachine();
  const threads = Number(flags.threads ?? os.availableParallelism());
  const config = loadConfig({
    flags: {
      "model.path": flags.model,
      "model.threads": threads,
      "model.token_budget": flags["token-budget"],
    },
  }).values;
  const encoder = await openEncoder(config);
  const closers: (() => unknown)[] = [() => encoder.close()];
  const absent: string[] = [];
  try {
    const work = await workFor(encoder, Number(flags.texts));
    const ours = await vectorsOf(encoder, work.rows.slice(0, COMPARED_TEXTS));
    const systems: System[] = [
      oursSystem(encoder, work, tokenBudgetOf(config), config["ingest.job_documents"]),
      await rawSystem(work, closers),
    ];
    const versions: Record<string, string> = {
      "onnxruntime-node": packageVersion("onnxruntime-node"),
    };
    const python = flags["make-python"] ? makePython(say) : (flags.python ?? "python3");
    for (const kind of ["onnxruntime", "torch-fp32", "torch-bf16"] as const) {
      try {
        const model = config["model.path"];
        const peer = await startPythonPeer(python, kind, { model, threads });
        closers.push(() => peer.close());
        Object.assign(versions, peer.versions);
        systems.push(await pythonSystem(kind, peer, work, ours));
      } catch (thrown) {
        const reason = thrown instanceof Error ? thrown.message : String(thrown);
        absent.push(`${kind} could not run with ${python} (${reason}).`);
        say(`ABSENT: ${absent.at(-1) ?? ""} --make-python makes an environment for it.`);
      }
    }
    const turns = await inRounds(
      Number(flags.rounds),
      systems.map(({ turn }) => async () => {
        await sleep(REST_MS);
        return turn();
      }),
      (round) => say(`round ${round} of ${flags.rounds}`),
    );
    const report = reportOf({ ...machine, versions }, systems, turns, encoder, absent, threads);
    process.stdout.write(`${machineLine(report)}\n\n`);
    for (const table of report.tables) {
      process.stdout.write(`${table.title}\n\n${markdownTable(table)}\n`);
    }
    if (flags.json !== undefined) await writeReport(flags.json, report);
  } finally {
    for (const close of closers) await close();
  }
}

function say(message: string): void {
  process.stderr.write(`${message}\n`);
}

/** Texts that fit into one passage, so that all systems have the same tokens to encode. */
async function workFor(encoder: Encoder, count: number): Promise<Texts> {
  const texts = await mixedTexts(count * 2, 1);
  const tokenizer = createTokenizer(readTokenizerFile(encoder.checkpoint.tokenizerFile));
  const rows = texts.map((text) => tokenizer.encode(text));
  const kept = rows
    .map((ids, i) => ({ ids, text: texts[i] as string }))
    .filter(({ ids }) => ids.length > 0 && ids.length <= encoder.manifest.max_tokens.document)
    .slice(0, count);
  return { texts: kept.map(({ text }) => text), rows: kept.map(({ ids }) => ids) };
}

function part(work: Texts, count: number): Texts {
  return { texts: work.texts.slice(0, count), rows: work.rows.slice(0, count) };
}

/** Our vectors of tokens, before a lexical part is added: that is not the network's. */
async function vectorsOf(encoder: Encoder, rows: Texts["rows"]): Promise<SparseVector[]> {
  const { checkpoint, manifest } = encoder;
  const session = await openSession(checkpoint.modelFile, { provider: "cpu", threads: 1 });
  try {
    return await session.run(rows, manifest.pad_token_id, manifest.top_k.document);
  } finally {
    await session.close();
  }
}

function oursSystem(encoder: Encoder, work: Texts, budget: number, window: number): System {
  return {
    id: "ours",
    name: "csplade",
    batch: `${budget} tokens`,
    tried: new Map(),
    likeness: 1,
    async turn() {
      const before = encoder.totals();
      const timer = startTimer();
      // All windows at once: the encoder queues them, as a worker's jobs in flight do.
      const windows = [];
      for (let from = 0; from < work.texts.length; from += window) {
        windows.push(encoder.encodeDocuments(work.texts.slice(from, from + window)));
      }
      await Promise.all(windows);
      const times = timer();
      const after = encoder.totals();
      return {
        ...times,
        tokens: after.tokens - before.tokens,
        padded_tokens: after.padded_tokens - before.padded_tokens,
      };
    },
  };
}

/** @returns what tells the time and this process's CPU time since. */
function startTimer(): () => { seconds: number; cpu_seconds: number } {
  const started = performance.now();
  const cpu = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    return { seconds: (performance.now() - started) / 1_000, cpu_seconds: (user + system) / 1e6 };
  };
}

async function rawSystem(work: Texts, closers: (() => unknown)[]): Promise<System> {
  const { "model.path": directory } = loadConfig({ flags: { "model.path": flags.model } }).values;
  const loop = await openRawOnnxLoop(directory, {
    threads: Number(flags.threads ?? os.availableParallelism()),
    top_k: 256,
  });
  closers.push(() => loop.close());
  const timed = async (rows: Texts["rows"], size: number): Promise<Turn> => {
    const timer = startTimer();
    const done = await loop.encode(rows, size);
    return { ...done, ...timer() };
  };
  const { rows } = part(work, TRIAL_TEXTS);
  const { size, tried } = await bestSize("raw onnxruntime-node", BUDGETS, (budget) =>
    timed(rows, budget),
  );
  return {
    id: "raw",
    name: "onnxruntime-node, bare loop",
    batch: `${size} tokens`,
    tried,
    likeness: 1,
    turn: () => timed(work.rows, size),
  };
}

async function pythonSystem(
  id: string,
  peer: PythonPeer,
  work: Texts,
  ours: readonly SparseVector[],
): Promise<System> {
  const trial = part(work, TRIAL_TEXTS);
  const { size, tried } = await bestSize(peer.name, peer.sizes, (each) =>
    peer.encode({ ...trial, size: each }),
  );
  const { vectors } = await peer.encode({ ...part(work, ours.length), size, vectors: true });
  const likeness =
    ours.reduce((sum, vector, i) => sum + cosine(vector, vectorOfPeer(vectors[i] ?? {})), 0) /
    ours.length;
  return {
    id,
    name: peer.name,
    batch: `${size} ${id === "onnxruntime" ? "tokens" : "texts"}`,
    tried,
    likeness,
    turn: () => peer.encode({ ...work, size }),
  };
}

/** The size that did best in the best of its trials, taken in turn. */
async function bestSize(
  name: string,
  sizes: readonly number[],
  trial: (size: number) => Promise<Turn>,
): Promise<{ size: number; tried: Map<number, number> }> {
  const turns = await inRounds(
    TRIALS,
    sizes.map((size) => () => trial(size)),
  );
  const best = turns.map((each) => Math.max(...each.map((one) => one.tokens / one.seconds)));
  const place = best.indexOf(Math.max(...best));
  say(
    `${name}: ${sizes.map((size, i) => `${size}: ${Math.round(best[i] ?? 0)}`).join(", ")} tokens/s`,
  );
  return {
    size: sizes[place] as number,
    tried: new Map(sizes.map((size, i) => [size, best[i] as number])),
  };
}

function vectorOfPeer(terms: Readonly<Record<string, number>>): SparseVector {
  return sparseVector(Object.entries(terms).map(([id, weight]) => [Number(id), weight] as const));
}

function cosine(a: SparseVector, b: SparseVector): number {
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function dot(a: SparseVector, b: SparseVector): number {
  const weights = new Map(termsOf(b));
  let sum = 0;
  for (const [id, weight] of termsOf(a)) sum += weight * (weights.get(id) ?? 0);
  return sum;
}

function reportOf(
  machine: BenchReport["machine"],
  systems: readonly System[],
  turns: readonly (readonly Turn[])[],
  encoder: Encoder,
  absent: readonly string[],
  threads: number,
): BenchReport {
  const speeds = turns.map((each) => each.map(({ tokens, seconds }) => tokens / seconds));
  const efficiencies = turns.map((each) => each.map((one) => one.tokens / one.cpu_seconds));
  const measured = systems.map(({ id, name, batch, tried, likeness }, i) => {
    const [first] = turns[i] ?? [];
    return {
      id,
      name,
      batch,
      tried: Object.fromEntries(tried),
      likeness,
      tokens_per_second: median(speeds[i] ?? []),
      waste: 1 - (first?.tokens ?? 0) / (first?.padded_tokens ?? 1),
      tokens_per_cpu_second: median(efficiencies[i] ?? []),
      ours_to_this: pairedRatio(speeds[0] ?? [], speeds[i] ?? []),
      ours_to_this_by_cpu: pairedRatio(efficiencies[0] ?? [], efficiencies[i] ?? []),
      rounds: turns[i] ?? [],
    };
  });
  const { name, fingerprint, precision } = encoder.manifest;
  const [first] = turns[0] ?? [];
  const texts = Number(flags.texts);
  return {
    format: 1,
    bench: "encoder",
    title: "Encoding speed",
    command: `npm run bench:encoder -- --texts ${texts} --rounds ${flags.rounds} --threads ${threads}`,
    machine,
    tables: [
      {
        title: `${name} (${precision}, ${fingerprint}), ${texts} texts of ${Math.round((first?.tokens ?? 0) / texts)} tokens on average, ${threads} threads`,
        columns: [
          "system",
          "batch:",
          "padding:",
          "tokens/s:",
          "csplade is faster:",
          "tokens per CPU second:",
          "csplade needs less:",
          "cosine with ours:",
        ],
        rows: measured.map((one) => [
          one.name,
          one.batch,
          `${(100 * one.waste).toFixed(1)} %`,
          whole(one.tokens_per_second),
          one.id === "ours" ? "" : times(one.ours_to_this),
          whole(one.tokens_per_cpu_second),
          one.id === "ours" ? "" : times(one.ours_to_this_by_cpu),
          one.id === "ours" || one.id === "raw" ? "" : one.likeness.toFixed(4),
        ]),
        notes: [
          `Medians of ${flags.rounds} rounds in which all took turns on ${threads} threads; a ratio is the median of the rounds' ratios, ` +
            "with its 95 % interval. CPU seconds are those of all threads: they hardly depend on what else a machine does.",
          ...(machine.load_before > machine.cores / 4
            ? [
                `**Measured on a busy machine** (load ${machine.load_before} before it began): trust the columns of CPU time.`,
              ]
            : []),
          ...absent,
        ],
      },
      {
        title: "Batch sizes each of them tried",
        columns: ["system", "tokens/s by size of a batch"],
        rows: systems
          .filter(({ tried }) => tried.size > 0)
          .map(({ name, batch, tried }) => [
            `${name}, ${batch.replace(/^[0-9]+ /, "")}`,
            [...tried].map(([size, speed]) => `${size}: ${whole(speed)}`).join(", "),
          ]),
        notes: [`The best of ${TRIALS} trials of ${Math.min(TRIAL_TEXTS, texts)} texts each.`],
      },
    ],
    figures: { threads, texts, systems: measured },
  };
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

function times({ ratio, low, high }: PairedRatio): string {
  return `× ${ratio.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
