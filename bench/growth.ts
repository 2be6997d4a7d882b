/**
 * What a search costs as the index grows and as the question grows.
 *
 *   npm run bench:growth                                 10,000 to 1,000,000 documents
 *   npm run bench:growth -- --sizes 10000,30000,100000   smaller
 *   npm run bench:growth -- --keep                       take kept indices, those of bench:search too
 *   npm run bench:growth -- --keep --only-make           make what is missing, measure nothing
 *   npm run bench:growth -- --svg FILE --json FILE       the plot (docs/growth.svg without it)
 *
 * Cost is the cluster's own time in the query phase, on one shard merged to one segment, hits not
 * counted; the rest of a search (HTTP, JSON, fetching ten hits) does not grow. Curves are powers,
 * fitted to the logarithms. Questions of a given length are drawn from the terms of several.
 */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { Cluster } from "../src/cluster/cluster.js";
import { packageRoot } from "../src/config/package-root.js";
import { bulkWriterOptions, createBulkWriter } from "../src/cluster/bulk-writer.js";
import type { IndexModel } from "../src/index/index-meta.js";
import { search } from "../src/query/search.js";
import type { SearchMode } from "../src/query/search-mode.js";
import { maxMerge, sparseVector, termsOf } from "../src/sparse/sparse-vector.js";
import { benchFlags, SERVER_FLAGS } from "./bench-flags.js";
import {
  commandOf,
  describeMachine,
  markdownTable,
  writeReport,
  type BenchTable,
} from "./bench-report.js";
import { openBench } from "./bench-server.js";
import { engineTimes, type CountedSystem } from "./engine-time.js";
import { growthPlot, type Growth } from "./growth-plot.js";
import { fitPowerLaw } from "./power-law.js";
import { randomNumbers } from "./resampled-corpus.js";
import { openCorpus, type Question, type SearchCorpus } from "./search-corpus.js";
import { madeOnce } from "./made-indices.js";
import { makeIndex, type IndexRecipe } from "./search-indices.js";

const flags = benchFlags(import.meta.url, {
  sizes: { type: "string", default: "10000,30000,100000,300000,1000000" },
  lengths: { type: "string", default: "2,4,8,16,32,64" },
  "length-documents": { type: "string", default: "100000" },
  every: { type: "string", default: "2" },
  questions: { type: "string", default: "100" },
  rounds: { type: "string", default: "5" },
  heap: { type: "string", default: "2g" },
  keep: { type: "boolean", default: false },
  "only-make": { type: "boolean", default: false },
  ...SERVER_FLAGS,
  svg: { type: "string", default: path.join(packageRoot, "docs", "growth.svg") },
  json: { type: "string" },
});

/** The indices of one size, named as `npm run bench:search` names them. */
function recipesOf(size: number) {
  const csplade = `csplade-bench-${size}`;
  return {
    csplade: { name: csplade, vectors: true },
    bm25: { name: `${csplade}-bm25`, vectors: false },
  } as const;
}

/** Rounds that are not counted: a server that has just started has compiled nothing. */
const WARM_UP_ROUNDS = 20;

/** Questions whose terms are mixed for one of a given length. */
const MIXED_QUESTIONS = 8;

const machine = describeMachine();
const { config, folder, cluster, close } = await openBench(flags);
try {
  const { corpus, model } = await openCorpus(config, {
    folder,
    every: Number(flags.every),
    questions: Number(flags.questions),
  });
  const growths = await measure(cluster, corpus, model);
  if (!flags["only-make"]) await report(cluster, growths);
} finally {
  await close();
}

async function measure(target: Cluster, texts: SearchCorpus, made: IndexModel): Promise<Growth[]> {
  const bySize: Growth = { title: "documents in the index", series: [] };
  const byLength: Growth = { title: "terms in the question", series: [] };
  const lengthDocuments = Number(flags["length-documents"]);
  const sizes = numbers(flags.sizes);
  const steps = [...new Set([...sizes, lengthDocuments])].sort((a, b) => a - b);
  for (const size of steps) {
    const recipes = recipesOf(size);
    try {
      for (const recipe of Object.values(recipes)) await make(target, texts, made, recipe, size);
      if (flags["only-make"]) continue;
      const questions = await texts.weighed(target, recipes.csplade.name);
      if (size === steps[0]) {
        await engineTimes(target, systemsOf(target, size), questions, WARM_UP_ROUNDS);
      }
      if (sizes.includes(size)) {
        await add(target, bySize, size, systemsOf(target, size), questions);
      }
      if (size === lengthDocuments) {
        for (const length of numbers(flags.lengths)) {
          const asked = ofLength(questions, length);
          await add(target, byLength, length, modes(target, size), asked);
        }
      }
    } finally {
      for (const { name } of flags.keep ? [] : Object.values(recipes)) {
        await target.send({ method: "DELETE", path: `/${name}` });
      }
    }
  }
  return [bySize, byLength];
}

async function make(
  target: Cluster,
  texts: SearchCorpus,
  of: IndexModel,
  recipe: IndexRecipe,
  documents: number,
): Promise<void> {
  const how = { ...recipe, every: Number(flags.every), fingerprint: of.fingerprint };
  const wanted = { name: recipe.name, documents, how };
  const writer = createBulkWriter(target, bulkWriterOptions(config));
  try {
    await madeOnce(target, folder, wanted, flags.keep, () =>
      makeIndex(target, writer, of, recipe, texts.documents(documents), documents),
    );
  } finally {
    await writer.close();
  }
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

function systemsOf(target: Cluster, size: number): CountedSystem<Question>[] {
  return [bm25(target, recipesOf(size).bm25.name), ...modes(target, size)];
}

function bm25(target: Cluster, index: string): CountedSystem<Question> {
  return {
    name: "BM25 match",
    index,
    async find({ text }) {
      const body = { query: { match: { text } }, _source: false, track_total_hits: false };
      await target.demand({ method: "POST", path: `/${index}/_search`, body }, "Searching by BM25");
      return { hits: [] };
    },
  };
}

function modes(target: Cluster, size: number): CountedSystem<Question>[] {
  const index = recipesOf(size).csplade.name;
  const inMode = (mode: SearchMode): CountedSystem<Question> => ({
    name: mode,
    index,
    async find({ vector }) {
      const body = { track_total_hits: false };
      await search(target, { index, vector, mode, source: false, body });
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
    command: commandOf("bench:growth"),
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
