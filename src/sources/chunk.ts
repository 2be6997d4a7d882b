/** A chunk of a source: a byte range of an NDJSON file. Queues carry chunks, never texts. */
import { open } from "node:fs/promises";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { linesOf } from "./lines.js";

/** Where some consecutive lines stand. */
export interface Chunk {
  /** Absolute path of a plain NDJSON file. */
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /** Number of the first line, 1-based. */
  readonly first_line: number;
  /** Lines in the range. */
  readonly lines: number;
  /** Lines (by number) to leave out: already found bad while scanning. */
  readonly skip: readonly number[];
}

/** A document that failed: where it stands and why. Holds no document text. */
export interface DocumentFailure {
  readonly file: string;
  readonly line: number;
  readonly offset: number;
  readonly bytes: number;
  readonly code: ErrorCode;
  readonly reason: string;
  readonly id?: string;
}

/** One line of a chunk. */
export interface ChunkLine {
  readonly number: number;
  readonly offset: number;
  readonly content: Buffer;
}

/**
 * Reads the lines of a chunk, without blank ones and those in `skip`.
 * @throws CspladeError `source_unreadable` if the file is gone or shorter than it was.
 */
export async function readChunk(chunk: Chunk): Promise<ChunkLine[]> {
  const content = await readRange(chunk.file, chunk.offset, chunk.bytes);
  const skip = new Set(chunk.skip);
  const lines: ChunkLine[] = [];
  for await (const line of linesOf(once(content), content.length)) {
    const number = chunk.first_line + line.number - 1;
    if (line.content === undefined || skip.has(number) || isBlank(line.content)) continue;
    lines.push({ number, offset: chunk.offset + line.offset, content: line.content });
  }
  return lines;
}

/** Reads exactly `bytes` bytes at `offset`. */
export async function readRange(file: string, offset: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  let read = 0;
  try {
    const handle = await open(file, "r");
    try {
      while (read < bytes) {
        const { bytesRead } = await handle.read(buffer, read, bytes - read, offset + read);
        if (bytesRead === 0) break;
        read += bytesRead;
      }
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new CspladeError("source_unreadable", `${file} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
  if (read < bytes) {
    throw new CspladeError("source_unreadable", `${file} became shorter while it was read.`, {
      hint: "Do not change a file while it is being ingested; run the command again.",
    });
  }
  return buffer;
}

/** True for a line of white space only. */
export function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));
}

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(content);
}
