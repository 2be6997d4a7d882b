/**
 * What a search costs as the index grows and as the question grows.
 *
 *   npm run bench:growth                                 10,000 to 1,000,000 documents
 *   npm run bench:growth -- --sizes 10000,30000,100000   smaller
 *   npm run bench:growth -- --svg FILE --json FILE       the plot (docs/growth.svg without it)
 *
 * Cost is the cluster's own time in the query phase, on one shard merged to one segment, hits not
 * counted; the rest of a search (HTTP, JSON, fetching ten hits) does not grow. Curves are powers,
 * fitted to the logarithms. Questions of a given length are drawn from the terms of several.
 */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Cluster } from "../src/cluster/cluster.js";
import { packageRoot } from "../src/config/package-root.js";
import { loadConfig } from "../src/config/load-config.js";
import { bulkWriterOptions, createBulkWriter } from "../src/index/bulk-writer.js";
import type { IndexModel } from "../src/index/index-meta.js";
import { search } from "../src/query/search.js";
import type { SearchMode } from "../src/query/search-mode.js";
import { maxMerge, sparseVector, termsOf } from "../src/sparse/sparse-vector.js";
import { describeMachine, markdownTable, writeReport, type BenchTable } from "./bench-report.js";
import { openBenchServer } from "./bench-server.js";
import { engineTimes, type CountedSystem } from "./engine-time.js";
import { growthPlot, type Growth } from "./growth-plot.js";
import { fitPowerLaw } from "./power-law.js";
import { randomNumbers } from "./resampled-corpus.js";
import { openCorpus, type Question, type SearchCorpus } from "./search-corpus.js";
import { addDocuments, createIndex, settle } from "./search-indices.js";

const { values: flags } = parseArgs({
  options: {
    sizes: { type: "string", default: "10000,30000,100000,300000,1000000" },
    lengths: { type: "string", default: "2,4,8,16,32,64" },
    "length-documents": { type: "string", default: "100000" },
    every: { type: "string", default: "2" },
    questions: { type: "string", default: "100" },
    rounds: { type: "string", default: "5" },
    heap: { type: "string", default: "2g" },
    model: { type: "string" },
    opensearch: { type: "string" },
    folder: { type: "string" },
    svg: { type: "string", default: path.join(packageRoot, "docs", "growth.svg") },
    json: { type: "string" },
  },
});

const NAMES = { csplade: "csplade-growth", bm25: "csplade-growth-bm25" } as const;

const RECIPES = [
  { name: NAMES.bm25, vectors: false },
  { name: NAMES.csplade, vectors: true, store_vectors: false },
] as const;

/** Questions whose terms are mixed for one of a given length. */
const MIXED_QUESTIONS = 8;

const config = loadConfig({
  flags: flags.model === undefined ? {} : { "model.path": flags.model },
}).values;
const folder = flags.folder ?? path.join(config.home, "bench");
const machine = describeMachine();
const { corpus, model } = await openCorpus(config, {
  folder,
  every: Number(flags.every),
  questions: Number(flags.questions),
});
const { cluster, close } = await openBenchServer(config, {
  url: flags.opensearch,
  folder,
  heap: flags.heap,
});
try {
  const growths = await measure(cluster, corpus, model);
  await report(cluster, growths);
} finally {
  for (const name of Object.values(NAMES)) {
    await cluster.send({ method: "DELETE", path: `/${name}` });
  }
  await close();
}

async function measure(target: Cluster, texts: SearchCorpus, made: IndexModel): Promise<Growth[]> {
  const bySize: Growth = { title: "documents in the index", series: [] };
  const byLength: Growth = { title: "terms in the question", series: [] };
  const lengthDocuments = Number(flags["length-documents"]);
  const sizes = numbers(flags.sizes);
  const steps = [...new Set([...sizes, lengthDocuments])].sort((a, b) => a - b);
  for (const recipe of RECIPES) await createIndex(target, made, recipe);
  for (const [step, size] of steps.entries()) {
    await grow(target, texts, made, steps[step - 1] ?? 0, size);
    if (sizes.includes(size)) {
      await add(target, bySize, size, [bm25(target), ...modes(target)], texts.questions);
    }
    if (size === lengthDocuments) {
      for (const length of numbers(flags.lengths)) {
        await add(target, byLength, length, modes(target), ofLength(texts.questions, length));
      }
    }
  }
  return [bySize, byLength];
}

