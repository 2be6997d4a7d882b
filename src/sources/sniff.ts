/** What a file is, told from its first bytes; and what it looks like where it cannot be taken. */
import { parse } from "csv-parse/sync";
import { BYTE_ORDER_MARK, startsWithMark } from "./unpack.js";

/** The formats of files that documents are taken from. */
export const FILE_FORMATS = [
  "ndjson",
  "json-array",
  "json-objects",
  "bulk",
  "elasticdump",
  "csv",
  "tsv",
  "parquet",
  "folder",
] as const;

/** How documents stand in a file. */
export type FileFormat = (typeof FILE_FORMATS)[number];

/** A format that was recognised, or why none was. */
export type Sniffed =
  | { readonly format: FileFormat; /** Of columns. */ readonly delimiter?: string }
  | { readonly looksLike: string; readonly advice: string };

/** What people call the formats. */
export const FORMAT_NAMES: Readonly<Record<FileFormat, string>> = {
  ndjson: "NDJSON",
  "json-array": "a JSON array",
  "json-objects": "JSON objects one after another",
  bulk: "a _bulk body",
  elasticdump: "elasticdump's lines",
  csv: "CSV",
  tsv: "TSV",
  parquet: "Parquet",
  folder: "a folder of Markdown, HTML and text files",
};

/** Bytes of a file that are looked at. */
export const SNIFFED_BYTES = 262_144;

/**
 * Tells the format of unpacked bytes.
 * @param whole true if the head is the whole file
 */
export function sniff(head: Buffer, whole: boolean): Sniffed {
  const binary = binaryOf(head);
  if (binary !== undefined) return binary;
  const marked = startsWithMark(head);
  const bytes = marked ? head.subarray(BYTE_ORDER_MARK.length) : head;
  const text = bytes.toString("utf8");
  const begin = text.trimStart();
  if (begin === "") return { format: "ndjson" };
  if (begin.startsWith("{")) return { format: objectsFormat(begin, whole) };
  if (/^\[\s*(\{|\]|$)/.test(begin)) return { format: "json-array" };
  if (begin.startsWith("[")) {
    return {
      looksLike: "a JSON array of something other than objects",
      advice: "Documents are JSON objects; write one per element.",
    };
  }
  const markup = markupOf(begin);
  if (markup !== undefined) return markup;
  // Of JSON, only the lines that are no UTF-8 fail; columns are one text.
  if (!isUtf8(bytes)) {
    return {
      looksLike: "text that is not UTF-8 (Latin-1 or Windows-1252?)",
      advice: iconv("WINDOWS-1252"),
    };
  }
  return columnsOf(text, whole) ?? plainText(begin);
}

const iconv = (encoding: string) => `Convert it: iconv -f ${encoding} -t UTF-8 FILE > FILE.utf8`;
const unpackFirst = (command: string) => `Unpack it: ${command} FILE | csplade ingest - …`;

/** Binary formats by the bytes they begin with. */
const SIGNATURES: readonly (readonly [bytes: string, looksLike: string, advice: string])[] = [
  ["PARE", "encrypted Parquet", "Write it without encryption."],
  ["PK\x03\x04", "a zip archive or an Excel workbook", "Unzip it, or save the sheet as CSV."],
  ["%PDF", "a PDF", "Take its text out (pdftotext) and write NDJSON with a field for it."],
  ["Obj\x01", "Avro", "Export it as NDJSON (avro-tools tojson)."],
  ["ORC", "ORC", "Export it as NDJSON."],
  ["ARROW1", "Arrow", "Export it as NDJSON."],
  ["SQLite format 3\0", "an SQLite database", "Export it: sqlite3 -json FILE 'SELECT …'."],
  ["BZh", "bzip2", unpackFirst("bzcat")],
  ["\xfd7zXZ\0", "xz", unpackFirst("xzcat")],
  ["7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it."],
  ["\x04\x22\x4d\x18", "lz4", unpackFirst("lz4cat")],
  ["\xff\x06\0\0sNaPpY", "snappy", "Unpack it."],
  ["\xff\xfe\0\0", "UTF-32 text", iconv("UTF-32")],
  ["\0\0\xfe\xff", "UTF-32 text", iconv("UTF-32")],
  ["\xff\xfe", "UTF-16 text", iconv("UTF-16")],
  ["\xfe\xff", "UTF-16 text", iconv("UTF-16")],
  ["\xd0\xcf\x11\xe0", "an old Office document", "Save it as CSV or as text."],
  ["\x80\x04\x95", "a Python pickle", "Write it as NDJSON."],
];

function binaryOf(head: Buffer): Sniffed | undefined {
  const latin1 = head.toString("latin1", 0, 64);
  if (latin1.startsWith("PAR1")) return { format: "parquet" };
  for (const [bytes, looksLike, advice] of SIGNATURES) {
    if (latin1.startsWith(bytes)) return { looksLike, advice };
  }
  if (head.toString("latin1", 257, 262) === "ustar") {
    return { looksLike: "a tar archive", advice: unpackFirst("tar -xOf") };
  }
  const nul = head.indexOf(0);
  if (nul < 0) return undefined;
  // ASCII in UTF-16 has a NUL beside every character.
  const nuls = head.subarray(0, 64).filter((byte) => byte === 0).length;
  if (nul <= 1 && nuls * 2 >= Math.min(64, head.length) - 1) {
    return { looksLike: "UTF-16 text", advice: iconv(nul === 0 ? "UTF-16BE" : "UTF-16LE") };
  }
  return { looksLike: "binary data", advice: "Write the documents as NDJSON." };
}

/** Whether bytes are UTF-8, but for a character that their end may have cut. */
function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}

