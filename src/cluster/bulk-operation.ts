/** One operation of a bulk write, its lines in a `_bulk` body, and its outcome. */
import { messageOf } from "../errors/csplade-error.js";

/**
 * A value that is JSON already. A vector has hundreds of numbers under names that are numbers: an
 * object of them costs twenty times what its text does, and every written document has one.
 */
export class JsonText {
  /** @param text one JSON value; it is not checked. */
  constructor(readonly text: string) {}

  /** The value, for whoever writes JSON in the ordinary way. */
  toJSON(): unknown {
    return JSON.parse(this.text);
  }
}

/** What to do with one document. */
export interface BulkOperation {
  readonly index: string;
  readonly id: string;
  /**
   * `index` replaces, `create` writes only if the id is free, `delete` removes. With an id of the
   * caller's choice all three may be sent twice (after a lost answer) without changing the outcome.
   */
  readonly action: "index" | "create" | "delete";
  /** The document: its JSON text, or an object whose fields may be {@link JsonText}; not for `delete`. */
  readonly document?: object | JsonText;
  readonly routing?: string;
  /** Version kept outside the cluster: an older one never overwrites a newer one. */
  readonly version?: number;
  /** Write only if the document is still the one that was read; skipped otherwise. */
  readonly if_seq_no?: number;
  readonly if_primary_term?: number;
  /** Ingest pipeline in place of the index's default one; `_none` for no such pipeline. */
  readonly pipeline?: string;
  /** `external` (default): only a higher version is written; `external_gte`: or the same again. */
  readonly version_type?: "external" | "external_gte";
}

/** What became of one operation. */
export type WriteResult =
  | {
      readonly status: "written";
      readonly result: string;
      /** Of a `create`: where the new document stands. */
      readonly place?: {
        readonly version: number;
        readonly seq_no: number;
        readonly primary_term: number;
      };
    }
  /** Not written because the cluster already has it: a newer version, or the id of a `create`. */
  | { readonly status: "skipped"; readonly reason: string }
  /** Refused for good; the reason is the cluster's. */
  | { readonly status: "failed"; readonly reason: string };

/** Identifies the document an operation is about. */
export function targetOf(operation: BulkOperation): string {
  return `${operation.index}\n${operation.id}`;
}

/** Lines of a `_bulk` body, or why there can be none (a cycle, a BigInt). */
export function linesOf(
  operation: BulkOperation,
): { readonly lines: string } | { readonly problem: string } {
  const { action, index, id, routing, version, version_type } = operation;
  const { if_seq_no, if_primary_term, pipeline } = operation;
  const head = JSON.stringify({
    [action]: {
      _index: index,
      _id: id,
      ...(routing === undefined ? {} : { routing }),
      ...(version === undefined ? {} : { version, version_type: version_type ?? "external" }),
      ...(if_seq_no === undefined ? {} : { if_seq_no, if_primary_term }),
      ...(pipeline === undefined ? {} : { pipeline }),
    },
  });
  if (action === "delete") return { lines: `${head}\n` };
  try {
    return { lines: `${head}\n${textOf(operation.document ?? {})}\n` };
  } catch (thrown) {
    return { problem: `The document cannot be written as JSON: ${messageOf(thrown)}` };
  }
}

/** A document of an operation as the cluster reads it. */
export function plainDocument(document: object | JsonText): Readonly<Record<string, unknown>> {
  return JSON.parse(textOf(document)) as Record<string, unknown>;
}

/** A document as JSON: its fields in their order, and those that are JSON already as they are. */
function textOf(document: object | JsonText): string {
  // A line feed ends an operation; in JSON it stands between tokens only.
  if (document instanceof JsonText) return document.text.replaceAll("\n", " ");
  const fields: [name: string, value: unknown][] = Object.entries(document);
  if (!fields.some(([, value]) => value instanceof JsonText)) return JSON.stringify(document);
  const parts: string[] = [];
  let from = 0;
  const close = (to: number) => {
    const text = JSON.stringify(Object.fromEntries(fields.slice(from, to)));
    if (text !== "{}") parts.push(text.slice(1, -1));
  };
  for (const [i, [name, value]] of fields.entries()) {
    if (!(value instanceof JsonText)) continue;
    close(i);
    parts.push(`${JSON.stringify(name)}:${value.text}`);
    from = i + 1;
  }
  close(fields.length);
  return `{${parts.join(",")}}`;
}
