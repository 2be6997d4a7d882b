/**
 * Checks a new index before the alias moves: are all documents there, are the vectors those that
 * encoding gives, and does it find what the old index finds?
 */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import type { Encoder } from "../encoder/encoder.js";
import { readIndexModel, refreshIndex } from "../index/csplade-index.js";
import { isOurField, PASSAGES_FIELD, VECTOR_FIELD } from "../index/index-meta.js";
import { JsonText, plainDocument } from "../index/bulk-operation.js";
import { documentSteps } from "../index/index-document.js";
import { NOTHING_STORED } from "../index/stored-state.js";
import { search } from "../query/search.js";
import { searchedFields } from "../query/searched-fields.js";
import { storedDocuments, type StoredDocument } from "../sources/index-source.js";
import { storedSourceDocument } from "../sources/source-document.js";
import { fromFeatures } from "../sparse/features.js";
import { EMPTY_VECTOR, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { readDeadLetters } from "./dead-letters.js";
import { encodeForRun } from "./encode-for-run.js";
import { countDocuments, readVersions, targetId } from "./missing-documents.js";
import { compareQueries } from "./query-comparison.js";
import type { RunRecord, Verification } from "./run-record.js";
import { versionOf } from "./slice-reader.js";

/** What verifying needs. */
export interface VerifyContext {
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly patience: Patience;
  /** Documents that are encoded again. */
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
  const behind = await sampleSource(context, run);
  if (behind.length > 0) {
    problems.push(
      `Of ${context.sample} sampled documents of the source ${behind.length} are missing or older in the new index (${behind.slice(0, 5).join(", ")}).`,
    );
  }
  const sampled = await sampleTarget(context, run);
  const differences = await compareVectors(context, run, sampled);
  const differing = differences.filter((difference) => difference > TOLERANCE).length;
  if (differing > MOST_DIFFERING * differences.length) {
    problems.push(
      `${differing} of ${differences.length} sampled documents have another vector than encoding gives now.`,
    );
  }
  const queries = await compareQueries(context, run, sampled);
  return {
    ok: problems.length === 0,
    problems,
    source_documents: counted.source,
    target_documents: counted.target,
    dead_letters: counted.dead_letters,
    sampled: differences.length,
    differing,
    worst_difference: Math.max(0, ...differences),
    ...queries,
  };
}

/**
 * Looks some documents of the source up in the target.
 * @returns ids of those that are not there, or there in an older version than was copied.
 */
async function sampleSource(context: VerifyContext, run: RunRecord): Promise<string[]> {
  const { cluster, patience } = context;
  if (run.source.type !== "index") return [];
  // The number that is copied in every shard: a sampled document does not tell its shard.
  const upTo = Math.min(...(run.passes.findLast(({ task }) => task === "copy")?.up_to ?? [-1]));
  const settled = { range: { _seq_no: { lte: upTo } } };
  const sampled = await sampleIndex(context, run.source.index, settled);
  const keys = sampled.map((document) => ({ ...document, id: targetId(run, document.id) }));
  const versions = await patiently(patience, () => readVersions(cluster, run.target, keys));
  const older = sampled.filter(({ seq_no }, i) => (versions[i] ?? 0) < versionOf(seq_no));
  if (older.length === 0) return [];
  const letters = await patiently(patience, () => readDeadLetters(cluster, run.run));
  const dead = new Set(letters.map(({ id }) => id));
  return older.map(({ id }) => id).filter((id) => !dead.has(id));
}

/** Some documents of the target, at random. */
async function sampleTarget(context: VerifyContext, run: RunRecord): Promise<StoredDocument[]> {
  // A passage alone has not the text that was encoded.
  if (run.passages === "documents") return [];
  return sampleIndex(context, run.target, { match_all: {} });
}

async function sampleIndex(
  { cluster, sample, patience }: VerifyContext,
  index: string,
  query: object,
): Promise<StoredDocument[]> {
  const doing = `Sampling ${index}`;
  const text = await patiently(patience, () =>
    cluster.demandText(
      {
        method: "POST",
        path: pathOf(index, "_search"),
        query: { allow_partial_search_results: false },
        body: {
          size: sample,
          version: true,
          seq_no_primary_term: true,
          query: {
            function_score: { query, random_score: {}, boost_mode: "replace" },
          },
        },
      },
      doing,
    ),
  );
  return storedDocuments(text, doing);
}

/** Encodes the sampled documents again. @returns per document the relative difference, 0 to 1. */
async function compareVectors(
  context: VerifyContext,
  run: RunRecord,
  sampled: readonly StoredDocument[],
): Promise<number[]> {
  const { cluster, encoder, patience } = context;
  const documents = sampled.flatMap(({ id, source }) => {
    const found = storedSourceDocument(id, source, isOurField, run.text_fields);
    return "problem" in found
      ? []
      : [{ ...found.document, stored: plainDocument(new JsonText(source)) }];
  });
  const texts = documents.map(({ text }) => text);
  const encoded = await encodeForRun(encoder, run, texts, patience.signal);
  const info = await patiently(patience, () => readIndexModel(cluster, run.target));
  const differences: number[] = [];
  for (const [i, { stored, ...document }] of documents.entries()) {
    const passages = encoded[i]?.passages ?? [];
    const shaped = { shape: run.encoding, stored: NOTHING_STORED };
    const [step] = documentSteps(info, document, passages, shaped);
    const now = vectorsOf(plainDocument(step?.[0]?.document ?? {}));
    differences.push(
      info.store_vectors === false
        ? await scoreDifference(context, run, document.id, now)
        : vectorDifference(now, vectorsOf(stored)),
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
  const { fields } = searchedFields(run.passages);
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
