/**
 * Checks a new index before the alias moves: are all documents there, with every byte of their own, are
 * the vectors those that encoding gives, and does it find what the old index finds?
 */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { readIndexModel, refreshIndex } from "../index/csplade-index.js";
import { DENSE_FIELD, isOurField, PASSAGES_FIELD, VECTOR_FIELD } from "../index/index-meta.js";
import { JsonText, plainDocument } from "../cluster/bulk-operation.js";
import { documentSteps } from "../index/index-document.js";
import { NOTHING_STORED } from "../index/stored-state.js";
import { search } from "../query/search.js";
import { searchedFields } from "../query/searched-fields.js";
import { sampleDocuments } from "./index-sample.js";
import type { StoredDocument } from "../sources/index-source.js";
import { storedSourceDocument } from "../sources/source-document.js";
import { fromFeatures } from "../sparse/features.js";
import { passageQuality } from "../text/passage-quality.js";
import { EMPTY_VECTOR, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { tooManyDeadLetters } from "./dead-letter-ceiling.js";
import { encodeForRun } from "./encode-for-run.js";
import { countDocuments } from "./missing-documents.js";
import { compareQueries, NO_QUERIES } from "./query-comparison.js";
import type { RunRecord, Verification } from "./run-record.js";
import { checkSource } from "./source-check.js";

/** What verifying needs. */
export interface VerifyContext {
  readonly cluster: Cluster;
  readonly config: Pick<Config, "ingest.max_document_bytes" | "reindex.max_dead_letters">;
  readonly encoder: Encoder;
  readonly patience: Patience;
  /** Documents of the source that are looked up, and of the target that are encoded again. */
  readonly sample: number;
}

/**
 * Relative difference of a vector that is still the same one: another batch, another device or
 * another precision of the same model round differently.
 */
const TOLERANCE = 0.05;

/** Share of sampled documents that may differ more: borderline terms of low precision. */
const MOST_DIFFERING = 0.01;

/** Verifies a run's index. */
export async function verifyRun(context: VerifyContext, run: RunRecord): Promise<Verification> {
  const { cluster, patience } = context;
  const problems: string[] = [];
  await patiently(patience, () => refreshIndex(cluster, run.target));
  const counted = await countDocuments(context, run);
  if (counted.missing > 0) {
    problems.push(
      `${counted.missing} documents of the source are neither in the new index nor among the dead letters.`,
    );
  }
  // What was deleted in the source since is taken out by the pass after the swap.
  if (counted.extra > counted.changed) {
    problems.push(`The new index has ${counted.extra} documents that the source has not.`);
  }
  const buried = tooManyDeadLetters(context.config, counted);
  if (buried !== undefined) problems.push(buried);
  const looked = await checkSource(context, run);
  const { behind, altered } = looked;
  if (behind.length > 0) {
    problems.push(
      `Of ${looked.sampled} sampled documents of the source ${behind.length} are missing or older in the new index (${behind.slice(0, 5).join(", ")}).`,
    );
  }
  if (altered.length > 0) {
    const some = altered.slice(0, 5).map(({ id, field }) => `${field || "the whole"} of ${id}`);
    problems.push(
      `Of ${looked.sampled} sampled documents of the source ${altered.length} have another content in the new index (${some.join(", ")}).`,
    );
  }
  const sampled = await sampleTarget(context, run);
  const { encodes } = context.encoder;
  const differences = encodes.documents ? await compareVectors(context, run, sampled) : [];
  const bare = encodes.documents ? 0 : await countBare(context, run, sampled);
  if (bare > MOST_DIFFERING * sampled.length) {
    problems.push(`${bare} of ${sampled.length} sampled documents have no vector.`);
  }
  const differing = differences.filter((difference) => difference > TOLERANCE).length;
  if (differing > MOST_DIFFERING * differences.length) {
    problems.push(
      `${differing} of ${differences.length} sampled documents have another vector than encoding gives now.`,
    );
  }
  const queries = encodes.queries ? await compareQueries(context, run, sampled) : NO_QUERIES;
  return {
    ok: problems.length === 0,
    problems,
    source_documents: counted.source,
    target_documents: counted.target,
    dead_letters: counted.dead_letters,
    source_sampled: looked.sampled,
    behind: behind.length,
    altered: altered.length,
    sampled: differences.length,
    differing,
    worst_difference: Math.max(0, ...differences),
    ...queries,
  };
}

/** Some documents of the target, at random. */
async function sampleTarget(
  { cluster, sample, patience }: VerifyContext,
  run: RunRecord,
): Promise<StoredDocument[]> {
  // A passage alone has not the text that was encoded.
  if (run.passages === "documents") return [];
  return patiently(patience, () =>
    sampleDocuments(cluster, { from: run.target, size: sample }, patience.signal),
  );
}

/** What can be seen without a model: the sampled documents that should have a vector and have none. */
async function countBare(
  { cluster, patience }: VerifyContext,
  run: RunRecord,
  sampled: readonly StoredDocument[],
): Promise<number> {
  const info = await patiently(patience, () => readIndexModel(cluster, run.target));
  if (info.store_vectors === false) return 0;
  return sampled.filter(({ id, source }) => {
    const found = storedSourceDocument(id, source, isOurField, run);
    if ("problem" in found || passageQuality(found.document.text) < run.encoding.min_quality) {
      return false;
    }
    return vectorsOf(plainDocument(new JsonText(source))).every(({ ids }) => ids.length === 0);
  }).length;
}

/** Encodes the sampled documents again. @returns per document the relative difference, 0 to 1. */
async function compareVectors(
  context: VerifyContext,
  run: RunRecord,
  sampled: readonly StoredDocument[],
): Promise<number[]> {
  const { cluster, encoder, patience } = context;
  const documents = sampled.flatMap(({ id, source }) => {
    const found = storedSourceDocument(id, source, isOurField, run);
    return "problem" in found
      ? []
      : [{ ...found.document, stored: plainDocument(new JsonText(source)) }];
  });
  const texts = documents.map(({ text }) => text);
  const info = await patiently(patience, () => readIndexModel(cluster, run.target));
  const { mean_length } = info;
  const encoded = await encodeForRun(encoder, run, texts, patience.signal, mean_length);
  const differences: number[] = [];
  for (const [i, { stored, ...document }] of documents.entries()) {
    const passages = encoded[i]?.passages ?? [];
    const shaped = { shape: run.encoding, stored: NOTHING_STORED };
    const [step] = documentSteps(info, document, passages, shaped);
    const again = plainDocument(step?.[0]?.document ?? {});
    const now = vectorsOf(again);
    differences.push(
      info.store_vectors === false
        ? await scoreDifference(context, run, document.id, now)
        : Math.max(vectorDifference(now, vectorsOf(stored)), denseDifference(again, stored)),
    );
  }
  return differences;
}

function vectorDifference(now: readonly SparseVector[], then: readonly SparseVector[]): number {
  const most = Math.max(now.length, then.length);
  const differences = Array.from({ length: most }, (_, n) =>
    difference(now[n] ?? EMPTY_VECTOR, then[n] ?? EMPTY_VECTOR),
  );
  return Math.max(0, ...differences);
}

/** How far two dense vectors point apart: 0 in one direction, 1 at a right angle or where one is missing. */
function denseDifference(
  now: Readonly<Record<string, unknown>>,
  then: Readonly<Record<string, unknown>>,
): number {
  const [a, b] = [now[DENSE_FIELD], then[DENSE_FIELD]] as (readonly number[] | undefined)[];
  if (a === undefined || b === undefined) return a === b ? 0 : 1;
  const product = a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
  return Math.min(1, Math.max(0, 1 - product / (Math.hypot(...a) * Math.hypot(...b))));
}

/**
 * Where `_source` has no vectors the postings are asked: a document must score, by the vectors that
 * encoding gives now, what these score with themselves. Terms it has beyond them are not seen.
 */
async function scoreDifference(
  { cluster, patience }: VerifyContext,
  run: RunRecord,
  id: string,
  now: readonly SparseVector[],
): Promise<number> {
  const { fields } = searchedFields(run);
  let worst = 0;
  for (const vector of now) {
    // Of nested passages the best one scores.
    const expected = Math.max(...now.map((other) => dot(vector, other)));
    if (expected === 0) continue;
    const { hits } = await patiently(patience, () =>
      search(cluster, {
        index: run.target,
        vector,
        fields,
        filter: { ids: { values: [id] } },
        size: 1,
        source: false,
        signal: patience.signal,
      }),
    );
    const score = hits[0]?.score ?? 0;
    worst = Math.max(worst, Math.abs(score - expected) / Math.max(score, expected));
  }
  return worst;
}

function vectorsOf(document: Readonly<Record<string, unknown>>): SparseVector[] {
  const nested = document[PASSAGES_FIELD];
  const holders = Array.isArray(nested) ? (nested as Record<string, unknown>[]) : [document];
  return holders.map((holder) =>
    fromFeatures((holder[VECTOR_FIELD] ?? {}) as Record<string, unknown>),
  );
}

function dot(a: SparseVector, b: SparseVector): number {
  const weights = new Map(termsOf(a));
  let sum = 0;
  for (const [id, weight] of termsOf(b)) sum += weight * (weights.get(id) ?? 0);
  return sum;
}

/** Sum of the absolute differences over the sum of all weights: 0 for the same, 1 for nothing in common. */
function difference(a: SparseVector, b: SparseVector): number {
  const weights = new Map(termsOf(a));
  let apart = 0;
  let all = 0;
  for (const [id, weight] of termsOf(b)) {
    apart += Math.abs(weight - (weights.get(id) ?? 0));
    all += weight + (weights.get(id) ?? 0);
    weights.delete(id);
  }
  for (const weight of weights.values()) {
    apart += weight;
    all += weight;
  }
  return all === 0 ? 0 : apart / all;
}
