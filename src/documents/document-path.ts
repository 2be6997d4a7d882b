/**
 * The one way of a document into an index, whoever brings it: ingest, a reindexing, or `follow`. It
 * came from its source read or refused (`src/sources/`); here it is judged, encoded (one that kills
 * the encoder fails alone), and made into the steps that write it. What cannot go on is a
 * {@link Refusal} with its reason; what becomes of it is for whoever brought it.
 */
import { performance } from "node:perf_hooks";
import type { Config } from "../config/settings.js";
import type { EncodedText } from "../encoder/encoder-protocol.js";
import type { Encoder } from "../encoder/encoder.js";
import { encodeExpanded } from "../encoder/expansion.js";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import type { WriteResult } from "../cluster/bulk-operation.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import { contentHash, textHash, type EncodingChoices } from "../index/content-hash.js";
import type { IndexInfo } from "../index/csplade-index.js";
import { writeDocuments, type DocumentSteps } from "../index/document-write.js";
import {
  carriedSteps,
  checkDocument,
  documentSteps,
  vectorShape,
} from "../index/index-document.js";
import { NOTHING_STORED, type DocumentPlace, type StoredState } from "../index/stored-state.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import type { DocumentProblem, SourceDocument } from "../sources/source-document.js";
import { encodeWorthwhile, judgeTexts } from "./worth-encoding.js";

/** Everything besides the document that decides what is stored for it. */
export interface DocumentEncoding extends EncodingChoices {
  /** Setting `ingest.min_quality`. */
  readonly min_quality: number;
}

/** Where documents go, and by what. */
export interface DocumentPath {
  readonly info: IndexInfo;
  readonly encoding: DocumentEncoding;
  readonly encoder: Encoder;
  readonly metrics?: WorkerMetrics | undefined;
  readonly signal: AbortSignal;
  /**
   * Documents are written only over what was found stored of them: what somebody else wrote in between
   * stays. Not in `documents` mode.
   */
  readonly overStored?: boolean;
}

/** A document as its source gave it, with whatever the one who brings it wants to know again. */
export interface Arriving {
  readonly content: { readonly document: SourceDocument } | { readonly problem: DocumentProblem };
  readonly routing?: string;
  /** Version kept outside the cluster. */
  readonly version?: number;
}

/** A document that may be stored. */
export interface JudgedDocument<A extends Arriving = Arriving> {
  readonly arrival: A;
  readonly document: SourceDocument;
  readonly hash: string;
  readonly text_hash: string;
  /** Whether it is encoded, or only indexed for BM25 (`ingest.min_quality`). */
  readonly worth: boolean;
  /** What the index holds of it. */
  stored: StoredState;
  /** Vectors that were made before from the same text by the same model. */
  vectors?: Readonly<Record<string, unknown>>;
}

/** A document that cannot be stored, and why. */
export interface Refusal<A extends Arriving = Arriving> {
  readonly arrival: A;
  readonly code: ErrorCode;
  readonly reason: string;
}

/** Documents that may be stored, and those that may not. */
export interface JudgedDocuments<A extends Arriving> {
  readonly judged: JudgedDocument<A>[];
  readonly refusals: Refusal<A>[];
}

/** A document ready to be written. */
export interface ReadyDocument<A extends Arriving = Arriving> {
  readonly judged: JudgedDocument<A>;
  readonly steps: DocumentSteps;
  /** The steps that write it over another state than the one that was looked at. */
  readonly stepsOver: (place: DocumentPlace) => DocumentSteps;
}

/** What encoding some documents came to. */
export interface EncodingCounts {
  encoded: number;
  /** Stored without a vector (`ingest.min_quality`). */
  low_quality: number;
  /** Took over vectors that were there. */
  reused: number;
  truncated: number;
  /** Ids of the first of them. */
  truncated_ids: string[];
  passages: number;
  tokens: number;
  terms: number;
}

