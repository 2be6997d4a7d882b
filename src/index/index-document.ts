/** What is stored for a document: its own fields plus the vectors of its passages. */
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { JsonObject, NewMember } from "../json/json-object.js";
import { featuresJson, storedFeaturesJson } from "../sparse/features.js";
import { denseBytes } from "../sparse/dense-vector.js";
import { prune, type PruneOptions } from "../sparse/prune.js";
import { LUCENE_BITS, quantize } from "../sparse/quantize.js";
import { maxMerge, type SparseVector } from "../sparse/sparse-vector.js";
import { htmlText } from "../text/html-text.js";
import { JsonText, type BulkOperation } from "../cluster/bulk-operation.js";
import type { IndexInfo } from "./csplade-index.js";
import {
  DENSE_FIELD,
  isOurField,
  mappedFeatures,
  PASSAGES_FIELD,
  SEAL_FIELD,
  VECTOR_FIELD,
  WHOLE_SEAL,
} from "./index-meta.js";
import { passageId } from "./stored-state.js";
import type { DocumentPlace, StoredState } from "./stored-state.js";
import { stampHash } from "./write-stamp.js";

/** A document to be stored. */
export interface IndexableDocument {
  readonly id: string;
  /** The text that was encoded; passage offsets are UTF-16 code units into it. */
  readonly text: string;
  /** The document's own fields, as they were written. */
  readonly body: JsonObject;
  readonly routing?: string;
  /** Version kept outside the cluster: an older one never overwrites a newer one. */
  readonly version?: number;
  /**
   * Written only over this very state of it, or only if there is none, whatever the version says. The
   * cluster then counts versions itself. Not for `documents` mode, whose steps follow each other.
   */
  readonly over?: DocumentPlace | "nothing";
}

/** One encoded passage. */
export interface PassageVector {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly vector: SparseVector;
  /** What the passage is like as a whole, where the checkpoint tells. */
  readonly dense?: Float32Array | undefined;
}

/** How a document vector is made smaller before it is stored. */
export interface VectorShape extends PruneOptions {
  /** Significant bits kept of a weight, 4 to 24; Lucene keeps 9, and `_source` no more digits than it takes. */
  readonly quantize_bits: number;
}

/** What {@link documentSteps} needs besides the document. */
export interface DocumentContext {
  readonly shape: VectorShape;
  /** From {@link contentHash}; without it the document is never taken for unchanged. */
  readonly hash?: string;
  /** From `textHash`; without it vectors are never taken over when other fields change. */
  readonly text_hash?: string;
  /** What the index holds of it (see `readStored`): `documents` mode removes stale passages by it. */
  readonly stored: StoredState;
}

/**
 * Names the cluster takes for its own. An ingest pipeline, such as the guard, reads them out
 * of the document: `_routing` in a body would move it to another shard.
 */
const METADATA_FIELDS = new Set([
  "_data_stream_timestamp",
  "_doc_count",
  "_dynamic_templates",
  "_feature",
  "_field_names",
  "_id",
  "_if_primary_term",
  "_if_seq_no",
  "_ignored",
  "_index",
  "_nested_path",
  "_primary_term",
  "_routing",
  "_seq_no",
  "_size",
  "_source",
  "_tier",
  "_type",
  "_version",
  "_version_type",
]);

/** Longest id of a document, bytes of UTF-8. */
const MOST_ID_BYTES = 512;

/** A document's vector shape from the configuration. */
export function vectorShape(config: Config): VectorShape {
  return {
    prune_type: config["document.prune_type"],
    prune_ratio: config["document.prune_ratio"],
    quantize_bits: config["document.quantize_bits"],
  };
}

/**
 * Checks what can be checked before encoding.
 * @throws CspladeError `document_rejected` for an id the cluster cannot keep;
 *   `document_wrong_type` for a field name that is csplade's or the cluster's own.
 */
export function checkDocument(
  info: IndexInfo,
  document: Pick<IndexableDocument, "id" | "body">,
): void {
  const { id, body } = document;
  // Room for "#" and a number of up to five digits in the ids of passages.
  const most = info.passages === "documents" ? MOST_ID_BYTES - 6 : MOST_ID_BYTES;
  const bytes = Buffer.byteLength(id);
  if (bytes === 0 || bytes > most) {
    throw new CspladeError(
      "document_rejected",
      `The id has ${bytes} bytes; it must have 1 to ${most}.`,
    );
  }
  if (!id.isWellFormed()) {
    throw new CspladeError(
      "document_rejected",
      "The id holds half a character (a lone surrogate).",
    );
  }
  for (const { name } of body.members) {
    const root = name.split(".", 1)[0] ?? name;
    if (METADATA_FIELDS.has(root)) {
      throw new CspladeError(
        "document_wrong_type",
        `The field name ${name} is the cluster's own and cannot be a field of a document.`,
        { hint: "Rename or remove the field, or make it the id (ingest.id_field)." },
      );
    }
    if (isOurField(root)) {
      throw new CspladeError(
        "document_wrong_type",
        `The field name ${name} is reserved: csplade keeps its vectors in ${VECTOR_FIELD} and ${VECTOR_FIELD}_*.`,
        { hint: "Rename or remove the field." },
      );
    }
  }
}

