/**
 * Parquet files: a row is a document, its columns are the fields. Numbers keep the digits that the file
 * has: 64-bit integers and decimals are written out, a time has the parts of a second that it was stored with.
 */
import { isUtf8 } from "node:buffer";
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetRead,
  parquetSchema,
  type FileMetaData,
  type ParquetParsers,
  type SchemaTree,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { tooLarge, type FoundDocument } from "./found-document.js";

/** Largest row group that is read, bytes unpacked: one is in memory at a time. */
const MOST_GROUP_BYTES = 1_073_741_824;

/** JSON text that stands as it is. */
class Verbatim {
  constructor(readonly text: string) {}
}

/** A value that JSON has no word for. */
class Unwritable extends Error {}

interface Column {
  readonly name: string;
  /** Digits behind the point, of a decimal. */
  readonly scale: number | undefined;
  /** All its numbers have 32 bits, and need no more digits than that. */
  readonly isSingle: boolean;
}

/**
 * Yields a JSON object per row, its fields in the order of the columns. Absent values and NaN are null,
 * bytes that are no text are base64, times are ISO 8601 in UTC.
 * @param file a path: the format is read from its end.
 * @param maxBytes largest document.
 * @throws CspladeError `source_unreadable` for a file that is damaged; `source_unsupported` for decimals
 *   within lists or structs, two columns of one name, and row groups above a gigabyte.
 */
export async function* parquetDocuments(
  file: string,
  maxBytes: number,
): AsyncGenerator<FoundDocument> {
  const buffer = await asyncBufferFromFile(file);
  const metadata = await read(() => parquetMetadataAsync(buffer));
  const columns = columnsOf(metadata);
  let first = 0;
  for (const group of metadata.row_groups) {
    demandSmall(Number(group.total_byte_size));
    const after = first + Number(group.num_rows);
    let rows: readonly (readonly unknown[])[] = [];
    await read(() =>
      parquetRead({
        file: buffer,
        metadata,
        compressors,
        parsers,
        geoparquet: false,
        // Bytes without a word on what they are may be text or not.
        utf8: false,
        rowFormat: "array",
        rowStart: first,
        rowEnd: after,
        onComplete: (found) => (rows = found as unknown[][]),
      }),
    );
    for (const [i, row] of rows.entries()) yield documentOf(row, columns, first + i + 1, maxBytes);
    first = after;
  }
}

async function read<T>(doing: () => Promise<T>): Promise<T> {
  try {
    return await doing();
  } catch (cause) {
    throw new CspladeError("source_unreadable", `It is damaged: ${messageOf(cause)}`, { cause });
  }
}

function demandSmall(bytes: number): void {
  if (bytes <= MOST_GROUP_BYTES) return;
  throw new CspladeError(
    "source_unsupported",
    `A row group has ${bytes} bytes; at most ${MOST_GROUP_BYTES} are taken at a time.`,
    { hint: "Write it with smaller row groups (DuckDB: ROW_GROUP_SIZE 100000)." },
  );
}

/** The columns; decimals are from now on read as the integers that they are stored as. */
function columnsOf(metadata: FileMetaData): Column[] {
  const names = new Set<string>();
  return parquetSchema(metadata).children.map((tree) => {
    const { name } = tree.element;
    if (names.has(name)) {
      throw new CspladeError("source_unsupported", `Two of its columns are called ${name}.`);
    }
    names.add(name);
    for (const part of partsOf(tree)) demandReadable(part, name);
    const leaves = partsOf(tree).filter(({ children }) => children.length === 0);
    const isSingle = leaves.every(({ element }) => element.type === "FLOAT");
    if (!isDecimal(tree)) return { name, scale: undefined, isSingle };
    const { logical_type: kind } = tree.element;
    const scale = (kind?.type === "DECIMAL" ? kind.scale : undefined) ?? tree.element.scale ?? 0;
    delete tree.element.converted_type;
    return { name, scale, isSingle };
  });
}

function partsOf(tree: SchemaTree): SchemaTree[] {
  return [tree, ...tree.children.flatMap(partsOf)];
}

function demandReadable(part: SchemaTree, column: string): void {
  const isNested = part.path.length > 1;
  if (isNested && isDecimal(part)) {
    throw new CspladeError(
      "source_unsupported",
      `Its column ${column} has decimals within a list or a struct, whose digits would not be kept.`,
      { hint: "Write them as strings or as doubles." },
    );
  }
  if (isNested && part.element.name === "__proto__") {
    throw new CspladeError(
      "source_unsupported",
      `Its column ${column} has a part named __proto__.`,
    );
  }
}

