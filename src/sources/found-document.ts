/** A document as a reader of some format finds it, before anything of it is judged. */
import type { ErrorCode } from "../errors/csplade-error.js";

/** What a file's format says of a document outside it. */
export interface Beside {
  readonly id?: string;
  readonly routing?: string;
}

/** What a reader yields. */
export interface FoundDocument extends Beside {
  /** Line of the file in which it begins, 1-based. */
  readonly line: number;
  /** Its own JSON text; with a fault, whatever stands in its place. */
  readonly content: Buffer;
  /** Why it is no document. */
  readonly fault?: { readonly code: ErrorCode; readonly reason: string };
}

/** The id and routing alone; undefined if there is neither. */
export function besideOf({
  id,
  routing,
}: {
  readonly [name in keyof Beside]: Beside[name] | undefined;
}): Beside | undefined {
  if (id === undefined && routing === undefined) return undefined;
  return { ...(id === undefined ? {} : { id }), ...(routing === undefined ? {} : { routing }) };
}

/** The fault of a document above `ingest.max_document_bytes`. */
export function tooLarge(bytes: number, most: number): NonNullable<FoundDocument["fault"]> {
  return {
    code: "document_too_large",
    reason: `The document has ${bytes} bytes; ingest.max_document_bytes is ${most}.`,
  };
}
