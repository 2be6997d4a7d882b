/**
 * Searching: csplade's modes beside BM25, OpenSearch's own sparse search and libraries without a
 * server, on one corpus, in one run.
 *
 *   npm run bench:search                              200,000 documents
 *   npm run bench:search -- --documents 20000         smaller
 *   npm run bench:search -- --documents 1000000       an hour and 8 GB of disk
 *   npm run bench:search -- --skip seismic-index,off-server
 *   npm run bench:search -- --python DIR/bin/python   a Python that has the peers
 *   npm run bench:search -- --opensearch URL          a running server instead of one of its own
 *   npm run bench:search -- --variants                two phases cut in other ways as well
 *   npm run bench:search -- --only plain,two_phase    systems whose names begin so, and BM25
 *   npm run bench:search -- --keep                    keep the indices, and take those that were kept
 *   npm run bench:search -- --keep --only-make        make what is missing, measure nothing
 *   npm run bench:search -- --json FILE
 *
 * Documents are resampled from encoded articles of WordNet, questions are worn-down articles
 * (search-corpus.ts), so nDCG@10 has true judgements; "agreement" takes exhaustive scoring's own
 * ten best as the judgement instead (10 for the first to 1 for the tenth), the stricter figure.
 * Systems answer each question in turn. Times are the caller's; those of Python libraries are the
 * library's own call. "x BM25" divides by the `match` query's median of the same run. "engine" is
 * the cluster's own time in the query phase: no HTTP, no JSON, no fetching of ten hits.
 */
import type { Cluster } from "../src/cluster/cluster.js";
import { meanMetrics, runMetrics, type Qrels } from "../src/evaluate/metrics.js";
import { bulkWriterOptions, createBulkWriter } from "../src/cluster/bulk-writer.js";
import { readIndexModel } from "../src/index/csplade-index.js";
import { ANN_FIELD, type IndexModel } from "../src/index/index-meta.js";
import type { SparseVector } from "../src/sparse/sparse-vector.js";
import { openBench } from "./bench-server.js";
import { engineTimes } from "./engine-time.js";
import { benchFlags, SERVER_FLAGS } from "./bench-flags.js";
import {
  commandOf,
  describeMachine,
  markdownTable,
  writeReport,
  type BenchTable,
} from "./bench-report.js";
import { measureLatencies, measureThroughput, quantile, type Latencies } from "./interleaved.js";
import { startOffServerPeers, type OffServerPeers } from "./off-server-peers.js";
import { madeOnce } from "./made-indices.js";
import { meanTerms, openCorpus, type Question, type SearchCorpus } from "./search-corpus.js";
import {
  makeApproximateIndex,
  makeIndex,
  type IndexRecipe,
  type MadeIndex,
} from "./search-indices.js";
import {
  cspladeSystems,
  removePeers,
  serverPeers,
  type SearchIndices,
  type SearchSystem,
} from "./search-systems.js";

const flags = benchFlags(import.meta.url, {
  documents: { type: "string", default: "200000" },
  every: { type: "string", default: "2" },
  questions: { type: "string", default: "200" },
  rounds: { type: "string", default: "3" },
  clients: { type: "string", default: "1,2,4,8" },
  turns: { type: "string", default: "3" },
  "turn-seconds": { type: "string", default: "2" },
  "engine-rounds": { type: "string", default: "3" },
  variants: { type: "boolean", default: false },
  only: { type: "string", default: "" },
  keep: { type: "boolean", default: false },
  "only-make": { type: "boolean", default: false },
  skip: { type: "string", default: "" },
  heap: { type: "string", default: "2g" },
  ...SERVER_FLAGS,
  python: { type: "string" },
  json: { type: "string" },
});
const documents = Number(flags.documents);
const skipped = new Set(flags.skip.split(","));

/** Static pruning that is tried beside whole documents. */
const PRUNING = { prune_type: "max_ratio", prune_ratio: 0.1 } as const;

/** Share of plain scoring's nDCG@10 that a mode must keep to count as the same search. */
const KEPT_QUALITY = 0.99;

/** What a dense vector of an 8B model takes. */
const DENSE_BYTES = 4096 * 4;