/** Encoded documents. */
export interface EncodedDocuments<A extends Arriving> {
  readonly ready: ReadyDocument<A>[];
  readonly refusals: Refusal<A>[];
  readonly counts: EncodingCounts;
}

/** The encoding that a configuration asks for. */
export function documentEncoding(config: Config): DocumentEncoding {
  return {
    ...vectorShape(config),
    max_passages: config["ingest.max_passages"],
    min_quality: config["ingest.min_quality"],
  };
}

/** Checks what can be checked before encoding, and hashes. Never throws for a document. */
export async function judgeDocuments<A extends Arriving>(
  { info, encoding }: Pick<DocumentPath, "info" | "encoding">,
  arrivals: readonly A[],
): Promise<JudgedDocuments<A>> {
  const refusals: Refusal<A>[] = [];
  const taken: { readonly arrival: A; readonly document: SourceDocument }[] = [];
  for (const arrival of arrivals) {
    if ("problem" in arrival.content) {
      const { code, reason } = arrival.content.problem;
      refusals.push({ arrival, code, reason });
      continue;
    }
    const { document } = arrival.content;
    try {
      checkDocument(info, document);
      taken.push({ arrival, document });
    } catch (thrown) {
      refusals.push(refusalOf(arrival, thrown));
    }
  }
  const texts = taken.map(({ document }) => document.text);
  const worths = await judgeTexts(texts, encoding.min_quality);
  const judged = taken.map(({ arrival, document }, i): JudgedDocument<A> => {
    const worth = worths[i] ?? true;
    return {
      arrival,
      document,
      worth,
      hash: contentHash(document.body, info, encoding, worth),
      text_hash: textHash(document.text, info, encoding, worth),
      stored: NOTHING_STORED,
    };
  });
  return { judged, refusals };
}

/** Encodes what has no vectors yet, and makes the steps that write each document. */
export async function encodeDocuments<A extends Arriving>(
  path: DocumentPath,
  judged: readonly JudgedDocument<A>[],
): Promise<EncodedDocuments<A>> {
  const { info } = path;
  const missing = judged.filter(({ vectors }) => vectors === undefined);
  const encoded = await encodeMissing(path, missing);
  const results = new Map(missing.map((each, i) => [each, encoded[i]]));
  const ready: ReadyDocument<A>[] = [];
  const refusals: Refusal<A>[] = [];
  const counts = noEncodingCounts();
  for (const each of judged) {
    const { arrival, worth, vectors } = each;
    const { routing, version } = arrival;
    const { hash, text_hash, stored } = each;
    const found = path.overStored === true ? (stored.place ?? "nothing") : undefined;
    const at = (over: DocumentPlace | "nothing" | undefined) => ({
      ...each.document,
      ...(routing === undefined ? {} : { routing }),
      ...(version === undefined ? {} : { version }),
      ...(over === undefined ? {} : { over }),
    });
    try {
      if (vectors !== undefined) {
        const carried = (over: typeof found) => carriedSteps(info, at(over), vectors, each);
        ready.push({ judged: each, steps: carried(found), stepsOver: carried });
        counts.reused += 1;
        continue;
      }
      const result = demandEncoded(results.get(each), worth);
      const context = { shape: path.encoding, hash, text_hash, stored };
      const encodedAt = (over: typeof found) =>
        documentSteps(info, at(over), result.passages, context);
      ready.push({ judged: each, steps: encodedAt(found), stepsOver: encodedAt });
      count(counts, each.document.id, result, worth);
    } catch (thrown) {
      refusals.push(refusalOf(arrival, thrown));
    }
  }
  return { ready, refusals, counts };
}

/**
 * Writes documents.
 * @returns one result per document, in order; what the cluster refuses is among the refusals too.
 * @throws UnacknowledgedError as `writeDocuments`.
 */