/** The same documents come first at every size: an index grows by those that are not in it yet. */
async function grow(
  target: Cluster,
  texts: SearchCorpus,
  made: IndexModel,
  from: number,
  to: number,
): Promise<void> {
  const writer = createBulkWriter(target, bulkWriterOptions(config));
  try {
    for (const recipe of RECIPES) {
      await addDocuments(writer, made, recipe, beyond(texts.documents(to), from), {
        first: from,
        count: to,
      });
      await settle(target, recipe.name, 0);
      console.error(`${recipe.name}: ${to} documents`);
    }
  } finally {
    await writer.close();
  }
}

function* beyond<T>(values: Iterable<T>, first: number): Generator<T> {
  let place = 0;
  for (const value of values) if (place++ >= first) yield value;
}

async function add(
  target: Cluster,
  growth: Growth,
  x: number,
  systems: readonly CountedSystem<Question>[],
  questions: readonly Question[],
): Promise<void> {
  const rounds = Number(flags.rounds);
  const times = await engineTimes(target, systems, questions, rounds);
  systems.forEach(({ name }, place) => {
    let series = growth.series.find((one) => one.name === name);
    if (series === undefined) growth.series.push((series = { name, points: [] }));
    series.points.push([x, times[place] ?? 0]);
  });
  const shown = systems.map(({ name }, place) => `${name} ${(times[place] ?? 0).toFixed(2)} ms`);
  console.error(`${x} ${growth.title}: ${shown.join(", ")}`);
}

function bm25(target: Cluster): CountedSystem<Question> {
  return {
    name: "BM25 match",
    index: NAMES.bm25,
    async find({ text }) {
      const body = { query: { match: { text } }, _source: false, track_total_hits: false };
      await target.demand(
        { method: "POST", path: `/${NAMES.bm25}/_search`, body },
        "Searching by BM25",
      );
      return { hits: [] };
    },
  };
}

function modes(target: Cluster): CountedSystem<Question>[] {
  const inMode = (mode: SearchMode): CountedSystem<Question> => ({
    name: mode,
    index: NAMES.csplade,
    async find({ vector }) {
      const around = { track_total_hits: false };
      await search(target, { index: NAMES.csplade, vector, mode, source: false, around });
      return { hits: [] };
    },
  });
  return [inMode("plain"), inMode("two_phase")];
}

/** Questions with `length` terms, drawn from those of several questions with their weights. */
function ofLength(questions: readonly Question[], length: number): Question[] {
  const random = randomNumbers(length);
  return questions.map((question, q) => {
    const several = Array.from(
      { length: MIXED_QUESTIONS },
      (_, i) => (questions[(q + i) % questions.length] as Question).vector,
    );
    const terms = [...termsOf(maxMerge(several))];
    const drawn = Array.from(
      { length: Math.min(length, terms.length) },
      () => terms.splice(Math.floor(random() * terms.length), 1)[0] as (typeof terms)[number],
    );
    return { ...question, vector: sparseVector(drawn) };
  });
}

async function report(target: Cluster, growths: readonly Growth[]): Promise<void> {
  const { version } = await target.capabilities();
  const tables = growths.map(tableOf);
  for (const table of tables) console.log(`\n### ${table.title}\n\n${markdownTable(table)}`);
  await writeFile(flags.svg, growthPlot(growths));
  console.error(`plot written to ${flags.svg}`);
  if (flags.json === undefined) return;
  await writeReport(flags.json, {
    format: 1,
    bench: "growth",
    title: "What a search costs as index and question grow",
    command: `npm run bench:growth -- --sizes ${flags.sizes} --length-documents ${flags["length-documents"]}`,
    machine: { ...machine, versions: { OpenSearch: version } },
    tables,
    figures: growths,
  });
}

function tableOf({ title, series }: Growth): BenchTable {
  const xs = series[0]?.points.map(([x]) => x) ?? [];
  return {
    title: `Milliseconds in the query phase, by ${title}`,
    columns: [
      "mode",
      ...xs.map((x) => `${x.toLocaleString("en")}:`),
      "grows as:",
      "R² of the fit:",
    ],
    rows: series.map(({ name, points }) => {
      const { exponent, r2 } = fitPowerLaw(points);
      return [
        name,
        ...points.map(([, ms]) => ms.toFixed(2)),
        `n^${exponent.toFixed(2)}`,
        r2.toFixed(3),
      ];
    }),
  };
}

function numbers(list: string): number[] {
  return list.split(",").map(Number);
}