const NAMES = {
  csplade: `csplade-bench-${documents}`,
  lean: `csplade-bench-${documents}-lean`,
  bm25: `csplade-bench-${documents}-bm25`,
  pruned: `csplade-bench-${documents}-pruned`,
  ann: `csplade-bench-${documents}-ann`,
} as const;

/** One line of the first table. */
interface Row {
  readonly system: SearchSystem;
  readonly ndcg: number;
  readonly agreement: number;
  readonly times: readonly number[];
  /** Milliseconds in the query phase. */
  readonly engine: number | undefined;
  readonly rates: ReadonlyMap<number, number>;
}

/** What was asked of what. */
interface Measured {
  readonly corpus: SearchCorpus;
  readonly questions: readonly Question[];
  readonly model: IndexModel;
}

const machine = describeMachine();
const { config, folder, cluster, close } = await openBench(flags);
try {
  await main(cluster);
} finally {
  for (const name of flags.keep ? [] : Object.values(NAMES)) {
    await cluster.send({ method: "DELETE", path: `/${name}` });
  }
  await close();
}

async function main(target: Cluster): Promise<void> {
  const { corpus, model } = await openCorpus(config, {
    folder,
    every: Number(flags.every),
    questions: Number(flags.questions),
  });
  const { indices, made } = await makeIndices(target, corpus, model);
  const peers = await offServer(corpus);
  if (flags["only-make"]) {
    await peers.close();
    console.error("everything is made");
    return;
  }
  const questions = await corpus.weighed(target, indices.csplade);
  try {
    const systems = chosen([
      ...cspladeSystems(target, indices, flags.variants),
      ...(await serverPeers(target, indices)),
      ...peers.systems,
    ]);
    const latencies = await measureLatencies(systems, questions, Number(flags.rounds), (round) =>
      console.error(`round ${round} of ${flags.rounds} (the first is not timed)`),
    );
    const rates = await measureThroughput(
      systems.filter(({ group }) => group !== "own process"),
      questions,
      {
        clients: flags.clients.split(",").map(Number),
        turns: Number(flags.turns),
        turnMs: 1000 * Number(flags["turn-seconds"]),
      },
    );
    const counted = systems.flatMap((system) =>
      system.index === undefined ? [] : [{ ...system, index: system.index }],
    );
    const engine = await engineTimes(target, counted, questions, Number(flags["engine-rounds"]));
    const qrels = corpus.relevant(documents);
    const rows = systems.map((system, i) => ({
      system,
      ndcg: ndcg(latencies[i], qrels),
      agreement: ndcg(latencies[i], judgedBy(latencies[0])),
      times: latencies[i]?.times ?? [],
      engine: engine[counted.findIndex(({ name }) => name === system.name)],
      rates: rates.find(({ name }) => name === system.name)?.by_clients ?? new Map(),
    }));
    await report(target, { corpus, questions, model }, rows, made, peers);
  } finally {
    await peers.close();
    await removePeers(target);
  }
}

/** Those that `--only` names; the ratios need plain scoring and `match`. */
function chosen(systems: readonly SearchSystem[]): SearchSystem[] {
  const wanted = flags.only.split(",");
  const needed = ["plain", "BM25 match"];
  return systems.filter(
    ({ name }) => needed.includes(name) || wanted.some((beginning) => name.startsWith(beginning)),
  );
}