/**
 * The operations that store a document, in steps: a step may be written only when the
 * one before is acknowledged, and then a crash at any point leaves no stale passage that
 * writing the document again would not remove. `merged` and `nested` need one step.
 *
 * In `documents` mode passage 0 keeps the record: how many passages there may be (never
 * fewer than there are) and, written last, the hash that says the document is complete.
 * @throws CspladeError as {@link checkDocument}.
 */
export function documentSteps(
  info: IndexInfo,
  document: IndexableDocument,
  passages: readonly PassageVector[],
  context: DocumentContext,
): BulkOperation[][] {
  checkDocument(info, document);
  const ours = [modelOf(info), ...hashesOf(document, context)];
  if (info.passages === "merged") {
    const vectors = passages.map((passage) => passage.vector);
    const features = vectors.length === 0 ? "{}" : featuresOf(maxMerge(vectors), context.shape);
    const own = [[VECTOR_FIELD, features] as const, ...denseMember(info, passages), ...ours];
    return [[put(info, document, document.body, own)]];
  }
  if (info.passages === "nested") {
    const texts = passages.map(({ start, end, vector }) => {
      const features = featuresOf(vector, context.shape);
      return `{"start":${start},"end":${end},"${VECTOR_FIELD}":${features}}`;
    });
    const nested = `[${texts.join(",")}]`;
    return [[put(info, document, document.body, [[PASSAGES_FIELD, nested], ...ours])]];
  }
  return passageSteps(info, document, passages, context);
}

/**
 * The operation that stores a document with vectors that were made before from the same text
 * (`readVectors`). Not for `documents` mode.
 * @throws CspladeError as {@link checkDocument}.
 */
export function carriedSteps(
  info: IndexInfo,
  document: IndexableDocument,
  vectors: Readonly<Record<string, unknown>>,
  context: Pick<DocumentContext, "hash" | "text_hash">,
): BulkOperation[][] {
  checkDocument(info, document);
  const carried = Object.entries(vectors).flatMap(([name, value]): NewMember[] =>
    value === undefined ? [] : [[name, JSON.stringify(value)]],
  );
  const ours = [...carried, modelOf(info), ...hashesOf(document, context)];
  return [[put(info, document, document.body, ours)]];
}

/** The operations that remove a document, in steps as {@link documentSteps}. */
export function deletionSteps(
  info: IndexInfo,
  document: Pick<IndexableDocument, "id" | "routing" | "version" | "over">,
  stored: StoredState,
): BulkOperation[][] {
  if (info.passages !== "documents") return [[remove(info, document, document.id)]];
  // Passage 0 goes last: as long as it is there, it tells how many others there may be.
  const others = numbers(1, stored.passages).map((n) =>
    remove(info, document, passageId(document.id, n)),
  );
  const head = [remove(info, document, passageId(document.id, 0))];
  return others.length === 0 ? [head] : [others, head];
}

function passageSteps(
  info: IndexInfo,
  document: IndexableDocument,
  passages: readonly PassageVector[],
  context: DocumentContext,
): BulkOperation[][] {
  const { stored } = context;
  // A document without a passage is kept too: people can still find it by its other fields.
  const count = Math.max(1, passages.length);
  const fieldsOf = passageFields(info, document);
  const child = (n: number, extra: readonly NewMember[]) => {
    const passage = passages[n];
    const { body, shown } = fieldsOf(passage);
    const features = passage === undefined ? "{}" : featuresOf(passage.vector, context.shape);
    const operation = put(info, document, body, [
      ...shown,
      [VECTOR_FIELD, features],
      ...(passage === undefined ? [] : denseMember(info, [passage])),
      ["csplade_parent", JSON.stringify(document.id)],
      modelOf(info),
      ["csplade_passage", String(n)],
      ...extra,
    ]);
    return { ...operation, id: passageId(document.id, n) };
  };
  const countOf = (most: number): NewMember => ["csplade_passage_count", String(most)];
  const others = numbers(1, count).map((n) => child(n, []));
  const stale = numbers(count, stored.passages).map((n) =>
    remove(info, document, passageId(document.id, n)),
  );
  const complete = child(0, [countOf(count), ...hashesOf(document, context)]);
  if (others.length + stale.length === 0) return [[complete]];
  const record = child(0, [countOf(Math.max(count, stored.passages))]);
  // The record that is there already covers passages that grow no further than it says,
  // but its hash must go first if it might come to vouch for a half-written document.
  return [[record], [...others, ...stale], [complete]];
}

