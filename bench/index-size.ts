/**
 * What the bytes of an index are, what makes it smaller, and what that costs in nDCG@10.
 *
 *   npm run bench:size                                5,000 resampled documents
 *   npm run bench:size -- --data DIR --data DIR       test collections in BEIR's form as well
 *   npm run bench:size -- --documents 0 --data DIR    only those
 *   npm run bench:size -- --opensearch URL            a running server instead of one of its own
 *   npm run bench:size -- --svg FILE --json FILE      the curve (docs/index-size.svg without it)
 *
 * Every index has one shard merged to one segment and is written by csplade's own code, hashes and
 * all. What a user would have otherwise is the same index without vectors, for BM25. Quality is that
 * of plain scoring, the words of each question weighed by the index it is put to, and p-values those
 * of a paired randomization test against whole vectors. Fetching is a search with the ten hits' own
 * fields, the indices by turns.
 */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";
import { packageRoot } from "../src/config/package-root.js";
import { openEncoder, type Encoder } from "../src/encoder/encoder.js";
import { messageOf } from "../src/errors/csplade-error.js";
import { runMetrics, valuesOf } from "../src/evaluate/metrics.js";
import { rank, type RankedDocument } from "../src/evaluate/run.js";
import { compareSystems } from "../src/evaluate/significance.js";
import { bulkWriterOptions, createBulkWriter } from "../src/cluster/bulk-writer.js";
import { indexStats } from "../src/index/index-stats.js";
import { indexModelOf } from "../src/documents/index-model.js";
import { createCorpusIdf } from "../src/query/corpus-idf.js";
import { search } from "../src/query/search.js";
import { prune } from "../src/sparse/prune.js";
import { benchFlags, SERVER_FLAGS } from "./bench-flags.js";
import {
  commandOf,
  describeMachine,
  markdownTable,
  writeReport,
  type BenchTable,
} from "./bench-report.js";
import { openBench } from "./bench-server.js";
import { measureLatencies, quantile } from "./interleaved.js";
import { addDocuments, createIndex, LEASE_MS, settle, type IndexRecipe } from "./search-indices.js";
import { meanTerms } from "./search-corpus.js";
import { bytesByPart, partNames } from "./segment-files.js";
import { collectionSizeCorpus, resampledSizeCorpus, type SizeCorpus } from "./size-corpus.js";
import { sizePlot, type SizeCurves } from "./size-plot.js";

const flags = benchFlags(import.meta.url, {
  documents: { type: "string", default: "5000" },
  data: { type: "string", multiple: true, default: [] },
  every: { type: "string", default: "2" },
  questions: { type: "string", default: "200" },
  rounds: { type: "string", default: "3" },
  heap: { type: "string", default: "1g" },
  ...SERVER_FLAGS,
  svg: { type: "string", default: path.join(packageRoot, "docs", "index-size.svg") },
  json: { type: "string" },
});

/** One way to make an index. */
interface Variant extends Omit<IndexRecipe, "name"> {
  readonly title: string;
  /** The curve it is a point of. */
  readonly curve?: string;
  /** Its hits are fetched with their fields, and timed. */
  readonly fetched?: true;
}

const DEFAULT = "default";

/** What a dense vector of an 8B model takes. */
const DENSE_BYTES = 4096 * 4;

const CUTS = [
  ["max_ratio", [0.01, 0.02, 0.05, 0.1, 0.2]],
  ["alpha_mass", [0.99, 0.97, 0.95, 0.9, 0.8, 0.7]],
  ["top_k", [128, 96, 64, 48, 32, 24, 16]],
] as const;

