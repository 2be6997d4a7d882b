/** A file that is read line by line, and what stands in its lines. */
import { createReadStream } from "node:fs";
import { tooLarge, type FoundDocument } from "./found-document.js";
import { HIT_OVERHEAD, readHit } from "./hit-line.js";
import { isBlank, linesOf, type Line } from "./lines.js";
import type { FileFormat } from "./sniff.js";
import type { Compression } from "./unpack.js";

/** What a line holds: a document, or a hit with the document in it. */
export type LineForm = "document" | "hit";

/** What the user named, and what it was found to be. */
export interface FileOrigin {
  /** As the user named it; `-` for standard input. */
  readonly name: string;
  readonly format: FileFormat;
  readonly compression: Compression;
}

/** A plain file of lines. */
export interface SourceFile {
  /** Absolute. */
  readonly path: string;
  readonly lines: LineForm;
  /** Bytes before its first line: a byte order mark. */
  readonly start: number;
  readonly origin: FileOrigin;
  /** True for a file that was made of the input and goes with the run. */
  readonly spooled?: boolean;
}

/** What a line of a file holds. */
export interface SourceLine extends FoundDocument {
  /** The line in this file; `line` is that in the file it came from. */
  readonly place: Line;
  /** Byte of this file at which the document's own text begins. */
  readonly offset: number;
}

/** Reads a file's lines, blank ones too (without a document). */
export async function* sourceLines(
  file: SourceFile,
  maxBytes: number,
): AsyncGenerator<{ readonly place: Line; readonly found: SourceLine | undefined }> {
  const { path, start, lines } = file;
  const stream = createReadStream(path, { highWaterMark: 1 << 20, start }) as AsyncIterable<Buffer>;
  for await (const line of linesOf(stream, mostLineBytes(lines, maxBytes))) {
    const place = { ...line, offset: start + line.offset };
    yield { place, found: foundInLine(place, lines, maxBytes) };
  }
}

/** Longest line of a file whose documents have at most so many bytes. */
export function mostLineBytes(lines: LineForm, maxBytes: number): number {
  return lines === "hit" ? maxBytes + HIT_OVERHEAD : maxBytes;
}

/** What a line holds; undefined if it is blank. */
export function foundInLine(line: Line, form: LineForm, maxBytes: number): SourceLine | undefined {
  const { number, offset, bytes, content } = line;
  const place = line;
  if (content === undefined) {
    const fault = tooLarge(bytes, maxBytes);
    return { place, line: number, offset, content: Buffer.alloc(0), fault };
  }
  if (isBlank(content)) return undefined;
  if (form === "document") return { place, line: number, offset, content };
  const hit = readHit(content, maxBytes);
  return { place, ...hit, line: hit.line ?? number, offset: offset + hit.offset };
}
