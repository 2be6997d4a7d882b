/**
 * The corpus that searching is measured on: documents resampled from encoded articles of WordNet,
 * and questions that are worn-down articles, whose relevant documents are therefore known.
 */
import { EMPTY_VECTOR, sparseVector, type SparseVector } from "../src/sparse/sparse-vector.js";
import type { Config } from "../src/config/settings.js";
import { openEncoder, type Encoder } from "../src/encoder/encoder.js";
import type { EncodedText } from "../src/encoder/encoder-protocol.js";
import { openQueryTable, QUERY_TABLE_FILE } from "../src/encoder/query-table.js";
import { VECTOR_FIELD, type IndexModel } from "../src/index/index-meta.js";
import { createCorpusIdf, type WordedVector } from "../src/query/corpus-idf.js";
import type { Cluster } from "../src/cluster/cluster.js";
import type { Qrels } from "../src/evaluate/metrics.js";
import { encodedArticles } from "./encoded-texts.js";
import { randomNumbers, resampled, type BaseText, type ResampledText } from "./resampled-corpus.js";

/** Words kept of an article that becomes a question, and the most of them. */
const KEPT_WORDS = 0.7;
const QUESTION_WORDS = 16;

/** Articles a document is made of, and how near each other they lie in WordNet's order. */
const MIXED = 2;
const NEIGHBOURHOOD = 16;

/** A question, as every system wants it. */
export interface Question {
  readonly text: string;
  readonly vector: SparseVector;
  /** The question's vector without inference. */
  readonly tokens: SparseVector;
  /** Place of the article it was made of. */
  readonly place: number;
}

/** Everything that is indexed and asked. */
export interface SearchCorpus {
  readonly articles: readonly BaseText[];
  readonly questions: readonly Question[];
  /** The documents, the same at every call. Their ids are their places, from 0. */
  documents(count: number): Generator<ResampledText>;
  /** The questions, their words weighed by an index as searching through csplade weighs them. */
  weighed(cluster: Cluster, index: string): Promise<Question[]>;
  /** The documents that hold a question's article; question ids are places in `questions`. */
  relevant(count: number): Qrels;
}

/** How large the corpus is made of. */
export interface CorpusOptions {
  /** Folder of encoded texts. */
  readonly folder: string;
  /** Only each n-th article is encoded. */
  readonly every: number;
  readonly questions: number;
}

/** The corpus and the model that encoded it. What is not encoded yet is encoded now. */
export async function openCorpus(
  config: Config,
  options: CorpusOptions,
): Promise<{ corpus: SearchCorpus; model: IndexModel }> {
  const encoder = await openEncoder(config);
  try {
    const { fingerprint, name, variant, vocabulary_size } = encoder.manifest;
    const model = { fingerprint, name, variant, vocabulary_size };
    return { corpus: await searchCorpus(encoder, options), model };
  } finally {
    await encoder.close();
  }
}

/** The corpus, by an encoder that is open already. */
export async function searchCorpus(
  encoder: Encoder,
  { folder, every, questions: wanted }: CorpusOptions,
): Promise<SearchCorpus> {
  const articles = await encodedArticles(encoder, folder, every);
  const worn = wornTexts(articles, wanted);
  const texts = worn.map(({ text }) => text);
  const vectors = firstPassages(await encoder.encodeQueries(texts));
  const hasTable = QUERY_TABLE_FILE in encoder.manifest.files || encoder.lexicon !== undefined;
  const tokens = hasTable
    ? firstPassages((await openQueryTable(encoder.checkpoint, undefined)).encode(texts))
    : await weighedByIdf(encoder, articles, texts);
  const questions = worn.map(({ place, text }, i) => ({
    place,
    text,
    vector: vectors[i]?.vector ?? EMPTY_VECTOR,
    tokens: tokens[i]?.vector ?? EMPTY_VECTOR,
  }));
  const weighed = (cluster: Cluster, index: string): Promise<Question[]> => {
    const idf = createCorpusIdf({ scale: encoder.lexicon, idf: "corpus", idf_timeout_ms: 60_000 });
    const target = { cluster, index, fields: [{ name: VECTOR_FIELD }] };
    const weigh = async (worded: WordedVector | undefined) =>
      (await idf.weigh(worded ?? { vector: EMPTY_VECTOR }, target)).vector;
    return Promise.all(
      questions.map(async (question, i) => ({
        ...question,
        vector: await weigh(vectors[i]),
        tokens: await weigh(tokens[i]),
      })),
    );
  };
  const documents = (count: number) =>
    resampled(articles, count, { mixed: MIXED, neighbourhood: NEIGHBOURHOOD, seed: 7 });
  return {
    articles,
    questions,
    documents,
    weighed,
    relevant: (count) => relevantTo(questions, documents(count)),
  };
}

/** Questions are shorter than a passage; a blank one has none. */
function firstPassages(encoded: readonly EncodedText[]): WordedVector[] {
  return encoded.map(({ passages }) => passages[0] ?? { vector: EMPTY_VECTOR });
}

function wornTexts(
  articles: readonly BaseText[],
  wanted: number,
): { place: number; text: string }[] {
  const random = randomNumbers(5);
  const worn: { place: number; text: string }[] = [];
  while (worn.length < wanted) {
    const place = Math.floor(random() * articles.length);
    const words = (articles[place]?.text ?? "").split(/\s+/).filter(() => random() < KEPT_WORDS);
    if (words.length >= 3) worn.push({ place, text: words.slice(0, QUESTION_WORDS).join(" ") });
  }
  return worn;
}

/** What a checkpoint without a table of query weights gets: the rarer a term, the heavier. */
async function weighedByIdf(
  encoder: Encoder,
  articles: readonly BaseText[],
  texts: readonly string[],
): Promise<WordedVector[]> {
  const holders = new Map<number, number>();
  for (const { vector } of articles) {
    for (const id of vector.ids) holders.set(id, (holders.get(id) ?? 0) + 1);
  }
  const literals = await encoder.literals(texts);
  return literals.map(({ ids }) => ({
    vector: sparseVector(
      [...new Set(ids)]
        .filter((id) => holders.has(id))
        .map((id) => [id, Math.log(articles.length / (holders.get(id) ?? 1))]),
    ),
  }));
}

function relevantTo(questions: readonly Question[], documents: Iterable<ResampledText>): Qrels {
  const asked = new Map<number, number[]>();
  questions.forEach(({ place }, q) => asked.set(place, [...(asked.get(place) ?? []), q]));
  const qrels = new Map<string, Map<string, number>>(
    questions.map((_, q) => [String(q), new Map()]),
  );
  let id = 0;
  for (const { parts } of documents) {
    for (const place of parts) {
      for (const q of asked.get(place) ?? []) qrels.get(String(q))?.set(String(id), 1);
    }
    id += 1;
  }
  return new Map([...qrels].filter(([, judged]) => judged.size > 0));
}

/** Mean number of terms. */
export function meanTerms(vectors: Iterable<SparseVector>): number {
  let count = 0;
  let terms = 0;
  for (const vector of vectors) {
    count += 1;
    terms += vector.ids.length;
  }
  return count === 0 ? 0 : terms / count;
}