const variants: readonly Variant[] = [
  { title: "BM25", vectors: false, fetched: true },
  { title: DEFAULT, vectors: true, fetched: true },
  { title: "all digits of a float32", vectors: true, all_digits: true },
  ...[7, 6, 5, 4].map((quantize_bits) => ({
    title: `${quantize_bits} bits`,
    vectors: true,
    quantize_bits,
  })),
  { title: "codec best_compression", vectors: true, codec: "best_compression", fetched: true },
  { title: "codec zstd_no_dict", vectors: true, codec: "zstd_no_dict", fetched: true },
  { title: "vectors not in _source", vectors: true, store_vectors: false, fetched: true },
  {
    title: "not in _source, best_compression",
    vectors: true,
    store_vectors: false,
    codec: "best_compression",
    fetched: true,
  },
  ...CUTS.flatMap(([prune_type, ratios]) =>
    ratios.map((prune_ratio) => ({
      title: `not in _source, ${prune_type} ${prune_ratio}`,
      vectors: true,
      store_vectors: false,
      pruning: { prune_type, prune_ratio },
      curve: prune_type,
    })),
  ),
];

/** What was measured of one index. */
interface Sized {
  readonly variant: Variant;
  readonly bytes: number;
  readonly parts: ReadonlyMap<string, number>;
  readonly terms: number;
  /** Question id → nDCG@10; nothing where there are no vectors. */
  readonly ndcg: ReadonlyMap<string, number>;
  /** Milliseconds, median. */
  readonly fetch: number | undefined;
}

const machine = describeMachine();
const { config, folder, cluster, close } = await openBench(flags);
try {
  await main();
} finally {
  await close();
}

async function main(): Promise<void> {
  const encoder = await openEncoder(config);
  try {
    const tables: BenchTable[] = [];
    const curves: SizeCurves[] = [];
    const figures: object[] = [];
    for await (const corpus of corpora(encoder)) {
      const sized = await measure(cluster, encoder, corpus);
      tables.push(partsTable(corpus, sized), variantsTable(corpus, sized));
      curves.push(curvesOf(corpus, sized));
      figures.push({ corpus: corpus.name, indices: sized.map((one) => figuresOf(corpus, one)) });
    }
    await report(cluster, tables, curves, figures);
  } finally {
    await encoder.close();
  }
}

async function* corpora(opened: Encoder): AsyncGenerator<SizeCorpus> {
  const documents = Number(flags.documents);
  if (documents > 0) {
    yield await resampledSizeCorpus(opened, {
      folder,
      every: Number(flags.every),
      questions: Number(flags.questions),
      documents,
    });
  }
  for (const data of flags.data) yield await collectionSizeCorpus(opened, data, folder);
}

/** Makes all indices, measures them, removes them. */
async function measure(
  target: Cluster,
  opened: Encoder,
  corpus: SizeCorpus,
): Promise<readonly Sized[]> {
  const model = indexModelOf(opened.manifest);
  const made: { variant: Variant; index: string }[] = [];
  const writer = createBulkWriter(target, bulkWriterOptions(config));
  try {
    for (const [place, variant] of variants.entries()) {
      const index = `csplade-size-${place}`;
      const recipe = { ...variant, name: index };
      try {
        await createIndex(target, model, recipe);
      } catch (thrown) {
        // Not every server has every codec.
        if (variant.codec === undefined) throw thrown;
        console.error(`${corpus.name}, ${variant.title}: ${messageOf(thrown)}`);
        await target.send({ method: "DELETE", path: pathOf(index) });
        continue;
      }
      made.push({ variant, index });
      // Merging a single segment would do nothing, and leave what only a merge drops.
      const count = corpus.documents.length;
      const half = Math.ceil(count / 2);
      const halves = [corpus.documents.slice(0, half), corpus.documents.slice(half)] as const;
      await addDocuments(writer, model, recipe, halves[0], { first: 0, count });
      await indexStats(target, index);
      await addDocuments(writer, model, recipe, halves[1], { first: half, count });
      await indexStats(target, index);
      console.error(`${corpus.name}, ${variant.title}: indexed`);
    }
    // The copy of what is left out of the source is kept for recovery until leases are renewed.
    await sleep(LEASE_MS);
    for (const { index } of made) await settle(target, index, 0);
    const fetched = await fetchTimes(target, corpus, made);
    const sized: Sized[] = [];
    for (const { variant, index } of made) {
      const { bytes } = await indexStats(target, index);
      const ndcg = variant.vectors ? await quality(target, opened, corpus, index) : new Map();
      const parts = await bytesByPart(target, index);
      const fetch = fetched.get(variant.title);
      sized.push({ variant, bytes, parts, terms: termsOf(corpus, variant), ndcg, fetch });
      console.error(
        `${corpus.name}, ${variant.title}: ${perDocument(corpus, bytes)} bytes per document, ` +
          `nDCG@10 ${mean(ndcg).toFixed(4)}`,
      );
    }
    return sized;
  } finally {
    await writer.close();
    for (const { index } of made) await target.send({ method: "DELETE", path: pathOf(index) });
  }
}