export async function writeReady<A extends Arriving>(
  writer: BulkWriter,
  ready: readonly Pick<ReadyDocument<A>, "judged" | "steps">[],
  signal?: AbortSignal,
): Promise<{ readonly results: readonly WriteResult[]; readonly refusals: Refusal<A>[] }> {
  const steps = ready.map((each) => each.steps);
  const results = await writeDocuments(writer, steps, signal);
  const refusals = results.flatMap((result, i): Refusal<A>[] => {
    if (result.status !== "failed") return [];
    const { arrival } = (ready[i] as (typeof ready)[number]).judged;
    return [{ arrival, code: "document_rejected", reason: result.reason }];
  });
  return { results, refusals };
}

async function encodeMissing(
  { encoder, encoding, info, metrics, signal }: DocumentPath,
  missing: readonly JudgedDocument[],
): Promise<(EncodedText | undefined)[]> {
  if (missing.length === 0) return [];
  const { max_passages } = encoding;
  const { passages, mean_length } = info;
  const merged = passages === "merged";
  const options = { signal, max_passages, merged, mean_length, dense: info.dense };
  const started = performance.now();
  const before = encoder.totals();
  const encoded = await encodeWorthwhile(
    missing.map(({ document, worth }) => ({ text: document.text, worth })),
    (texts) => encodeExpanded(encoder, texts, info.expansion, options),
  );
  metrics?.encoded((performance.now() - started) / 1_000);
  const after = encoder.totals();
  const computed = after.padded_tokens - before.padded_tokens;
  if (computed > 0) metrics?.batchFill((after.tokens - before.tokens) / computed);
  return encoded;
}

/** @throws CspladeError `encode_failed`, `document_breaks_device`; `document_no_text` for a text without a token. */
function demandEncoded(result: EncodedText | undefined, worth: boolean): EncodedText {
  if (result === undefined || result.failure !== undefined) {
    const code = result?.breaksDevice === true ? "document_breaks_device" : "encode_failed";
    throw new CspladeError(code, result?.failure ?? "The encoder returned nothing.");
  }
  if (worth && result.passages.length === 0) {
    throw new CspladeError("document_no_text", "The document's text has no tokens.");
  }
  return result;
}

/** Counts of nothing. */
export function noEncodingCounts(): EncodingCounts {
  return {
    encoded: 0,
    low_quality: 0,
    reused: 0,
    truncated: 0,
    truncated_ids: [],
    passages: 0,
    tokens: 0,
    terms: 0,
  };
}

/** Adds the second counts to the first. */
export function addEncodingCounts(
  sum: EncodingCounts,
  { truncated_ids, ...more }: EncodingCounts,
): void {
  for (const name of Object.keys(more) as (keyof typeof more)[]) sum[name] += more[name];
  sum.truncated_ids = firstTruncated(sum.truncated_ids, truncated_ids);
}

/** Documents that are named of those that are too long. */
const TRUNCATED_NAMED = 5;

/** The ids that a summary names of some and of more truncated documents. */
export function firstTruncated(ids: readonly string[], more: readonly string[]): string[] {
  return [...ids, ...more].slice(0, TRUNCATED_NAMED);
}

function count(
  counts: EncodingCounts,
  id: string,
  { passages, truncated }: EncodedText,
  worth: boolean,
): void {
  const one = noEncodingCounts();
  if (worth) one.encoded = 1;
  else one.low_quality = 1;
  if (truncated) {
    one.truncated = 1;
    one.truncated_ids = [id];
  }
  for (const { tokens, vector } of passages) {
    one.passages += 1;
    one.tokens += tokens;
    one.terms += vector.ids.length;
  }
  addEncodingCounts(counts, one);
}

function refusalOf<A extends Arriving>(arrival: A, thrown: unknown): Refusal<A> {
  const code = thrown instanceof CspladeError ? thrown.code : "document_rejected";
  return { arrival, code, reason: messageOf(thrown) };
}