function isDecimal({ element }: SchemaTree): boolean {
  return element.converted_type === "DECIMAL" || element.logical_type?.type === "DECIMAL";
}

function documentOf(
  row: readonly unknown[],
  columns: readonly Column[],
  line: number,
  maxBytes: number,
): FoundDocument {
  const members: string[] = [];
  for (const [i, column] of columns.entries()) {
    try {
      members.push(`${JSON.stringify(column.name)}:${cellText(row[i], column)}`);
    } catch (thrown) {
      if (!(thrown instanceof Unwritable)) throw thrown;
      const reason = `The column ${column.name} holds ${thrown.message}, which JSON cannot.`;
      return { line, content: Buffer.alloc(0), fault: { code: "document_malformed", reason } };
    }
  }
  const content = Buffer.from(`{${members.join(",")}}`);
  if (content.length <= maxBytes) return { line, content };
  return { line, content: Buffer.alloc(0), fault: tooLarge(content.length, maxBytes) };
}

function cellText(value: unknown, { scale, isSingle }: Column): string {
  if (scale === undefined || value === null || value === undefined) return textOf(value, isSingle);
  const digits = value instanceof Uint8Array ? signed(value) : BigInt(value as number | bigint);
  return pointed(digits, scale);
}

/** Big-endian, two's complement. */
function signed(bytes: Uint8Array): bigint {
  const value = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return BigInt.asIntN(bytes.length * 8, value);
}

function pointed(value: bigint, scale: number): string {
  if (scale <= 0) return `${value * 10n ** BigInt(-scale)}`;
  const digits = `${value < 0n ? -value : value}`.padStart(scale + 1, "0");
  return `${value < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

function textOf(value: unknown, isSingle: boolean): string {
  if (value === null || value === undefined) return "null";
  if (typeof value === "bigint") return `${value}`;
  if (typeof value === "number") return numberText(value, isSingle);
  if (value instanceof Verbatim) return value.text;
  if (value instanceof Uint8Array) return JSON.stringify(bytesText(value));
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    const items = Array.from(value as Iterable<unknown>, (item) => textOf(item, isSingle));
    return `[${items.join(",")}]`;
  }
  if (typeof value === "object") {
    const members = Object.entries(value).map(
      ([name, member]) => `${JSON.stringify(name)}:${textOf(member, isSingle)}`,
    );
    return `{${members.join(",")}}`;
  }
  return JSON.stringify(value);
}

function numberText(value: number, isSingle: boolean): string {
  if (Number.isNaN(value)) return "null";
  if (!Number.isFinite(value)) throw new Unwritable(String(value));
  if (Object.is(value, -0)) return "-0";
  if (!isSingle) return String(value);
  for (let digits = 6; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits));
    if (Math.fround(shorter) === value) return String(shorter);
  }
  return String(value);
}

function bytesText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isUtf8(buffer) ? buffer.toString("utf8") : buffer.toString("base64");
}

const parsers: Partial<ParquetParsers> = {
  timestampFromMilliseconds: (time: bigint | number | null) => timeText(time, 3),
  timestampFromMicroseconds: (time: bigint | number | null) => timeText(time, 6),
  timestampFromNanoseconds: (time: bigint | number | null) => timeText(time, 9),
  dateFromDays: (days: number | null) =>
    days === null ? null : isoOf(BigInt(days) * 86_400n).slice(0, -"T00:00:00".length),
  jsonFromBytes(bytes: Uint8Array | null) {
    if (bytes === null) return null;
    const text = bytesText(bytes);
    try {
      JSON.parse(text);
    } catch {
      return text;
    }
    return new Verbatim(text);
  },
  // Shapes on a map stay what they are stored as.
  geometryFromBytes: (bytes: Uint8Array | null) => bytes,
  geographyFromBytes: (bytes: Uint8Array | null) => bytes,
};

/** A moment as ISO 8601 with all of its `digits` behind the second. */
function timeText(time: bigint | number | null, digits: number): string | null {
  if (time === null) return null;
  const unit = 10n ** BigInt(digits);
  const part = ((BigInt(time) % unit) + unit) % unit;
  return `${isoOf((BigInt(time) - part) / unit)}.${`${part}`.padStart(digits, "0")}Z`;
}

/** @throws RangeError beyond the years that a date can have. */
function isoOf(seconds: bigint): string {
  return new Date(Number(seconds) * 1_000).toISOString().slice(0, -".000Z".length);
}