function termsOf({ documents }: SizeCorpus, { vectors, pruning }: Variant): number {
  if (!vectors) return 0;
  return meanTerms(
    documents.map(({ vector }) => (pruning === undefined ? vector : prune(vector, pruning))),
  );
}

/** nDCG@10 of every question, each weighed by the index as `csplade eval` does it. */
async function quality(
  target: Cluster,
  opened: Encoder,
  { questions, qrels }: SizeCorpus,
  index: string,
): Promise<ReadonlyMap<string, number>> {
  const idf = createCorpusIdf({
    scale: opened.lexicon,
    idf: config["query.idf"],
    idf_timeout_ms: config["opensearch.request_timeout_ms"],
  });
  const fields = [{ name: "csplade" }];
  const run = new Map<string, readonly RankedDocument[]>();
  for (const [id, question] of questions) {
    const { vector } = await idf.weigh(question, { cluster: target, index, fields });
    const { hits } = await search(target, { index, vector, fields, size: 100, source: false });
    run.set(id, rank(hits.map((hit) => ({ id: hit.id, score: hit.score }))));
  }
  return valuesOf(runMetrics(run, qrels), "ndcg@10");
}

/** Milliseconds of a search that fetches its ten hits, by the variant's title. */
async function fetchTimes(
  target: Cluster,
  { questions }: SizeCorpus,
  made: readonly { readonly variant: Variant; readonly index: string }[],
): Promise<ReadonlyMap<string, number>> {
  const systems = made
    .filter(({ variant }) => variant.fetched === true)
    .map(({ variant, index }) => ({
      name: variant.title,
      // The same hits from every index, so that only fetching differs.
      async find(ids: readonly string[]) {
        const body = {
          size: 10,
          query: { ids: { values: ids } },
          _source: { excludes: ["csplade"] },
        };
        await target.demand({ method: "POST", path: pathOf(index, "_search"), body }, "Fetching");
        return { hits: [] };
      },
    }));
  const first = made.find(({ variant }) => variant.vectors);
  if (first === undefined) return new Map();
  const asked: string[][] = [];
  for (const { vector } of [...questions.values()].slice(0, 100)) {
    const { hits } = await search(target, { index: first.index, vector, size: 10, source: false });
    asked.push(hits.map(({ id }) => id));
  }
  const measured = await measureLatencies(systems, asked, Number(flags.rounds));
  return new Map(measured.map(({ name, times }) => [name, quantile(times, 0.5)]));
}

function mean(values: ReadonlyMap<string, number>): number {
  return values.size === 0 ? 0 : [...values.values()].reduce((a, b) => a + b, 0) / values.size;
}

function perDocument({ documents }: SizeCorpus, bytes: number): string {
  return (bytes / documents.length).toFixed(0);
}

function named(sized: readonly Sized[], title: string): Sized {
  const found = sized.find(({ variant }) => variant.title === title);
  if (found === undefined) throw new Error(`There is no ${title} among what was measured.`);
  return found;
}