/** A passage is found and shown by its own words: it replaces the text that was encoded. */
function passageFields(
  info: IndexInfo,
  document: IndexableDocument,
): (passage: PassageVector | undefined) => {
  readonly body: JsonObject;
  readonly shown: readonly NewMember[];
} {
  const { text_fields, html_fields = [], title_field } = info;
  const shown = text_fields.find((field) => field !== title_field) ?? title_field;
  const body = text_fields
    .filter((field) => field !== title_field || field === shown)
    .reduce((rest, field) => rest.withoutField(field), document.body);
  const written = body.value(title_field);
  const isHtml = typeof written === "string" && html_fields.includes(title_field);
  const title = isHtml ? htmlText(written) : written;
  // The title comes first in the encoded text and stays a field of its own in every passage.
  const prefix =
    shown !== title_field && text_fields[0] === title_field && typeof title === "string"
      ? `${title} `
      : "";
  const bodyStart = document.text.startsWith(prefix) ? prefix.length : 0;
  return (passage) => {
    // Without a passage there is no vector: the whole text stays, for BM25.
    if (passage === undefined) return { body: document.body, shown: [] };
    const start = Math.max(passage.start, Math.min(bodyStart, passage.end));
    const text = document.text.slice(start, passage.end).trim();
    return { body, shown: [[shown, JSON.stringify(text)]] };
  };
}

/** The field of a text's dense vector, in an index that has it. */
function denseMember(info: IndexInfo, passages: readonly PassageVector[]): NewMember[] {
  if (info.dense !== true) return [];
  const bytes = denseBytes(passages.map(({ dense }) => dense));
  return bytes === undefined ? [] : [[DENSE_FIELD, JSON.stringify(bytes)]];
}

function modelOf(info: IndexInfo): NewMember {
  return ["csplade_model", JSON.stringify(info.model.fingerprint)];
}

function hashesOf(
  { version: source, over }: IndexableDocument,
  { hash, text_hash }: Pick<DocumentContext, "hash" | "text_hash">,
): NewMember[] {
  // The first version of a document, or the next one: what the cluster will count.
  const counted = over === undefined ? source : over === "nothing" ? 1 : over.version + 1;
  const stamp = source === undefined || counted === undefined ? {} : { written: counted, source };
  return [
    ...(hash === undefined
      ? []
      : [["csplade_hash", JSON.stringify(stampHash({ hash, ...stamp }))] as const]),
    ...(text_hash === undefined ? [] : [["csplade_text_hash", JSON.stringify(text_hash)] as const]),
  ];
}

/** A vector as it is stored, as JSON. */
function featuresOf(vector: SparseVector, shape: VectorShape): string {
  const rounded = quantize(prune(vector, shape), shape.quantize_bits);
  return shape.quantize_bits > LUCENE_BITS ? featuresJson(rounded) : storedFeaturesJson(rounded);
}

function put(
  info: IndexInfo,
  { id, routing, version, over }: IndexableDocument,
  body: JsonObject,
  ours: readonly NewMember[],
): BulkOperation {
  const features = ours.find(([name]) => name === VECTOR_FIELD)?.[1];
  const text = body.with([
    ...ours,
    ...(info.ann === undefined ? [] : mappedFeatures(features, info.ann)),
    ...(info.store_vectors === false ? [[SEAL_FIELD, JSON.stringify(WHOLE_SEAL)] as const] : []),
  ]);
  return {
    index: info.name,
    id,
    action: over === "nothing" ? "create" : "index",
    document: new JsonText(text),
    ...(routing === undefined ? {} : { routing }),
    ...conditionOf(version, over),
    ...(info.guard === "default_pipeline" ? { pipeline: "_none" } : {}),
  };
}

function remove(
  info: IndexInfo,
  { routing, version, over }: Pick<IndexableDocument, "routing" | "version" | "over">,
  id: string,
): BulkOperation {
  return {
    index: info.name,
    id,
    action: "delete",
    ...(routing === undefined ? {} : { routing }),
    ...conditionOf(version, over),
  };
}

/** `external_gte`, because passage 0 is written twice with the same version. */
function conditionOf(version: number | undefined, over: IndexableDocument["over"]) {
  if (over === "nothing") return {};
  if (over !== undefined) return { if_seq_no: over.seq_no, if_primary_term: over.primary_term };
  return version === undefined ? {} : { version, version_type: "external_gte" as const };
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}
