/** NDJSON files as a source in slices: byte ranges that need no scan before they are read. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { isBlank } from "./chunk.js";
import { linesOf } from "./lines.js";
import { fileOf, isGzip } from "./spool.js";

/** A file that can be cut (or, compressed, read as one slice). */
export interface SliceableFile {
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  readonly gzip: boolean;
  /** Added to an offset in this file, it orders all lines of all files. */
  readonly base: number;
}

/** One line of a slice. Offsets are those of the unpacked file. */
export interface SliceLine {
  readonly offset: number;
  /** Offset of the line after it. */
  readonly next: number;
  /** Undefined if the line is longer than the limit. */
  readonly content: Buffer | undefined;
  readonly bytes: number;
}

/** Most bytes that one byte of gzip can become (deflate's bound is 1,032). */
const MOST_EXPANSION = 1_100;

/**
 * Finds the files behind names (files, gzip too, and BEIR folders).
 * @throws CspladeError `source_unreadable` naming the input at fault.
 */
export async function findFiles(inputs: readonly string[]): Promise<SliceableFile[]> {
  const files: SliceableFile[] = [];
  let base = 0;
  for (const input of inputs) {
    const path = await fileOf(input);
    try {
      const { size: bytes } = await stat(path);
      const gzip = await isGzip(path);
      files.push({ path, bytes, gzip, base });
      base += bytes * (gzip ? MOST_EXPANSION : 1) + 1;
    } catch (cause) {
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
export async function meanLineBytes(
  file: Pick<SliceableFile, "path" | "gzip">,
): Promise<number | undefined> {
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
  file: Pick<SliceableFile, "path" | "gzip">,
  range: { readonly from: number; readonly to: number; readonly aligned: boolean },
  maxBytes: number,
): AsyncGenerator<SliceLine> {
  const { from, to, aligned } = range;
  // The byte before tells whether a line begins at `from`.
  const start = aligned || from === 0 ? from : from - 1;
  let skipFirst = start < from;
  const stream = file.gzip
    ? skipBytes(unpacked(file.path), start)
    : (createReadStream(file.path, { start, highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>);
  try {
    for await (const line of linesOf(stream, maxBytes)) {
      const offset = start + line.offset;
      if (skipFirst) {
        skipFirst = false;
        continue;
      }
      if (offset >= to) return;
      if (line.content !== undefined && isBlank(line.content)) continue;
      const next = offset + line.bytes + 1;
      yield { offset, next, content: line.content, bytes: line.bytes };
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

function unpacked(path: string): AsyncIterable<Buffer> {
  // Errors of either stream end the second one, and come out of reading it.
  return pipeline(createReadStream(path), createGunzip(), () => {}) as AsyncIterable<Buffer>;
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
