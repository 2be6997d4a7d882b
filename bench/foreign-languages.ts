/**
 * Texts in languages that a model does not know: manual pages in German, French and Japanese, found by their
 * own one-line descriptions; with and without the terms that the model would add to them.
 *
 *   npm run bench:languages                         300 pages of each language, the default model: under an hour
 *   npm run bench:languages -- --pages 100 --languages de,ja
 *   npm run bench:languages -- --model models/csplade-minilm-words
 *   npm run bench:languages -- --json FILE          the figures as JSON too
 *
 * The pages are those of Debian's packages manpages-de, -fr and -ja (fetched with apt-get, kept, never part of
 * this project). A document is the first 600 characters of a page's text behind its section NAME, a question the
 * description in that section; the page is the one right answer. Pages with the same description or a text of
 * under 200 characters are left out; the choice is seeded. No checkpoint was trained or tuned on them.
 */
import { spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { loadConfig } from "../src/config/load-config.js";
import { packageRoot } from "../src/config/package-root.js";
import { readCollection } from "../src/evaluate/beir.js";
import { meanMetrics, runMetrics, type Qrels } from "../src/evaluate/metrics.js";
import { parseRun } from "../src/evaluate/run-file.js";
import { benchFlags } from "./bench-flags.js";
import { commandOf, describeMachine, markdownTable, writeReport } from "./bench-report.js";
import { withBenchServers, type BenchServers } from "./bench-server.js";
import { randomNumbers } from "./resampled-corpus.js";

const flags = benchFlags(import.meta.url, {
  pages: { type: "string", default: "300" },
  languages: { type: "string", default: "de,fr,ja" },
  model: { type: "string" },
  seed: { type: "string", default: "1" },
  json: { type: "string" },
});

/** The analyzer that a user of each language would choose, of those that need no plugin. */
const ANALYZERS: Readonly<Record<string, string>> = { de: "german", fr: "french", ja: "cjk" };

const MOST_CHARACTERS = 600;
const FEWEST_CHARACTERS = 200;

const { values: config } = loadConfig();
const folder = path.join(config.home, "bench", "foreign-languages");
const model = path.resolve(flags.model ?? config["model.path"]);

interface Page {
  readonly id: string;
  readonly description: string;
  readonly text: string;
}

/** The folder of a language's pages, and the package they are of. */
function fetchedPages(language: string): { readonly pages: string; readonly from: string } {
  const made = path.join(folder, language);
  const run = (program: string, args: readonly string[]) => {
    const end = spawnSync(program, args, {
      cwd: made,
      stdio: ["ignore", 2, 2],
      timeout: 600_000,
    });
    if (end.status !== 0) throw new Error(`${program} ${args.join(" ")} failed; see above.`);
  };
  mkdirSync(made, { recursive: true });
  const packages = () => readdirSync(made).filter((name) => name.endsWith(".deb"));
  if (packages().length === 0) run("apt-get", ["download", `manpages-${language}`]);
  const [from = ""] = packages();
  run("dpkg-deb", ["--extract", from, "."]);
  return { pages: path.join(made, "usr", "share", "man", language), from };
}

/** A line of a page without what sets its type. */
function plain(line: string): string {
  return line
    .replaceAll(/\\f(?:\[[A-Z]*\]|\(..|[A-Z0-9])|\\[,/&|^%:]|\\s[-+]?\d/g, "")
    .replaceAll("\\-", "-")
    .replaceAll(/\\\(..|\\\[[^\]]*\]|\\[~ ]/g, " ")
    .replaceAll("\\e", "\\");
}

/** A page's sections, as lines of text: requests that only set type are left out. */
function sectionsOf(file: string): string[][] {
  const bytes = readFileSync(file);
  const source = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  const sections: string[][] = [];
  for (const line of source.split("\n")) {
    if (/^\.S[Hh]\b/.test(line)) sections.push([]);
    else if (/^\.(?:[BI]|[BIR]{2})\s/.test(line)) {
      sections.at(-1)?.push(plain(line.replace(/^\.\w+\s*/, "").replaceAll('"', "")));
    } else if (!/^[.']/.test(line)) sections.at(-1)?.push(plain(line));
  }
  return sections;
}

function readPages(pages: string): Page[] {
  const found = new Map<string, Page>();
  for (const section of readdirSync(pages).filter((name) => /^man\d/.test(name))) {
    for (const name of readdirSync(path.join(pages, section))) {
      const file = path.join(pages, section, name);
      if (!lstatSync(file).isFile()) continue;
      const [head = [], ...rest] = sectionsOf(file);
      const description = /\s[-—–]+\s(.+)$/.exec(head.join(" ").trim())?.[1]?.trim() ?? "";
      const text = rest.flat().join(" ").replaceAll(/\s+/g, " ").trim();
      if (description === "" || text.length < FEWEST_CHARACTERS) continue;
      if (found.has(description)) continue;
      const id = name.replace(/\.gz$/, "");
      found.set(description, { id, description, text: text.slice(0, MOST_CHARACTERS) });
    }
  }
  return [...found.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Writes a language's collection in BEIR's form. */
function makeCollection(language: string): { readonly data: string; readonly from: string } {
  const { pages, from } = fetchedPages(language);
  const random = randomNumbers(Number(flags.seed));
  const chosen = readPages(pages)
    .map((page) => ({ page, place: random() }))
    .sort((a, b) => a.place - b.place)
    .slice(0, Number(flags.pages))
    .map(({ page }) => page);
  const data = path.join(folder, `${language}-${flags.pages}-${flags.seed}`);
  mkdirSync(path.join(data, "qrels"), { recursive: true });
  const write = (name: string, lines: readonly string[]) =>
    writeFileSync(path.join(data, name), lines.map((line) => `${line}\n`).join(""));
  write(
    "corpus.jsonl",
    chosen.map(({ id, text }) => JSON.stringify({ _id: id, text })),
  );
  write(
    "queries.jsonl",
    chosen.map(({ id, description }) => JSON.stringify({ _id: id, text: description })),
  );
  write("qrels/test.tsv", [
    "query-id\tcorpus-id\tscore",
    ...chosen.map(({ id }) => `${id}\t${id}\t1`),
  ]);
  return { data, from };
}

/** Evaluates with the model; gives nDCG@10 of it and of BM25 with the English analyzer. */
function evaluate(servers: BenchServers, data: string, name: string, other: "words" | "terms") {
  const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
  const runs = ["--run", path.join(data, `${name}.run`), "--bm25-run", path.join(data, "bm25.run")];
  const args = [main, "eval", "--data", data, "--index", name, "--quiet", "--json", ...runs];
  const end = spawnSync(process.execPath, args, {
    stdio: ["ignore", 2, 2],
    env: {
      ...process.env,
      OPENSEARCH_URL: servers.opensearchUrl,
      REDIS_URL: servers.redisUrl,
      CSPLADE_MODEL: model,
      CSPLADE_OTHER_LANGUAGES: other,
    },
  });
  if (end.status !== 0) throw new Error(`csplade eval of ${data} failed; see above.`);
}

function ndcgOf(file: string, qrels: Qrels): number {
  const run = parseRun(readFileSync(file, "utf8"), file);
  return meanMetrics(runMetrics(run, qrels, []))["ndcg@10"];
}

async function ask(url: string, method: string, body: string, type = "application/json") {
  const answer = await fetch(url, {
    method,
    body,
    headers: { "content-type": type },
    signal: AbortSignal.timeout(60_000),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url}: ${text.slice(0, 500)}`);
  return JSON.parse(text) as unknown;
}

/** BM25 with the language's own analyzer; writes its run. */
async function searchWords(
  { opensearchUrl }: BenchServers,
  data: string,
  language: string,
  file: string,
): Promise<void> {
  const index = `${opensearchUrl}/bm25-${language}`;
  const text = { type: "text", analyzer: ANALYZERS[language] ?? "standard" };
  const settings = { number_of_shards: 1, number_of_replicas: 0 };
  await ask(index, "PUT", JSON.stringify({ settings, mappings: { properties: { text } } }));
  const { queries } = await readCollection(data);
  const lines = readFileSync(path.join(data, "corpus.jsonl"), "utf8").trim().split("\n");
  const bulk = lines.map((line) => {
    const document = JSON.parse(line) as { _id: string; text: string };
    return `${JSON.stringify({ index: { _id: document._id } })}\n${JSON.stringify({ text: document.text })}\n`;
  });
  await ask(`${index}/_bulk?refresh=true`, "POST", bulk.join(""), "application/x-ndjson");
  const ranked: string[] = [];
  for (const query of queries) {
    const body = JSON.stringify({
      size: 100,
      _source: false,
      query: { match: { text: query.text } },
    });
    const answer = (await ask(`${index}/_search`, "POST", body)) as {
      hits: { hits: { _id: string; _score: number }[] };
    };
    answer.hits.hits.forEach(({ _id, _score }, i) =>
      ranked.push(`${query.id} Q0 ${_id} ${i + 1} ${_score} bm25-${language}\n`),
    );
  }
  writeFileSync(file, ranked.join(""));
}

const rows: { language: string; from: string; pages: number; figures: Record<string, number> }[] =
  [];
await withBenchServers(
  { name: "languages", onProgress: (message) => console.error(message) },
  async (servers) => {
    for (const language of flags.languages.split(",")) {
      const { data, from } = makeCollection(language);
      const { qrels } = await readCollection(data);
      const runOf = (name: string) => path.join(data, `${name}.run`);
      await searchWords(servers, data, language, runOf("bm25-own"));
      for (const other of ["words", "terms"] as const) {
        evaluate(servers, data, `${language}-${other}`, other);
      }
      const figures = {
        own: ndcgOf(runOf("bm25-own"), qrels),
        english: ndcgOf(runOf("bm25"), qrels),
        words: ndcgOf(runOf(`${language}-words`), qrels),
        terms: ndcgOf(runOf(`${language}-terms`), qrels),
      };
      rows.push({ language, from, pages: qrels.size, figures });
      console.error(language, figures);
    }
  },
);
const table = {
  title: `nDCG@10 of ${path.basename(model)} on manual pages`,
  columns: [
    "language",
    "BM25, own analyzer:",
    "BM25, English analyzer:",
    "own words alone:",
    "with the model's terms:",
  ],
  rows: rows.map(({ language, figures }) => [
    `${language} (${ANALYZERS[language] ?? "standard"})`,
    ...Object.values(figures).map((value) => value.toFixed(3)),
  ]),
  notes: rows.map(({ language, from, pages }) => `${language}: ${pages} pages of ${from}.`),
};
console.log(markdownTable(table));
if (flags.json !== undefined) {
  await writeReport(flags.json, {
    format: 1,
    bench: "foreign-languages",
    title: "Texts in languages that a model does not know",
    command: commandOf("bench:languages"),
    machine: describeMachine({}),
    tables: [table],
    figures: { languages: rows },
  });
}
