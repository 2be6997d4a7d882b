/** Files of columns, CSV and TSV, with the names of the columns in the first line: a row is a document. */
import { parse, type CsvError } from "csv-parse";
import { PassThrough, Readable, pipeline } from "node:stream";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { FoundDocument } from "./found-document.js";

/** What the text of a column is in JSON; a string if nothing else is said. */
export const COLUMN_TYPES = ["string", "number", "boolean", "json"] as const;
export type ColumnType = (typeof COLUMN_TYPES)[number];

/** How to read a file of columns. */
export interface ColumnOptions {
  readonly delimiter: string;
  readonly types: Readonly<Record<string, ColumnType>>;
  /** Largest row, bytes. */
  readonly maxBytes: number;
}

interface Row {
  readonly record: string[];
  readonly info: { readonly lines: number };
}

/**
 * Yields a JSON object per row: its fields in the order of the columns, each value a string or, where
 * a type says so, the very characters of the cell as a number, a truth value or JSON.
 * @throws CspladeError `source_unreadable` if the text is not UTF-8, a quote is never closed, or the
 *   header names no column or one twice; `usage` if a type is given for a column that is not there.
 */
export async function* rowDocuments(
  stream: AsyncIterable<Buffer>,
  options: ColumnOptions,
): AsyncGenerator<FoundDocument> {
  const skipped: FoundDocument[] = [];
  let openQuote: CsvError | undefined;
  const parser = parse({
    bom: true,
    delimiter: options.delimiter,
    info: true,
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: options.maxBytes,
    on_skip: (error: CsvError | undefined, raw: string | undefined) => {
      if (error?.code === "CSV_QUOTE_NOT_CLOSED") openQuote = error;
      else skipped.push(badRow(parser.info.lines, raw ?? "", messageOf(error)));
      return undefined;
    },
  });
  // Errors of any stream end the last one, and come out of reading it.
  const rows = pipeline(
    Readable.from(decoded(stream), { objectMode: false }),
    parser,
    new PassThrough({ objectMode: true }),
    () => {},
  ) as AsyncIterable<Row>;
  let columns: Column[] | undefined;
  let line = 1;
  try {
    for await (const { record, info } of rows) {
      yield* skipped.splice(0);
      if (columns === undefined) columns = columnsOf(record, options.types);
      else yield rowDocument(columns, record, line);
      line = info.lines + 1;
    }
    if (openQuote !== undefined) throw openQuote;
  } catch (cause) {
    if (cause instanceof CspladeError) throw cause;
    throw new CspladeError("source_unreadable", `The columns cannot be read: ${messageOf(cause)}`, {
      hint: `The row begins in line ${line}. If quotes are no quotes in this file, double them.`,
      cause,
    });
  }
  yield* skipped;
}

interface Column {
  /** The name as JSON. */
  readonly key: string;
  readonly name: string;
  readonly type: ColumnType;
}

function columnsOf(header: readonly string[], types: ColumnOptions["types"]): Column[] {
  const names = header.map((cell, n) => cell.trim() || `column_${n + 1}`);
  const twice = names.find((name, n) => names.indexOf(name) !== n);
  if (twice !== undefined) {
    throw new CspladeError("source_unreadable", `Two columns are named ${twice}.`, {
      hint: "Give each column a name of its own in the first line.",
    });
  }
  const unknown = Object.keys(types).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new CspladeError(
      "usage",
      `--types names the column ${unknown}; the file has ${names.join(", ")}.`,
    );
  }
  return names.map((name) => ({
    key: JSON.stringify(name),
    name,
    type: Object.hasOwn(types, name) ? (types[name] ?? "string") : "string",
  }));
}

function rowDocument(
  columns: readonly Column[],
  record: readonly string[],
  line: number,
): FoundDocument {
  if (record.length !== columns.length) {
    const reason = `The row has ${record.length} columns, the header ${columns.length}.`;
    return badRow(line, record.join(","), reason);
  }
  const members: string[] = [];
  for (const [n, column] of columns.entries()) {
    const cell = record[n] ?? "";
    const json = valueOf(cell, column.type);
    if (json === undefined) {
      const shown = JSON.stringify(cell.slice(0, 60));
      const reason = `The column ${column.name} must hold a ${column.type}, not ${shown}.`;
      return badRow(line, record.join(","), reason);
    }
    members.push(`${column.key}:${json}`);
  }
  return { line, content: Buffer.from(`{${members.join(",")}}`) };
}

/** A cell as JSON; `null` for an empty one that is no string; undefined if it is not of its type. */
function valueOf(cell: string, type: ColumnType): string | undefined {
  if (type === "string") return JSON.stringify(cell);
  const text = cell.trim();
  if (text === "") return "null";
  if (type === "number")
    return /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text) ? text : undefined;
  if (type === "boolean") {
    const lower = text.toLowerCase();
    return lower === "true" || lower === "false" ? lower : undefined;
  }
  try {
    JSON.parse(text);
    return text;
  } catch {
    return undefined;
  }
}

function badRow(line: number, raw: string, reason: string): FoundDocument {
  return { line, content: Buffer.from(raw), fault: { code: "document_malformed", reason } };
}

/** Text of a stream that must be UTF-8. */
async function* decoded(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      yield decoder.decode(chunk, { stream: true });
      bytes += chunk.length;
    }
    yield decoder.decode();
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new CspladeError(
      "source_unreadable",
      `The text is not UTF-8 (somewhere after byte ${bytes}); it may be Latin-1 or Windows-1252.`,
      { hint: "Convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > FILE.utf8", cause },
    );
  }
}
