/** `csplade demo`: from nothing to a reverse dictionary, with the same code as every other command. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import pc from "picocolors";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import type { LoadedConfig } from "../config/load-config.js";
import { calledBy } from "../config/package-root.js";
import type { Config } from "../config/settings.js";
import { openEncoder, type Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { ingestFiles } from "../pipeline/ingest-files.js";
import { startServers } from "../servers/servers.js";
import { everydayNouns, wordNetFolder } from "../demo/wordnet.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { printIngestSummary } from "./ingest.js";
import { startIngestProgress, type IngestProgress } from "./ingest-progress.js";
import { untilInterrupted } from "./interrupt.js";
import { printLine, printNote } from "./outcome.js";
import { searchAndPrint } from "./search.js";

/** Index of the demo. */
const INDEX = "wordnet";

/** Questions whose words are mostly not in the answer, chosen before any was asked; all are shown. */
const QUESTIONS = [
  "a person who studies stars",
  "money paid for a place to live",
  "machine that flies",
  "someone who looks after your teeth",
  "when the ground shakes",
  "something that keeps the rain off you",
];

/** Builds the command. */
export function demoCommand(): Command {
  return configuredCommand("demo")
    .description("Start the servers, index everyday words of WordNet and search them by meaning.")
    .option("--documents <n>", "synsets to index, of the 16,900 nouns that its glosses use", "4000")
    .addHelpText("after", "\nExamples:\n  npm run demo\n  csplade demo --documents 16900")
    .action(async (flags: { documents: string }, command: Command) => {
      const documents = Number(flags.documents);
      if (!Number.isInteger(documents) || documents < 1) {
        throw new CspladeError(
          "usage",
          `--documents must be a whole number, not ${flags.documents}.`,
        );
      }
      await untilInterrupted((signal) => demo(configOf(command.opts()), documents, signal));
    });
}

async function demo(loaded: LoadedConfig, documents: number, signal: AbortSignal): Promise<void> {
  const config = loaded.values;
  await startNeededServers(loaded, signal);
  const { file: corpus, count } = await writeCorpus(config, documents, signal);
  const cluster = connectCluster(config);
  const encoder = await openEncoder(config);
  try {
    printLine(
      pc.bold(`\nIndexing ${count} WordNet synsets (csplade ingest ${corpus} --index ${INDEX})`),
    );
    await ingestCorpus(config, cluster, encoder, corpus, signal);
    for (const question of QUESTIONS) {
      printLine(pc.bold(`\n$ csplade search --index ${INDEX} "${question}"`));
      await searchAndPrint({ config, cluster, encoder, index: INDEX, question, size: 3, signal });
    }
    printLine("\nThe servers go on. Ask your own:");
    printLine(`  ${calledBy} search --index ${INDEX} "someone who mends shoes"`);
    printLine(`  ${calledBy} down`);
  } finally {
    await encoder.close();
    await cluster.close();
  }
}

/** Embedded servers for what the user did not point elsewhere. */
async function startNeededServers(
  { values, origins }: LoadedConfig,
  signal: AbortSignal,
): Promise<void> {
  const needed = [
    ...(origins["opensearch.url"] === "default" ? (["opensearch"] as const) : []),
    ...(origins["redis.url"] === "default" ? (["redis"] as const) : []),
  ];
  if (needed.length === 0) return;
  await startServers({
    home: values.home,
    servers: needed,
    signal,
    onProgress: (message) => printNote(pc.dim(`${message} …`)),
  });
}

/** Writes the everyday nouns of WordNet to a file, as a user's documents would lie there. */
async function writeCorpus(
  config: Config,
  documents: number,
  signal: AbortSignal,
): Promise<{ file: string; count: number }> {
  const nouns = await everydayNouns(wordNetFolder(), documents);
  signal.throwIfAborted();
  const folder = path.join(config.home, "demo");
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, "wordnet.ndjson");
  await writeFile(file, nouns.map((noun) => `${JSON.stringify(noun)}\n`).join(""));
  return { file, count: nouns.length };
}

async function ingestCorpus(
  config: Config,
  cluster: Cluster,
  encoder: Encoder,
  corpus: string,
  signal: AbortSignal,
): Promise<void> {
  let progress: IngestProgress | undefined;
  try {
    const summary = await ingestFiles({
      config,
      cluster,
      encoder,
      inputs: [corpus],
      index: INDEX,
      deadLetters: path.join(config.home, "demo", "dead-letters.ndjson"),
      onStart: ({ bytes }) => (progress = startIngestProgress(bytes, false)),
      onProgress: (counts) => progress?.update(counts),
      onTrouble: (message) => printNote(pc.yellow(message)),
      signal,
    });
    progress?.stop();
    printIngestSummary(summary);
  } finally {
    progress?.stop();
  }
}