function partsTable(corpus: SizeCorpus, sized: readonly Sized[]): BenchTable {
  const shown = ["BM25", DEFAULT, "all digits of a float32", "vectors not in _source"];
  return {
    title: `What the bytes of a document are, ${corpus.name}`,
    columns: ["index", ...partNames.map((name) => `${name}:`), "all:"],
    rows: shown.map((title) => {
      const { parts, bytes } = named(sized, title);
      const cells = partNames.map((name) => perDocument(corpus, parts.get(name) ?? 0));
      return [title, ...cells, perDocument(corpus, bytes)];
    }),
    notes: ["The id is a stored field as well, and `_source` is nearly all of them."],
  };
}

function variantsTable(corpus: SizeCorpus, sized: readonly Sized[]): BenchTable {
  const bm25 = named(sized, "BM25");
  const whole = named(sized, DEFAULT);
  const count = corpus.documents.length;
  return {
    title: `What makes an index smaller, ${corpus.name}: ${count.toLocaleString("en")} documents`,
    columns: [
      "index",
      "terms:",
      "bytes per document:",
      "x BM25:",
      "of 4096 float32:",
      "nDCG@10:",
      "change:",
      "p:",
      "fetching ten hits, ms:",
    ],
    rows: sized.map(({ variant, bytes, terms, ndcg, fetch }) => {
      const { difference, p_value } = compareSystems(ndcg, whole.ndcg);
      const judged = variant.vectors && variant !== whole.variant;
      return [
        variant.title,
        variant.vectors ? terms.toFixed(0) : "",
        perDocument(corpus, bytes),
        (bytes / bm25.bytes).toFixed(2),
        `1/${((DENSE_BYTES * count) / bytes).toFixed(1)}`,
        variant.vectors ? mean(ndcg).toFixed(4) : "",
        judged ? `${difference < 0 ? "−" : "+"}${Math.abs(difference).toFixed(4)}` : "",
        judged ? p_value.toFixed(3) : "",
        fetch?.toFixed(2) ?? "",
      ];
    }),
  };
}

function curvesOf(corpus: SizeCorpus, sized: readonly Sized[]): SizeCurves {
  const bm25 = named(sized, "BM25");
  const lean = named(sized, "vectors not in _source");
  const pointOf = ({ bytes, ndcg, variant }: Sized) => ({
    name: variant.pruning === undefined ? "whole" : String(variant.pruning.prune_ratio),
    x: bytes / bm25.bytes,
    y: mean(ndcg) / mean(lean.ndcg),
  });
  return {
    title: corpus.name,
    curves: CUTS.map(([name]) => ({
      name,
      points: [lean, ...sized.filter(({ variant }) => variant.curve === name)].map(pointOf),
    })),
  };
}

function figuresOf(corpus: SizeCorpus, { variant, bytes, parts, terms, ndcg, fetch }: Sized) {
  return {
    ...variant,
    bytes,
    bytes_per_document: bytes / corpus.documents.length,
    parts: Object.fromEntries(parts),
    terms,
    "ndcg@10": variant.vectors ? mean(ndcg) : undefined,
    fetch_ms_p50: fetch,
  };
}

async function report(
  target: Cluster,
  tables: readonly BenchTable[],
  curves: readonly SizeCurves[],
  figures: readonly object[],
): Promise<void> {
  const { version } = await target.capabilities();
  for (const table of tables) console.log(`\n### ${table.title}\n\n${markdownTable(table)}`);
  await writeFile(flags.svg, sizePlot(curves));
  console.error(`curve written to ${flags.svg}`);
  if (flags.json === undefined) return;
  await writeReport(flags.json, {
    format: 1,
    bench: "index-size",
    title: "What makes an index small",
    command: commandOf("bench:size"),
    machine: { ...machine, versions: { OpenSearch: version } },
    tables: [...tables],
    figures,
  });
}