/** Formats whose first character is a brace. */
function objectsFormat(begin: string, whole: boolean): FileFormat {
  const lines = begin.split("\n");
  const first = objectOf(lines[0] ?? "");
  if (first !== undefined) {
    if (isAction(first, objectOf(lines[1] ?? ""))) return "bulk";
    if (isHit(first)) return "elasticdump";
    return "ndjson";
  }
  // Its first line is no object by itself: a broken line among good ones, or an object over lines?
  const complete = whole ? lines : lines.slice(0, -1);
  if (complete.length < 2 && !(whole && /\}\s*\{/.test(begin))) return "ndjson";
  if (complete.slice(1).some((line) => line.startsWith("{") && objectOf(line) !== undefined)) {
    return "ndjson";
  }
  // `{"a":1}{"a":2}` in one line, or a line that a pretty printer makes.
  return /^\{\s*($|"|\})/.test(lines[0] ?? "") ? "json-objects" : "ndjson";
}

function objectOf(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value = JSON.parse(line) as unknown;
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** What an action line of `_bulk` may say about its document. */
const ACTION_KEYS = new Set(
  (
    "_index _id _type routing _routing version _version version_type _version_type pipeline " +
    "if_seq_no if_primary_term require_alias require_data_stream retry_on_conflict dynamic_templates " +
    "list_executed_pipelines op_type parent _parent"
  ).split(" "),
);

function isAction(line: Readonly<Record<string, unknown>>, next: unknown): boolean {
  const [name, ...others] = Object.keys(line);
  if (name === undefined || others.length > 0) return false;
  const about = line[name];
  if (!isObject(about) || !Object.keys(about).every((key) => ACTION_KEYS.has(key))) return false;
  return name === "delete" || (["index", "create", "update"].includes(name) && next !== undefined);
}

function isHit(line: Readonly<Record<string, unknown>>): boolean {
  return isObject(line._source) && (typeof line._id === "string" || "_index" in line);
}

function markupOf(begin: string): Sniffed | undefined {
  const start = begin.slice(0, 256).toLowerCase();
  if (start.startsWith("<!doctype html") || /^(<!--.*?-->\s*)*<html[\s>]/s.test(start)) {
    return {
      looksLike: "HTML",
      advice: "Name the folder that it is in: its Markdown, HTML and text files are taken.",
    };
  }
  if (start.startsWith("<")) {
    return { looksLike: "XML", advice: "Write its records as NDJSON, one object per line." };
  }
  return undefined;
}

/** Delimiters of columns, and what a file with them is. */
const DELIMITERS: readonly (readonly [delimiter: string, format: FileFormat])[] = [
  ["\t", "tsv"],
  [",", "csv"],
  [";", "csv"],
  ["|", "csv"],
];

/** Rows that are looked at. */
const SNIFFED_ROWS = 50;

function columnsOf(text: string, whole: boolean): Sniffed | undefined {
  for (const [delimiter, format] of DELIMITERS) {
    const rows = rowsOf(text, delimiter, whole);
    const [header, ...others] = rows;
    if (header === undefined || header.length < 2 || others.length === 0) continue;
    const fitting = others.filter((row) => row.length === header.length).length;
    if (fitting < 0.5 * others.length || others[0]?.length !== header.length) continue;
    if (!isNumber(header[0] ?? "") && header.every((name) => name.length <= 128)) {
      return { format, delimiter };
    }
    return {
      looksLike: `${FORMAT_NAMES[format]} without a header line`,
      advice: `Put the names of the columns into its first line (or, if they are there, add --format ${format}).`,
    };
  }
  return undefined;
}

/** Delimiter of a file that is said to have columns: the one that its first line has most of. */
export function delimiterOf(head: Buffer, format: "csv" | "tsv"): string {
  if (format === "tsv") return "\t";
  const line = head.toString("utf8").split("\n", 1)[0] ?? "";
  const counts = [",", ";", "|", "\t"].map((each) => [each, line.split(each).length] as const);
  return counts.reduce((best, each) => (each[1] > best[1] ? each : best))[0];
}

function rowsOf(text: string, delimiter: string, whole: boolean): string[][] {
  try {
    const rows = parse(text, {
      delimiter,
      relax_column_count: true,
      relax_quotes: true,
      skip_empty_lines: true,
      skip_records_with_error: true,
      to: SNIFFED_ROWS + 1,
    });
    // The head may have cut the last row.
    return whole || rows.length > SNIFFED_ROWS ? rows : rows.slice(0, -1);
  } catch {
    // A quote that is opened and not closed within the head.
    return [];
  }
}

function isNumber(cell: string): boolean {
  return /^\s*[-+]?\d+([.,]\d+)?\s*$/.test(cell);
}

function plainText(begin: string): Sniffed {
  const line = begin.split("\n", 1)[0] ?? "";
  const shown = line.length > 60 ? `${line.slice(0, 60)}…` : line;
  return {
    looksLike: `plain text (${JSON.stringify(shown)})`,
    advice:
      "Write NDJSON: one JSON object per line, with the text in a field; or name a folder of text files (*.txt, *.md).",
  };
}
