/** A chunk of a source: a byte range of a file of lines. Queues carry chunks, never texts. */
import { open } from "node:fs/promises";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { linesOf } from "./lines.js";
import { besideOf, type Beside } from "./found-document.js";
import { foundInLine, type LineForm } from "./source-file.js";

/** Where some consecutive lines stand. */
export interface Chunk {
  /** Absolute path of a plain file of lines. */
  readonly file: string;
  /** What stands in each line. */
  readonly form: LineForm;
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
  /** What its file says of it outside its own text. */
  readonly beside?: Beside;
}

/** One line of a chunk. */
export interface ChunkLine extends Beside {
  /** Its number in the file that the user named. */
  readonly number: number;
  /** Where its document begins in the chunk's file. */
  readonly offset: number;
  /** Its document's own text. */
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
    if (skip.has(number)) continue;
    const place = { ...line, number, offset: chunk.offset + line.offset };
    const found = foundInLine(place, chunk.form, content.length);
    if (found === undefined || found.fault !== undefined) continue;
    lines.push({
      number: found.line,
      offset: found.offset,
      content: found.content,
      ...besideOf(found),
    });
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

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(content);
}