async function makeIndices(
  target: Cluster,
  corpus: SearchCorpus,
  model: IndexModel,
): Promise<{ indices: SearchIndices; made: Map<string, MadeIndex> }> {
  const writer = createBulkWriter(target, bulkWriterOptions(config));
  const made = new Map<string, MadeIndex>();
  const once = async (title: string, name: string, how: object, work: () => Promise<MadeIndex>) => {
    const wanted = { name, documents, how: { ...how, ...madeOf(model) } };
    const one = await madeOnce(target, folder, wanted, flags.keep, work);
    made.set(title, one);
    console.error(`${title}: ${(one.bytes / documents).toFixed(0)} bytes per document`);
  };
  const make = (title: string, recipe: IndexRecipe) =>
    once(title, recipe.name, recipe, () =>
      makeIndex(target, writer, model, recipe, corpus.documents(documents), documents),
    );
  try {
    await make("BM25", { name: NAMES.bm25, vectors: false });
    await make("csplade", { name: NAMES.csplade, vectors: true });
    if (!skipped.has("lean-index")) {
      await make("csplade, vectors not in _source", {
        name: NAMES.lean,
        vectors: true,
        store_vectors: false,
      });
    }
    const pruned = skipped.has("pruned-index")
      ? undefined
      : { name: NAMES.pruned, pruning: PRUNING };
    if (pruned !== undefined) {
      await make(`csplade, documents pruned (${PRUNING.prune_type} ${PRUNING.prune_ratio})`, {
        name: NAMES.pruned,
        vectors: true,
        store_vectors: false,
        pruning: PRUNING,
      });
    }
    let ann: SearchIndices["ann"];
    if (!skipped.has("seismic-index")) {
      await once("csplade ann (SEISMIC)", NAMES.ann, { from: NAMES.csplade }, () =>
        makeApproximateIndex(target, writer, NAMES.csplade, NAMES.ann, documents),
      );
      const { ann: ids } = await readIndexModel(target, NAMES.ann);
      if (ids !== undefined) ann = { name: NAMES.ann, field: { name: ANN_FIELD, ids } };
    }
    return {
      made,
      indices: {
        csplade: NAMES.csplade,
        bm25: NAMES.bm25,
        ...(pruned === undefined ? {} : { pruned }),
        ...(ann === undefined ? {} : { ann }),
      },
    };
  } finally {
    await writer.close();
  }
}

function madeOf({ fingerprint }: IndexModel): object {
  return { every: Number(flags.every), fingerprint };
}

async function offServer(corpus: SearchCorpus): Promise<OffServerPeers> {
  if (skipped.has("off-server")) {
    return { systems: [], made: new Map(), missing: [], close: () => Promise.resolve() };
  }
  const peers = await startOffServerPeers({
    folder,
    python: flags.python,
    documents: corpus.documents(documents),
    name: `peers-${documents}-${flags.every}`,
    reuse: flags.keep,
  });
  for (const sentence of peers.missing) console.error(sentence);
  return peers;
}

function ndcg(measured: Latencies | undefined, qrels: Qrels): number {
  return meanMetrics(runMetrics(measured?.hits ?? new Map(), qrels))["ndcg@10"];
}

/** A system's own ten best, as if they were judgements. */
function judgedBy(measured: Latencies | undefined): Qrels {
  return new Map(
    Array.from(measured?.hits ?? [], ([question, hits]) => [
      question,
      new Map(hits.map(({ id }, rank) => [id, 10 - rank])),
    ]),
  );
}

async function report(
  target: Cluster,
  { corpus, questions, model }: Measured,
  rows: readonly Row[],
  made: ReadonlyMap<string, MadeIndex>,
  peers: OffServerPeers,
): Promise<void> {
  const tables = [latencyTable(rows, peers), throughputTable(rows), sizeTable(made, peers)];
  const { version } = await target.capabilities();
  const about =
    `${documents} documents resampled from ${corpus.articles.length} encoded articles of WordNet, ` +
    `${meanTerms(sample(corpus)).toFixed(0)} terms each; ${questions.length} questions of ` +
    `${meanTerms(questions.map(({ vector }) => vector)).toFixed(0)} terms; model ${model.name} ` +
    `(${model.fingerprint}); OpenSearch ${version}, ${flags.heap} heap, one shard, one segment.`;
  console.log(about);
  for (const table of tables) console.log(`\n### ${table.title}\n\n${markdownTable(table)}`);
  if (flags.json === undefined) return;
  await writeReport(flags.json, {
    format: 1,
    bench: "search",
    title: `Searching ${documents} documents`,
    command: commandOf("bench:search"),
    machine: { ...machine, versions: { OpenSearch: version } },
    tables: tables.map((table, i) =>
      i === 0 ? { ...table, notes: [about, ...(table.notes ?? [])] } : table,
    ),
    figures: {
      documents,
      systems: rows.map(({ system, times, rates, ...figures }) => ({
        name: system.name,
        group: system.group,
        ...figures,
        p50: quantile(times, 0.5),
        p95: quantile(times, 0.95),
        p99: quantile(times, 0.99),
        searches_per_second: Object.fromEntries(rates),
      })),
      indices: Object.fromEntries([...made, ...peers.made]),
    },
  });
}

