/** Files of lines as a source in slices: byte ranges that need no scan before they are read. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { linesOf } from "../sources/lines.js";
import { FORMAT_NAMES } from "../sources/sniff.js";
import { sniffFile } from "../sources/sniff-file.js";
import {
  foundInLine,
  mostLineBytes,
  type LineForm,
  type SourceLine,
} from "../sources/source-file.js";
import { fileOf } from "../sources/spool.js";
import { unpacked, type Compression } from "../sources/unpack.js";

/** A file that can be cut (or, compressed, read as one slice). */
export interface SliceableFile {
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  readonly compression: Compression;
  /** What stands in each line. */
  readonly form: LineForm;
  /** Bytes before the first line: a byte order mark. */
  readonly start: number;
  /** Added to an offset in this file, it orders all lines of all files. */
  readonly base: number;
}

/** What reading a slice needs to know of its file. */
export type ReadableFile = Pick<SliceableFile, "path" | "compression" | "form" | "start">;

/** One line of a slice. Offsets are those of the unpacked file. */
export interface SliceLine {
  readonly offset: number;
  /** Offset of the line after it. */
  readonly next: number;
  readonly bytes: number;
  readonly found: SourceLine;
}

/**
 * Most bytes that one byte of a packed file can become: deflate's bound is 1,032; zstd has none short
 * of its blocks (128 KiB from four bytes), and a table of a thousand such files still counts exactly.
 */
const MOST_EXPANSION: Readonly<Record<Compression, number>> = {
  none: 1,
  gzip: 1_100,
  zstd: 32_768,
};

/**
 * Finds the files behind names (files of lines, packed too, and BEIR folders).
 * @throws CspladeError `source_unreadable` or, for a file whose documents do not stand in lines,
 *   `source_unsupported`; both name the input at fault.
 */
export async function findFiles(inputs: readonly string[]): Promise<SliceableFile[]> {
  const files: SliceableFile[] = [];
  let base = 0;
  for (const input of inputs) {
    const path = await fileOf(input);
    try {
      const { size: bytes } = await stat(path);
      const { format, form, compression, start } = await sniffFile(path, input);
      if (form === undefined) {
        throw new CspladeError(
          "source_unsupported",
          `${input} is ${FORMAT_NAMES[format]}; a reindexing reads files with a document in each line.`,
          { hint: "csplade ingest takes this format." },
        );
      }
      files.push({ path, bytes, compression, form, start, base });
      base += bytes * MOST_EXPANSION[compression] + 1;
    } catch (cause) {
      if (cause instanceof CspladeError) throw cause;
      throw new CspladeError("source_unreadable", `${input} cannot be read: ${messageOf(cause)}`, {
        cause,
      });
    }
  }
  return files;
}

/** Bytes read of a file to see how long its lines are. */
const SAMPLE_BYTES = 262_144;

/** Mean bytes of the first lines of a file, unpacked; undefined for an empty one. */
export async function meanLineBytes(file: ReadableFile): Promise<number | undefined> {
  let lines = 0;
  let bytes = 0;
  const range = { from: 0, to: SAMPLE_BYTES, aligned: true };
  for await (const line of readFileSlice(file, range, SAMPLE_BYTES)) {
    lines += 1;
    bytes = line.next;
  }
  return lines === 0 ? undefined : bytes / lines;
}

/**
 * Reads the lines that begin in [from, to), without blank ones. A line that begins before `from`
 * belongs to the slice before; `from` may stand inside a line.
 * @param aligned true if `from` is known to be the beginning of a line (a checkpoint)
 * @throws CspladeError `source_unreadable`.
 */
export async function* readFileSlice(
  file: ReadableFile,
  range: { readonly from: number; readonly to: number; readonly aligned: boolean },
  maxBytes: number,
): AsyncGenerator<SliceLine> {
  const { to, aligned } = range;
  const from = Math.max(range.from, file.start);
  // The byte before tells whether a line begins at `from`.
  const start = aligned || from === file.start ? from : from - 1;
  let skipFirst = start < from;
  const options = { highWaterMark: 1 << 18 };
  const stream =
    file.compression === "none"
      ? createReadStream(file.path, { ...options, start })
      : skipBytes(unpacked(createReadStream(file.path, options), file.compression), start);
  const most = mostLineBytes(file.form, maxBytes);
  try {
    for await (const line of linesOf(stream as AsyncIterable<Buffer>, most)) {
      const offset = start + line.offset;
      if (skipFirst) {
        skipFirst = false;
        continue;
      }
      if (offset >= to) return;
      const found = foundInLine({ ...line, offset }, file.form, maxBytes);
      if (found === undefined) continue;
      yield { offset, next: offset + line.bytes + 1, bytes: line.bytes, found };
    }
  } catch (cause) {
    throw new CspladeError(
      "source_unreadable",
      `${file.path} cannot be read: ${messageOf(cause)}`,
      {
        cause,
        hint: "Workers must see the files under the same paths, unchanged, until the run is done.",
      },
    );
  }
}

async function* skipBytes(stream: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes;
  for await (const chunk of stream) {
    if (left >= chunk.length) left -= chunk.length;
    else {
      yield left === 0 ? chunk : chunk.subarray(left);
      left = 0;
    }
  }
}
