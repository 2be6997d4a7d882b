/**
 * What it costs to weigh a question's words by the index it is put to, beside the search itself.
 *
 *   npm run bench:idf                            1,000,000 documents on one shard
 *   npm run bench:idf -- --documents 100000      smaller
 *   npm run bench:idf -- --json FILE             the figures besides the table
 *
 * Documents are random: a word stands in a given share of them. "First" counts the words and the
 * documents, nothing being known of the index yet; "known" has all counts. The search has the
 * question's words and 20 more terms, and is what each row's ratio is to.
 */
import { writeFile } from "node:fs/promises";
import type { Cluster } from "../src/cluster/cluster.js";
import type { Config } from "../src/config/settings.js";
import { bulkWriterOptions, createBulkWriter } from "../src/cluster/bulk-writer.js";
import { createCorpusIdf, type CorpusIdf } from "../src/query/corpus-idf.js";
import { search } from "../src/query/search.js";
import type { LexicalWord } from "../src/sparse/literals.js";
import { sparseVector, type SparseVector } from "../src/sparse/sparse-vector.js";
import { benchFlags } from "./bench-flags.js";
import { markdownTable } from "./bench-report.js";
import { openBench } from "./bench-server.js";
import { measureLatencies, quantile, type BenchSystem } from "./interleaved.js";
import { randomNumbers, type ResampledText } from "./resampled-corpus.js";
import { addDocuments, createIndex, settle } from "./search-indices.js";

const flags = benchFlags(import.meta.url, {
  documents: { type: "string", default: "1000000" },
  rounds: { type: "string", default: "30" },
  heap: { type: "string", default: "1g" },
  opensearch: { type: "string" },
  folder: { type: "string" },
  json: { type: "string" },
});

const INDEX = "csplade-idf";
const FIELDS = [{ name: "csplade" }];
const SCALE = { unit: 0.7, idf_range: [0.02, 9] } as const;

/** Share of the documents that have each of the words, and of each further term. */
const WORD_SHARES = [0.3, 0.1, 0.03, 0.01, 0.001, 0.0001];
const TERM_SHARE = 0.02;
const TERMS = 20;

/** Ids of the words; those of the further terms follow. */
const FIRST_ID = 100;

/** Questions, as places in {@link WORD_SHARES}. */
const QUESTIONS: readonly (readonly [name: string, words: readonly number[]])[] = [
  ["two rare words", [4, 5]],
  ["six words, one in 30 % of all", [0, 1, 2, 3, 4, 5]],
];

/** A limit that the commonest words go beyond. */
const LOW_LIMIT = 100_000;

const count = Number(flags.documents);

function* documents(): Generator<ResampledText> {
  const random = randomNumbers(5);
  const shares = [...WORD_SHARES, ...Array.from({ length: TERMS }, () => TERM_SHARE)];
  for (let i = 0; i < count; i++) {
    const terms: [number, number][] = [[1, 1]];
    shares.forEach((share, k) => {
      if (random() < share) terms.push([FIRST_ID + k, 1 + random()]);
    });
    yield { text: "", vector: sparseVector(terms), parts: [] };
  }
}

async function fill(cluster: Cluster, config: Config): Promise<void> {
  const model = {
    fingerprint: "0123456789abcdef",
    name: "none",
    variant: "bi" as const,
    vocabulary_size: 1_000,
  };
  const recipe = { name: INDEX, vectors: true, store_vectors: false };
  const writer = createBulkWriter(cluster, bulkWriterOptions(config));
  await createIndex(cluster, model, recipe);
  await addDocuments(writer, model, recipe, documents(), { first: 0, count });
  await writer.close();
  await settle(cluster, INDEX, 0);
}

function questionOf(places: readonly number[]): { vector: SparseVector; words: LexicalWord[] } {
  const further = Array.from({ length: TERMS }, (_, k) => WORD_SHARES.length + k);
  const terms = [...places, ...further].map((place, i): [number, number] => [
    FIRST_ID + place,
    3 - i / 20,
  ]);
  const words = places.map((place) => ({
    id: FIRST_ID + place,
    term: String(place),
    count: 1,
    idf: 3,
  }));
  return { vector: sparseVector(terms), words };
}

function systems(cluster: Cluster, places: readonly number[]): BenchSystem<object>[] {
  const question = questionOf(places);
  const options = { scale: SCALE, idf_timeout_ms: 60_000 };
  const known = createCorpusIdf(options);
  const weigh = (name: string, idf: () => CorpusIdf): BenchSystem<object> => ({
    name,
    async find() {
      const { notes } = await idf().weigh(question, { cluster, index: INDEX, fields: FIELDS });
      if (notes.length > 0) throw new Error(notes.join(" "));
      return { hits: [] };
    },
  });
  return [
    {
      name: "search",
      async find() {
        await search(cluster, { index: INDEX, vector: question.vector, source: false });
        return { hits: [] };
      },
    },
    weigh("first", () => createCorpusIdf(options)),
    weigh(`first, at most ${LOW_LIMIT} documents looked at`, () =>
      createCorpusIdf({ ...options, counted_per_shard: LOW_LIMIT }),
    ),
    weigh("known", () => known),
  ];
}

const { config, cluster, close } = await openBench(flags);
try {
  await fill(cluster, config);
  const rows: { question: string; what: string; p50_ms: number; times_search: number }[] = [];
  for (const [name, places] of QUESTIONS) {
    const measured = await measureLatencies(systems(cluster, places), [{}], Number(flags.rounds));
    const [searched] = measured.map(({ times }) => quantile(times, 0.5));
    for (const { name: what, times } of measured) {
      const p50_ms = quantile(times, 0.5);
      rows.push({ question: name, what, p50_ms, times_search: p50_ms / (searched ?? p50_ms) });
    }
  }
  console.log(
    markdownTable({
      title: "Weighing a question's words by the index",
      columns: ["question", "what", "p50 ms:", "times the search:"],
      rows: rows.map(({ question, what, p50_ms, times_search }) => [
        question,
        what,
        p50_ms.toFixed(1),
        times_search.toFixed(2),
      ]),
    }),
  );
  if (flags.json !== undefined) {
    await writeFile(flags.json, `${JSON.stringify({ documents: count, rows }, undefined, 2)}\n`);
  }
} finally {
  await cluster.send({ method: "DELETE", path: `/${INDEX}` });
  await close();
}
