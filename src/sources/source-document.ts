/** One document of a source: a line of NDJSON, checked. */
import { createHash } from "node:crypto";
import type { ErrorCode } from "../errors/csplade-error.js";

/** Which fields of a document mean what. */
export interface DocumentFields {
  /** Field of the id; `_id` by default (BEIR's and OpenSearch's name). */
  readonly id_field: string;
  /** Fields that are encoded, in this order. */
  readonly text_fields: readonly string[];
}

/** A document that can be encoded. */
export interface SourceDocument {
  readonly id: string;
  /** The text fields joined by a space; not blank. */
  readonly text: string;
  /** The document as it will be stored, without the id field. */
  readonly body: Readonly<Record<string, unknown>>;
}

/** Why a document cannot be taken. */
export interface DocumentProblem {
  readonly code: ErrorCode;
  readonly reason: string;
  /** The document's id, where it could be read. */
  readonly id?: string;
}

/** Longest id OpenSearch and Elasticsearch accept, bytes. */
const MAX_ID_BYTES = 512;

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Checks one line of NDJSON. Never throws: a bad line is a {@link DocumentProblem}. */
export function parseDocument(
  line: Buffer,
  fields: DocumentFields,
): { readonly document: SourceDocument } | { readonly problem: DocumentProblem } {
  let text: string;
  try {
    text = decoder.decode(line);
  } catch {
    return problem("document_malformed", "The line is not valid UTF-8.");
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (thrown) {
    return problem("document_malformed", `The line is not JSON: ${(thrown as Error).message}`);
  }
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) {
    return problem("document_malformed", "The line is JSON but not an object.");
  }
  const { [fields.id_field]: rawId, ...body } = parsed as Record<string, unknown>;
  const id = idOf(rawId, line, fields.id_field);
  if (typeof id !== "string") return { problem: id };
  const found = textOf(id, body, fields.text_fields);
  return "problem" in found ? found : { document: { id, text: found.text, body } };
}

/** The text of a document's text fields, joined by a space; or why there is none. */
export function textOf(
  id: string,
  body: Readonly<Record<string, unknown>>,
  textFields: readonly string[],
): { readonly text: string } | { readonly problem: DocumentProblem } {
  const texts: string[] = [];
  for (const field of textFields) {
    const value = valueAt(body, field);
    const strings = Array.isArray(value) ? (value as unknown[]) : [value];
    for (const each of strings) {
      if (each === undefined || each === null) continue;
      if (typeof each !== "string") {
        return problem(
          "document_wrong_type",
          `The field ${field} must be a string or an array of strings, not ${typeNameOf(each)}.`,
          id,
        );
      }
      if (each.trim() !== "") texts.push(each);
    }
  }
  if (texts.length === 0) {
    const named = textFields.join(", ");
    return problem("document_no_text", `The document has no text in ${named}.`, id);
  }
  return { text: texts.join(" ") };
}

/** A field by name; a name with dots also reaches into objects (`meta.title`). */
function valueAt(body: Readonly<Record<string, unknown>>, field: string): unknown {
  if (Object.hasOwn(body, field)) return body[field];
  let value: unknown = body;
  for (const part of field.split(".")) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, part))
      return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value;
}

function idOf(raw: unknown, line: Buffer, field: string): string | DocumentProblem {
  if (raw === undefined || raw === null) {
    // Deterministic, so that ingesting the same file twice changes nothing.
    return createHash("sha256").update(line).digest("hex").slice(0, 32);
  }
  if (typeof raw !== "string" && typeof raw !== "number") {
    return {
      code: "document_wrong_type",
      reason: `The id field ${field} must be a string or a number, not ${typeNameOf(raw)}.`,
    };
  }
  const id = String(raw);
  const bytes = Buffer.byteLength(id);
  if (bytes === 0 || bytes > MAX_ID_BYTES) {
    return {
      code: "document_rejected",
      reason: `The id has ${bytes} bytes; it must have 1 to ${MAX_ID_BYTES}.`,
      id: id.slice(0, 64),
    };
  }
  return id;
}

function problem(code: ErrorCode, reason: string, id?: string): { problem: DocumentProblem } {
  return { problem: { code, reason, ...(id === undefined ? {} : { id }) } };
}

function typeNameOf(value: unknown): string {
  return Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`;
}
