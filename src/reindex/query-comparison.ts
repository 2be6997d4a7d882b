/** Asks the new index and the old one the same questions: do they find alike? */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import { z } from "zod";
import type { Encoder } from "../encoder/encoder.js";
import { indicesBehind } from "../cluster/alias.js";
import { readIndexModel } from "../index/csplade-index.js";
import { isOurField } from "../index/index-meta.js";
import { withBm25Query } from "../query/bm25-query.js";
import { createCorpusIdf, type WordedVector } from "../query/corpus-idf.js";
import { search } from "../query/search.js";
import { searchedFields } from "../query/searched-fields.js";
import type { StoredDocument } from "../sources/index-source.js";
import { storedSourceDocument } from "../sources/source-document.js";
import { passageQuality } from "../text/passage-quality.js";
import type { RunRecord, Verification } from "./run-record.js";

/** What comparing needs. */
export interface ComparisonContext {
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly patience: Patience;
}

/** Questions asked at most, and the words of one. */
const MOST_QUERIES = 50;
const QUERY_WORDS = 8;

/** A verification has time. */
const IDF_TIMEOUT_MS = 30_000;

/** Hits compared. */
const SIZE = 10;

/** What is found where nothing is asked. */
export const NO_QUERIES = { queries: 0, overlap_at_10: null, found_new: null, found_old: null };

/** Asks some words out of each sampled document. */
export async function compareQueries(
  context: ComparisonContext,
  run: RunRecord,
  sampled: readonly StoredDocument[],
): Promise<Pick<Verification, "queries" | "overlap_at_10" | "found_new" | "found_old">> {
  const { encoder, cluster, patience } = context;
  const questions = sampled.slice(0, MOST_QUERIES).flatMap((document) => {
    const found = storedSourceDocument(document.id, document.source, isOurField, run);
    // What was left without a vector on purpose cannot be found by one.
    return "problem" in found || passageQuality(found.document.text) < run.encoding.min_quality
      ? []
      : [{ id: document.id, text: wordsOf(found.document.text) }];
  });
  if (questions.length === 0) return NO_QUERIES;
  const encoded = await encoder.encodeQueries(
    questions.map(({ text }) => text),
    { signal: patience.signal },
  );
  const askNew = vectorSearch(context, run.target, run.passages);
  const askOld = await oldSearch(context, run);
  const overlaps: number[] = [];
  let foundNew = 0;
  let foundOld = 0;
  let asked = 0;
  for (const [i, { id, text }] of questions.entries()) {
    const question = encoded[i]?.passages[0];
    if (question === undefined || question.vector.ids.length === 0) continue;
    asked += 1;
    const now = await patiently(patience, () => askNew(question));
    foundNew += now.includes(id) ? 1 : 0;
    if (askOld === undefined) continue;
    const before = await patiently(patience, () => askOld(question, text));
    foundOld += before.includes(id) ? 1 : 0;
    if (before.length > 0) {
      overlaps.push(before.filter((hit) => now.includes(hit)).length / before.length);
    }
  }
  if (asked === 0) return NO_QUERIES;
  const mean = overlaps.reduce((sum, each) => sum + each, 0) / Math.max(1, overlaps.length);
  return {
    queries: asked,
    overlap_at_10: overlaps.length === 0 ? null : mean,
    found_new: foundNew / asked,
    found_old: askOld === undefined ? null : foundOld / asked,
  };

  /** The index behind the alias now: by vectors of the same model, or else by its words. */
  async function oldSearch(
    { cluster: on }: ComparisonContext,
    { alias, target, model }: RunRecord,
  ): Promise<((question: WordedVector, text: string) => Promise<string[]>) | undefined> {
    const [old, ...more] = (await indicesBehind(on, alias)).filter((index) => index !== target);
    if (old === undefined || more.length > 0) return undefined;
    const info = await readIndexModel(on, old).catch(() => undefined);
    if (info?.model.fingerprint === model.fingerprint) {
      return vectorSearch(context, old, info.passages);
    }
    return (_question, text) => bm25(cluster, old, run.text_fields, text);
  }
}

/** Some words from the middle: the beginnings of documents are often alike. */
function wordsOf(text: string): string {
  const words = text.slice(0, 20_000).split(/\s+/).filter(Boolean);
  const from = Math.max(0, Math.floor((words.length - QUERY_WORDS) / 2));
  return words.slice(from, from + QUERY_WORDS).join(" ");
}

function vectorSearch(
  { cluster, encoder, patience: { signal } }: ComparisonContext,
  index: string,
  passages: RunRecord["passages"],
): (question: WordedVector) => Promise<string[]> {
  const where = searchedFields({ passages });
  const corpusIdf = createCorpusIdf({ scale: encoder.lexicon, idf_timeout_ms: IDF_TIMEOUT_MS });
  return async (question) => {
    const target = { cluster, index, fields: where.fields, signal };
    const { vector } = await corpusIdf.weigh(question, target);
    const { hits } = await search(cluster, {
      index,
      vector,
      size: SIZE,
      source: false,
      ...where,
      signal,
    });
    return hits.map((hit) => hit.collapsed_by ?? hit.id);
  };
}

const hitsSchema = z.object({ hits: z.object({ hits: z.array(z.object({ _id: z.string() })) }) });

async function bm25(
  cluster: Cluster,
  index: string,
  fields: readonly string[],
  text: string,
): Promise<string[]> {
  const answer = await withBm25Query(cluster, text, fields, (query) =>
    cluster.send({
      method: "POST",
      path: pathOf(index, "_search"),
      body: { query, size: SIZE, _source: false },
    }),
  );
  return hitsSchema.safeParse(answer.body).data?.hits.hits.map(({ _id }) => _id) ?? [];
}
