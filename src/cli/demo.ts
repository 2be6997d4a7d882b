/** `csplade demo`: from nothing to a reverse dictionary, with the same code as every other command. */
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
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
import { wordNetDocuments, wordNetFolder } from "../sources/wordnet.js";
import { configOf, configuredCommand } from "./configured-command.js";
import { printIngestSummary } from "./ingest.js";
import { startIngestProgress, type IngestProgress } from "./ingest-progress.js";
import { untilInterrupted } from "./interrupt.js";
import { printLine, printNote } from "./outcome.js";
import { searchAndPrint } from "./search.js";

/** Index of the demo. */
const INDEX = "wordnet";

/** What people look up by description: people, states, feelings, doings. */
const DOMAINS = new Set(["person", "state", "feeling", "act", "cognition", "attribute"]);

/** Questions whose words are mostly not in the answer. */
const QUESTIONS = [
  "fear of closed spaces",
  "longing for your home",
  "stealing things from shops",
  "a doctor for children",
];

/** Builds the command. */
export function demoCommand(): Command {
  return configuredCommand("demo")
    .description("Start the servers, index WordNet's glosses and search them by meaning.")
    .option("--documents <n>", "synsets to index", "28000")
    .addHelpText("after", "\nExamples:\n  npm run demo\n  csplade demo --documents 117000")
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
  const corpus = await writeCorpus(config, documents, signal);
  const cluster = connectCluster(config);
  const encoder = await openEncoder(config);
  try {
    printLine(
      pc.bold(
        `\nIndexing ${documents} WordNet synsets (csplade ingest ${corpus} --index ${INDEX})`,
      ),
    );
    await ingestCorpus(config, cluster, encoder, corpus, signal);
    for (const question of QUESTIONS) {
      printLine(pc.bold(`\n$ csplade search --index ${INDEX} "${question}"`));
      await searchAndPrint({ config, cluster, encoder, index: INDEX, question, size: 3, signal });
    }
    printLine("\nThe servers go on. Ask your own:");
    printLine(`  ${calledBy} search --index ${INDEX} "a person who studies stars"`);
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

/** The synsets of the most telling domains first: a part of WordNet should still be a dictionary of something. */
async function writeCorpus(
  config: Config,
  documents: number,
  signal: AbortSignal,
): Promise<string> {
  const telling: string[] = [];
  const others: string[] = [];
  for await (const document of wordNetDocuments(wordNetFolder())) {
    const line = `${JSON.stringify(document)}\n`;
    (DOMAINS.has(document.domain) ? telling : others).push(line);
  }
  const chosen = [...telling, ...others].slice(0, documents);
  const folder = path.join(config.home, "demo");
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, "wordnet.ndjson");
  await pipeline(Readable.from(chosen), createWriteStream(file), { signal });
  return file;
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