function* sample(corpus: SearchCorpus): Generator<SparseVector> {
  for (const { vector } of corpus.documents(1000)) yield vector;
}

function latencyTable(rows: readonly Row[], peers: OffServerPeers): BenchTable {
  const exhaustive = rows[0]?.ndcg ?? 0;
  const match = quantile(rows.find(({ system }) => system.name === "BM25 match")?.times ?? [], 0.5);
  const plain = quantile(rows[0]?.times ?? [], 0.5);
  return {
    title: "Quality and latency, one search at a time",
    columns: [
      "system",
      "where",
      "nDCG@10:",
      "of plain:",
      "agreement:",
      "p50 ms:",
      "p95 ms:",
      "p99 ms:",
      "x BM25:",
      "times faster than plain:",
      "engine ms:",
      "times faster than plain:",
    ],
    rows: rows.map(({ system, ndcg: quality, agreement, times, engine }) => {
      const p50 = quantile(times, 0.5);
      const learned = system.name.startsWith("BM25") || system.name === "bm25s" ? "" : undefined;
      return [
        system.name,
        system.group,
        quality.toFixed(4),
        learned ?? `${((100 * quality) / exhaustive).toFixed(1)} %`,
        learned ?? agreement.toFixed(4),
        p50.toFixed(2),
        quantile(times, 0.95).toFixed(2),
        quantile(times, 0.99).toFixed(2),
        (p50 / match).toFixed(2),
        (plain / p50).toFixed(2),
        engine?.toFixed(2) ?? "",
        engine === undefined ? "" : ((rows[0]?.engine ?? 0) / engine).toFixed(2),
      ];
    }),
    notes: [
      fastestNote(rows, match),
      "Times of libraries in a process of their own are one call of the library, without HTTP, JSON or fetching documents.",
      ...peers.missing,
    ],
  };
}

/** The fastest of csplade's modes that finds what plain scoring finds, beside `match`. */
function fastestNote(rows: readonly Row[], match: number): string {
  const [plain] = rows;
  const good = rows.filter(
    ({ system, ndcg: quality }) =>
      system.group === "csplade" && quality >= KEPT_QUALITY * (plain?.ndcg ?? 0),
  );
  const [fastest] = good
    .map(({ system, times, engine }) => ({ name: system.name, p50: quantile(times, 0.5), engine }))
    .sort((a, b) => a.p50 - b.p50);
  if (fastest === undefined) return "";
  return (
    `The fastest mode with at least ${100 * KEPT_QUALITY} % of plain's nDCG@10 is "${fastest.name}": ` +
    `${(fastest.p50 / match).toFixed(2)} times BM25 \`match\` for the caller.`
  );
}

function throughputTable(rows: readonly Row[]): BenchTable {
  const served = rows.filter(({ rates }) => rates.size > 0);
  const clients = [...(served[0]?.rates.keys() ?? [])];
  return {
    title: "Searches a second",
    columns: [
      "system",
      ...clients.map((count) => `${count} ${count === 1 ? "client" : "clients"}:`),
    ],
    rows: served.map(({ system, rates }) => [
      system.name,
      ...clients.map((count) => (rates.get(count) ?? 0).toFixed(0)),
    ]),
    notes: ["Clients and server share the cores."],
  };
}

function sizeTable(made: ReadonlyMap<string, MadeIndex>, peers: OffServerPeers): BenchTable {
  const bm25 = made.get("BM25")?.bytes ?? 0;
  return {
    title: "Index size",
    columns: [
      "index",
      "bytes per document:",
      "x BM25 index:",
      "of 4096 float32:",
      "seconds to make:",
    ],
    rows: [...made, ...peers.made].map(([title, { bytes, seconds }]) => [
      title,
      (bytes / documents).toFixed(0),
      (bytes / bm25).toFixed(2),
      `1/${((DENSE_BYTES * documents) / bytes).toFixed(1)}`,
      seconds.toFixed(0),
    ]),
    notes: [
      "Indices of OpenSearch hold the text as well, for BM25 and for showing it; those of libraries do not.",
    ],
  };
}
