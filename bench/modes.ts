/**
 * Search modes against plain scoring and BM25 on one large index.
 *
 *   npm run bench:modes                          200,000 documents
 *   npm run bench:modes -- --documents 20000     smaller
 *   npm run bench:modes -- --keep                keep the index; --reuse then measures it again
 *
 * "Not counting" is track_total_hits: false; otherwise the cluster counts hits up to 10,000.
 *
 * Two times are given: a search as its caller sees it, and the cluster's own time in the query
 * phase (from the index's statistics), which leaves out HTTP, JSON and fetching ten hits.
 *
 * It needs a running OpenSearch (csplade up) and a checkpoint. Documents are resampled from
 * encoded WordNet glosses (resampled-corpus.ts), questions are glosses that are not among them.
 * Plain scoring's ten best hits are taken as the judgement (10 for the first to 1 for the
 * tenth), so nDCG@10 says how much of plain scoring's ranking a mode gives.
 */
import os from "node:os";
import { parseArgs } from "node:util";
import { z } from "zod";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import { loadConfig } from "../src/config/load-config.js";
import { openEncoder } from "../src/encoder/encoder.js";
import { bm25 } from "../src/evaluate/bm25.js";
import { mergeSegments } from "../src/evaluate/index-footprint.js";
import { meanMetrics, runMetrics } from "../src/evaluate/metrics.js";
import { bulkWriterOptions, createBulkWriter } from "../src/index/bulk-writer.js";
import { refreshIndex } from "../src/index/csplade-index.js";
import type { SearchRequest } from "../src/query/search-request.js";
import { search } from "../src/query/search.js";
import { wordNetDocuments, wordNetFolder } from "../src/sources/wordnet.js";
import { toFeatures } from "../src/sparse/features.js";
import { prune } from "../src/sparse/prune.js";
import { quantize } from "../src/sparse/quantize.js";
import { EMPTY_VECTOR, type SparseVector } from "../src/sparse/sparse-vector.js";
import { randomNumbers, resampled, type BaseText } from "./resampled-corpus.js";

const { values: flags } = parseArgs({
  options: {
    documents: { type: "string", default: "200000" },
    base: { type: "string", default: "3000" },
    mixed: { type: "string", default: "5" },
    queries: { type: "string", default: "100" },
    rounds: { type: "string", default: "3" },
    model: { type: "string" },
    index: { type: "string", default: "csplade-bench-modes" },
    keep: { type: "boolean", default: false },
    reuse: { type: "boolean", default: false },
  },
});
const documents = Number(flags.documents);
const queryCount = Number(flags.queries);

const statsSchema = z.object({
  _all: z.object({
    primaries: z.object({ search: z.object({ query_time_in_millis: z.number() }) }),
  }),
});

/** Most words of a question. */
const QUESTION_WORDS = 16;

interface Question {
  readonly text: string;
  readonly vector: SparseVector;
}

/** What was measured of one system. */
interface Measured {
  readonly name: string;
  readonly ndcg: number;
  /** Milliseconds of a search as its caller sees it. */
  readonly times: readonly number[];
  /** Mean milliseconds of a search in the query phase. */
  readonly queryPhase: number;
}

interface System {
  readonly name: string;
  readonly find: (question: Question) => Promise<{ id: string; score: number }[]>;
}

