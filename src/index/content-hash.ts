/**
 * A hash of everything that decides what is stored for a document. The same hash means
 * the index already holds the outcome, so the document need not be encoded again.
 */
import { hash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { vectorRecord, htmlRecord } from "../config/document-identity.js";
import type { JsonObject } from "../json/json-object.js";
import type { IndexPlan } from "./index-meta.js";
import type { VectorShape } from "./index-document.js";

/** Settings besides the document that change its vectors. */
export interface EncodingChoices extends VectorShape {
  /** Setting `ingest.max_passages`. */
  readonly max_passages: number;
}

/**
 * 11 characters over the document (field order does not matter, the spelling of numbers does), the
 * model's fingerprint, the text fields, which of them hold HTML, how much of what the model adds counts, and the encoding choices. Of a document whose numbers are
 * written as JavaScript writes them it is what it was before numbers kept their spelling; another one
 * is encoded and written once more.
 * @param worth whether it is encoded at all (`ingest.min_quality`).
 */
export function contentHash(
  body: JsonObject,
  plan: IndexPlan,
  choices: EncodingChoices,
  worth = true,
): string {
  // Which texts are read out of the body, where that is not told by `text_fields` alone.
  const html = "html_fields" in htmlRecord(plan) ? [htmlRecord(plan)] : [];
  return hashOf([...contextOf(plan, choices, worth), ...html], body.canonical());
}

/**
 * 11 characters over what decides a document's vectors: its text, the model's fingerprint, how much of
 * what it adds counts, and the encoding choices. The same hash means that vectors can be taken over when only other fields changed.
 */
export function textHash(
  text: string,
  plan: IndexPlan,
  choices: EncodingChoices,
  worth = true,
): string {
  return hashOf(contextOf(plan, choices, worth), text);
}

function contextOf(plan: IndexPlan, choices: EncodingChoices, worth: boolean): unknown[] {
  const { prune_type, prune_ratio, quantize_bits, max_passages } = choices;
  return [
    // Raise when documents are stored differently, so that they are written again.
    2,
    plan.model.fingerprint,
    plan.passages,
    plan.text_fields,
    plan.title_field,
    prune_type,
    prune_type === "none" ? 0 : prune_ratio,
    quantize_bits,
    max_passages,
    // The decision and not the threshold: raising it must not encode again what it still lets through.
    ...(worth ? [] : ["low quality"]),
    ...(plan.mean_length === undefined ? [] : [{ mean_length: plan.mean_length }]),
    ...(isDeepStrictEqual(vectorRecord(plan), {}) ? [] : [vectorRecord(plan)]),
  ];
}

/**
 * 66 bits: a hash is only compared with that of the same document before, and every character of it
 * is stored with every document.
 */
const HASH_CHARACTERS = 11;

function hashOf(context: unknown, content: string): string {
  const text = `${JSON.stringify(context)}\n${content}`;
  return hash("sha256", text, "base64url").slice(0, HASH_CHARACTERS);
}
