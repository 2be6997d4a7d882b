/** What index size is measured on: resampled documents, or a test collection, with its questions. */
import path from "node:path";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Encoder } from "../src/encoder/encoder.js";
import { readCollection } from "../src/evaluate/beir.js";
import type { Qrels } from "../src/evaluate/metrics.js";
import type { WordedVector } from "../src/query/corpus-idf.js";
import { parseDocument } from "../src/sources/source-document.js";
import { EMPTY_VECTOR } from "../src/sparse/sparse-vector.js";
import { encodedTexts } from "./encoded-texts.js";
import { searchCorpus, type CorpusOptions } from "./search-corpus.js";
import type { IndexedText } from "./search-indices.js";

/** A corpus that is indexed again and again, and questions with judgements. */
export interface SizeCorpus {
  readonly name: string;
  readonly documents: readonly IndexedText[];
  /** Question id → its vector. */
  readonly questions: ReadonlyMap<string, WordedVector>;
  readonly qrels: Qrels;
}

/** Resampled documents: as in `npm run bench:search`. */
export async function resampledSizeCorpus(
  encoder: Encoder,
  options: CorpusOptions & { readonly documents: number },
): Promise<SizeCorpus> {
  const corpus = await searchCorpus(encoder, options);
  const texts = corpus.questions.map(({ text }, q) => ({ id: String(q), text }));
  return {
    name: "resampled",
    documents: [...corpus.documents(options.documents)],
    questions: await encodedQuestions(encoder, texts),
    qrels: corpus.relevant(options.documents),
  };
}

/** A test collection in BEIR's form. */
export async function collectionSizeCorpus(
  encoder: Encoder,
  data: string,
  folder: string,
): Promise<SizeCorpus> {
  const { name, corpus, queries, qrels } = await readCollection(data);
  const read: { id: string; body: Readonly<Record<string, unknown>>; text: string }[] = [];
  const fields = { id_field: "_id", text_fields: ["title", "text"] };
  for await (const line of createInterface({ input: createReadStream(corpus, "utf8") })) {
    const parsed = parseDocument(Buffer.from(line), fields);
    // A blank document is not indexed by anyone.
    if ("document" in parsed) read.push({ ...parsed.document, body: parsed.document.body.parse() });
  }
  const encoded = await encodedTexts(
    encoder,
    folder,
    path.basename(name),
    read.map(({ text }) => text),
  );
  return {
    name,
    documents: read.map((document, i) => ({
      ...document,
      vector: encoded[i]?.vector ?? EMPTY_VECTOR,
    })),
    questions: await encodedQuestions(encoder, queries),
    qrels,
  };
}

async function encodedQuestions(
  encoder: Encoder,
  questions: readonly { readonly id: string; readonly text: string }[],
): Promise<Map<string, WordedVector>> {
  const encoded = await encoder.encodeQueries(questions.map(({ text }) => text));
  return new Map(
    questions.map(({ id }, i) => [id, encoded[i]?.passages[0] ?? { vector: EMPTY_VECTOR }]),
  );
}
