/** One document of a source: its own JSON text, and what was read from it. */
import { createHash } from "node:crypto";
import type { TextFields } from "../config/document-identity.js";
import type { ErrorCode } from "../errors/csplade-error.js";
import { JsonObject, withoutMembers } from "../json/json-object.js";
import { htmlText } from "../text/html-text.js";

/** Which fields of a document mean what. */
export interface DocumentFields extends TextFields {
  /** Field of the id; `_id` by default (BEIR's and OpenSearch's name). */
  readonly id_field: string;
}

/** A document that can be encoded. */
export interface SourceDocument {
  readonly id: string;
  /** The text fields joined by a space, of those with HTML its text; not blank. */
  readonly text: string;
  /** The document as it will be stored: as it came, but for `_id`, which no cluster takes in a document. */
  readonly body: JsonObject;
}

/** Why a document cannot be taken. */
export interface DocumentProblem {
  readonly code: ErrorCode;
  readonly reason: string;
  /** The document's id, where it could be read. */
  readonly id?: string;
}

/** The id field whose name no document may have when it is stored. */
const ID_FIELD = "_id";

/** Longest id OpenSearch and Elasticsearch accept, bytes. */
const MAX_ID_BYTES = 512;

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Checks one document. Never throws: a bad one is a {@link DocumentProblem}.
 * @param beside what the file's format says of the document outside it; its id counts as the field `_id`.
 */
export function parseDocument(
  line: Buffer,
  fields: DocumentFields,
  beside: { readonly id?: string } = {},
): { readonly document: SourceDocument } | { readonly problem: DocumentProblem } {
  let text: string;
  try {
    text = decoder.decode(line);
  } catch {
    return problem("document_malformed", "The line is not valid UTF-8.");
  }
  const read = JsonObject.read(text);
  if ("problem" in read) return problem("document_malformed", `The line ${read.problem}.`);
  const { object } = read;
  const isBeside = fields.id_field === ID_FIELD && beside.id !== undefined;
  const rawId = isBeside ? JSON.stringify(beside.id) : object.textOf(fields.id_field);
  const id = idOf(rawId, line, fields.id_field);
  if (typeof id !== "string") return { problem: id };
  const body = fields.id_field === ID_FIELD ? object.without((name) => name === ID_FIELD) : object;
  const found = textOf(id, body, fields);
  return "problem" in found ? found : { document: { id, text: found.text, body } };
}

/**
 * Checks a document that an index holds. Never throws.
 * @param source its text; the fields that are csplade's are left out of what is taken.
 */
export function storedSourceDocument(
  id: string,
  source: string,
  isOurs: (name: string) => boolean,
  fields: TextFields,
): { readonly document: SourceDocument } | { readonly problem: DocumentProblem } {
  const read = JsonObject.read(withoutMembers(source, isOurs));
  if ("problem" in read) return problem("document_malformed", `The document ${read.problem}.`, id);
  const body = read.object;
  const found = textOf(id, body, fields);
  return "problem" in found ? found : { document: { id, text: found.text, body } };
}

/** The text of a document's text fields, joined by a space; or why there is none. */
function textOf(
  id: string,
  body: JsonObject,
  { text_fields, html_fields = [] }: TextFields,
): { readonly text: string } | { readonly problem: DocumentProblem } {
  const texts: string[] = [];
  for (const field of text_fields) {
    const isHtml = html_fields.includes(field);
    for (const each of body.valuesAt(field).flat()) {
      if (each === undefined || each === null) continue;
      if (typeof each !== "string") {
        return problem(
          "document_wrong_type",
          `The field ${field} must be a string or an array of strings, not ${typeNameOf(each)}.`,
          id,
        );
      }
      const text = isHtml ? htmlText(each) : each;
      if (text.trim() !== "") texts.push(text);
    }
  }
  if (texts.length === 0) {
    const named = text_fields.join(", ");
    return problem("document_no_text", `The document has no text in ${named}.`, id);
  }
  return { text: texts.join(" ") };
}

/** The id, from the text of the id field's value: a number is its digits, however many. */
function idOf(raw: string | undefined, line: Buffer, field: string): string | DocumentProblem {
  if (raw === undefined || raw === "null") {
    // Deterministic, so that ingesting the same file twice changes nothing.
    return createHash("sha256").update(line).digest("hex").slice(0, 32);
  }
  const isString = raw.startsWith('"');
  if (!isString && !/^[-\d]/.test(raw)) {
    return {
      code: "document_wrong_type",
      reason: `The id field ${field} must be a string or a number, not ${typeNameOf(JSON.parse(raw))}.`,
    };
  }
  const id = isString ? (JSON.parse(raw) as string) : raw;
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