const config = loadConfig({
  flags: flags.model === undefined ? {} : { "model.path": flags.model },
}).values;
const cluster = connectCluster(config);
try {
  const { bases, questions, model } = await encodeTexts();
  if (!flags.reuse) await fillIndex(cluster, bases);
  const measured = await compare(cluster, questions);
  const { version } = await cluster.capabilities();
  const terms = questions.reduce((sum, { vector }) => sum + vector.ids.length, 0);
  console.log(
    `\n${documents} documents, each resampled from ${flags.mixed} of ${bases.length} WordNet glosses, model ${model}, ` +
      `${(terms / questions.length).toFixed(0)} terms per question, OpenSearch ${version}, ` +
      `${os.cpus()[0]?.model ?? "unknown CPU"}\n`,
  );
  console.log(
    "| mode | options | nDCG@10 | p50 ms | p95 ms | times faster | query phase ms | times faster |",
  );
  console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
  const [plain] = measured;
  for (const { name, ndcg, times, queryPhase } of measured) {
    const p50 = quantile(times, 0.5);
    const cells = [
      name,
      ndcg.toFixed(4),
      p50.toFixed(1),
      quantile(times, 0.95).toFixed(1),
      (quantile(plain?.times ?? [], 0.5) / p50).toFixed(2),
      queryPhase.toFixed(2),
      ((plain?.queryPhase ?? 0) / queryPhase).toFixed(2),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
} finally {
  if (!flags.keep) await cluster.send({ method: "DELETE", path: `/${flags.index}` });
  await cluster.close();
}

/** The small corpus and the questions, encoded. */
async function encodeTexts(): Promise<{
  bases: BaseText[];
  questions: Question[];
  model: string;
}> {
  const glosses: string[] = [];
  for await (const { title, text } of wordNetDocuments(wordNetFolder())) {
    glosses.push(`${title} ${text}`);
  }
  const random = randomNumbers(1);
  const draw = (count: number) =>
    Array.from(
      { length: count },
      () => glosses.splice(Math.floor(random() * glosses.length), 1)[0] ?? "",
    );
  const baseTexts = draw(Number(flags.base));
  const questionTexts = draw(queryCount).map((text) =>
    text.split(/\s+/).slice(0, QUESTION_WORDS).join(" "),
  );
  const encoder = await openEncoder(config);
  try {
    const started = performance.now();
    const encoded = flags.reuse ? [] : await encoder.encodeDocuments(baseTexts);
    const vectors = await encoder.encodeQueries(questionTexts);
    console.error(
      `encoded ${baseTexts.length} glosses in ${seconds(started)} s with ${encoder.manifest.name}`,
    );
    return {
      model: `${encoder.manifest.name} (${encoder.manifest.fingerprint})`,
      bases: baseTexts.map((text, i) => ({
        text,
        vector: encoded[i]?.passages[0]?.vector ?? EMPTY_VECTOR,
      })),
      questions: questionTexts.map((text, i) => ({
        text,
        vector: vectors[i]?.passages[0]?.vector ?? EMPTY_VECTOR,
      })),
    };
  } finally {
    await encoder.close();
  }
}

async function fillIndex(target: Cluster, bases: readonly BaseText[]): Promise<void> {
  await target.send({ method: "DELETE", path: `/${flags.index}` });
  await target.demand(
    {
      method: "PUT",
      path: `/${flags.index}`,
      body: {
        settings: { index: { number_of_shards: 1, number_of_replicas: 0, refresh_interval: -1 } },
        mappings: {
          _source: { excludes: ["csplade"] },
          properties: {
            csplade: { type: "rank_features" },
            text: { type: "text", analyzer: "english" },
          },
        },
      },
    },
    "Creating the index",
  );
  const writer = createBulkWriter(target, bulkWriterOptions(config));
  const started = performance.now();
  let page: { id: string; document: object }[] = [];
  let written = 0;
  let terms = 0;
  const flush = async () => {
    await writer.write(
      page.map((one) => ({ index: flags.index, action: "index" as const, ...one })),
    );
    written += page.length;
    page = [];
    console.error(`${written} of ${documents} documents written (${seconds(started)} s)`);
  };
  for (const { text, vector } of resampled(bases, documents, Number(flags.mixed), 7)) {
    terms += vector.ids.length;
    const document = { text, csplade: toFeatures(quantize(vector, 9)) };
    page.push({ id: String(written + page.length), document });
    if (page.length >= 10_000) await flush();
  }
  if (page.length > 0) await flush();
  await writer.close();
  await refreshIndex(target, flags.index);
  await mergeSegments(target, flags.index);
  const baseTerms = bases.reduce((sum, { vector }) => sum + vector.ids.length, 0) / bases.length;
  console.error(
    `merged (${seconds(started)} s); ${(terms / documents).toFixed(0)} terms per document, ` +
      `${baseTerms.toFixed(0)} in the glosses`,
  );
}

function systemsOf(target: Cluster): System[] {
  const inMode = (name: string, changes: Partial<SearchRequest>): System => ({
    name,
    find: async ({ text, vector }) => {
      const { hits } = await search(target, {
        index: flags.index,
        vector,
        text,
        text_fields: ["text"],
        source: false,
        ...changes,
      });
      return hits.map(({ id, score }) => ({ id, score }));
    },
  });
  const words = bm25(target, { index: flags.index, text_fields: ["text"] });
  const twoPhase = [
    [0.4, 5],
    [0.4, 10],
    [0.4, 20],
    [0.3, 10],
  ].map(([prune_ratio = 0, expansion_rate = 0]) =>
    inMode(
      `two_phase | prune_ratio ${prune_ratio}, expansion_rate ${expansion_rate}, not counting`,
      {
        mode: "two_phase",
        two_phase: { prune_ratio, expansion_rate },
        around: { track_total_hits: false },
      },
    ),
  );
  const pruned = [8, 16].map((prune_ratio) => {
    const pruning = { prune_type: "top_k", prune_ratio } as const;
    const { find } = inMode("", { around: { track_total_hits: false } });
    return {
      name: `plain | ${prune_ratio} heaviest terms, not counting`,
      find: ({ text, vector }: Question) => find({ text, vector: prune(vector, pruning) }),
    };
  });
  const guided = [100, 1000].map((window_size) =>
    inMode(`guided | window_size ${window_size}`, { mode: "guided", guided: { window_size } }),
  );
  return [
    inMode("plain |", {}),
    inMode("plain | not counting", { around: { track_total_hits: false } }),
    { name: "BM25 |", find: ({ text }) => words(text, 10) },
    ...pruned,
    ...twoPhase,
    ...guided,
    inMode("hybrid | rrf", { mode: "hybrid" }),
  ];
}

/** One search at a time; all systems answer a question right after each other. */
async function compare(target: Cluster, questions: readonly Question[]): Promise<Measured[]> {
  const systems = systemsOf(target);
  const times: number[][] = systems.map(() => questions.map(() => Infinity));
  const runs = systems.map(() => new Map<string, { id: string; score: number }[]>());
  const rounds = Number(flags.rounds);
  for (let round = 0; round <= rounds; round++) {
    for (const [q, question] of questions.entries()) {
      for (const [i, system] of systems.entries()) {
        const start = performance.now();
        const hits = await system.find(question);
        const best = times[i] as number[];
        // The fastest of the rounds: what else the machine did is not the mode's doing.
        if (round > 0) best[q] = Math.min(best[q] as number, performance.now() - start);
        runs[i]?.set(String(q), hits);
      }
    }
    console.error(`round ${round} of ${rounds} (the first is not timed)`);
  }
  const qrels = new Map(
    Array.from(runs[0] ?? [], ([q, hits]) => [
      q,
      new Map(hits.map(({ id }, rank) => [id, 10 - rank])),
    ]),
  );
  const phases = await queryPhases(target, systems, questions);
  return systems.map(({ name }, i) => ({
    name,
    ndcg: meanMetrics(runMetrics(runs[i] ?? new Map(), qrels))["ndcg@10"],
    times: times[i] ?? [],
    queryPhase: phases[i] ?? 0,
  }));
}

/** The index's statistics count milliseconds over all searches, so systems take turns in blocks. */
async function queryPhases(
  target: Cluster,
  systems: readonly System[],
  questions: readonly Question[],
): Promise<number[]> {
  const means = systems.map(() => Infinity);
  for (let round = 0; round < 3; round++) {
    for (const [i, system] of systems.entries()) {
      const before = await queryMillis(target);
      for (const question of questions) await system.find(question);
      const mean = ((await queryMillis(target)) - before) / questions.length;
      means[i] = Math.min(means[i] ?? Infinity, mean);
    }
  }
  return means;
}

async function queryMillis(target: Cluster): Promise<number> {
  const stats = await target.demand(
    { method: "GET", path: `/${flags.index}/_stats/search` },
    "Reading the index's statistics",
  );
  return statsSchema.parse(stats)._all.primaries.search.query_time_in_millis;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(0);
}
