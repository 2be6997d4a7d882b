/** A look at the first documents of a source before any work begins. */
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import { parseDocument, type DocumentFields } from "./source-document.js";
import { sourceLines, type SourceFile } from "./source-file.js";

/** Documents that are looked at. */
const LOOKED_AT = 1_000;

/** Bytes that are looked at: a thousand documents may be of any size. */
const MOST_BYTES = 268_435_456;

/** Texts that are kept: enough for a mean, and no more characters than memory has room for. */
const MOST_TEXTS = 500;
const MOST_CHARACTERS = 8_000_000;

/** What the first documents are like. */
export interface FirstDocuments {
  /** Names of their fields, in the order in which they were met. */
  readonly fields: readonly string[];
  /** The first that can be taken, as it will be stored. */
  readonly first: { readonly id: string; readonly json: string } | undefined;
  /** Texts of the first that can be taken, a few hundred at most. */
  readonly texts: readonly string[];
}

interface Failure {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly place: string;
}

/**
 * Reads the first thousand documents, fewer if there are no more.
 * @param isFeed the index takes documents already: a batch of fewer than a thousand may be all wrong,
 *   and whoever feeds it must get past it.
 * @throws CspladeError with their own code if all fail, and for one reason: it would be the reason of
 *   the others too; `source_unreadable`.
 */
export async function lookAtFirst(
  files: readonly SourceFile[],
  fields: DocumentFields,
  maxBytes: number,
  isFeed = false,
): Promise<FirstDocuments> {
  const names = new Set<string>();
  let first: FirstDocuments["first"];
  let failure: Failure | undefined;
  let isOneReason = true;
  let read = 0;
  let bytes = 0;
  const texts: string[] = [];
  let characters = 0;
  const isEnough = () => texts.length === MOST_TEXTS || characters > MOST_CHARACTERS;
  for await (const { file, found } of documentsOf(files, maxBytes)) {
    if (read === LOOKED_AT || bytes > MOST_BYTES) break;
    read += 1;
    bytes += found.content.length;
    if (first === undefined || names.size === 0) noteNames(names, found.content);
    const parsed =
      found.fault === undefined
        ? parseDocument(found.content, fields, found)
        : { problem: found.fault };
    if ("document" in parsed) {
      const { id, body, text } = parsed.document;
      if (!isEnough()) {
        texts.push(text);
        characters += text.length;
      }
      first ??= { id, json: body.text };
      isOneReason = false;
      if (failure !== undefined && isEnough()) break;
      continue;
    }
    const { code, reason } = parsed.problem;
    failure ??= { code, reason, place: `line ${found.line} of ${file.origin.name}` };
    if (code !== failure.code) isOneReason = false;
    if (first !== undefined && isEnough()) break;
  }
  const isTold = isOneReason && (!isFeed || read >= LOOKED_AT);
  if (failure !== undefined && isTold) throw allFail(failure, read, [...names]);
  return { fields: [...names], first, texts };
}

async function* documentsOf(files: readonly SourceFile[], maxBytes: number) {
  for (const file of files) {
    for await (const { found } of sourceLines(file, maxBytes)) {
      if (found !== undefined) yield { file, found };
    }
  }
}

/** Names that an error lists. */
const MOST_NAMES = 40;

function allFail({ code, reason, place }: Failure, read: number, names: string[]): CspladeError {
  const which = read === 1 ? "The only document fails" : `All of the first ${read} documents fail`;
  const more = names.length > MOST_NAMES ? `, and ${names.length - MOST_NAMES} more` : "";
  const have = `the documents have: ${names.slice(0, MOST_NAMES).join(", ")}${more}`;
  const hint =
    code === "document_no_text" || code === "document_wrong_type"
      ? "Name the fields with --text-fields (and --id-field)."
      : "Name the file's format with --format if it was taken for another one.";
  return new CspladeError(
    code,
    `${which} for one reason, so nothing was ingested. ${reason} (${place}${names.length > 0 ? `; ${have}` : ""})`,
    { hint },
  );
}

/** Adds the names of a document's fields. */
function noteNames(names: Set<string>, content: Buffer): void {
  try {
    const value: unknown = JSON.parse(content.toString("utf8"));
    if (value === null || typeof value !== "object" || Array.isArray(value)) return;
    for (const name of Object.keys(value)) names.add(name);
  } catch {
    // No JSON has no fields.
  }
}
