/** Compressed streams: told by their first bytes, never by a name, and unpacked as they are read. */
import { Decompress } from "fzstd";
import { PassThrough, pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** How a file is packed. */
export type Compression = "none" | "gzip" | "zstd";

/** Tells the compression from the first bytes of a file (four are enough). */
export function compressionOf(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  if (head.length < 4) return "none";
  const magic = head.readUInt32LE(0);
  // A frame, or one that readers skip and that may stand before it (pzstd writes them).
  if (magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50) return "zstd";
  return "none";
}

/**
 * A stream without its compression.
 * @throws CspladeError `source_unreadable` while it is read, if it is damaged or cut off.
 */
export function unpacked(
  stream: AsyncIterable<Buffer>,
  compression: Compression,
): AsyncIterable<Buffer> {
  if (compression === "none") return stream;
  return compression === "gzip" ? gunzipped(stream) : unzstd(stream);
}

/** The first bytes of a stream, and all of it again. */
export interface Peeked {
  readonly head: Buffer;
  /** True if the head is all there is. */
  readonly whole: boolean;
  /** The stream from its first byte on. */
  readonly all: AsyncIterable<Buffer>;
  /** Ends the stream where `all` is not read. */
  close(): Promise<void>;
}

/** Looks at the first bytes of a stream. */
export async function peek(stream: AsyncIterable<Buffer>, bytes: number): Promise<Peeked> {
  const iterator = stream[Symbol.asyncIterator]();
  const parts: Buffer[] = [];
  let length = 0;
  let whole = false;
  while (length < bytes && !whole) {
    const next = await iterator.next();
    if (next.done === true) whole = true;
    else {
      parts.push(next.value);
      length += next.value.length;
    }
  }
  const head = Buffer.concat(parts);
  const close = async () => {
    await iterator.return?.();
  };
  const all = async function* () {
    try {
      yield head;
      while (!whole) {
        const next = await iterator.next();
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await close();
    }
  };
  return { head, whole, all: all(), close };
}

/** The stream without the byte order mark that may stand before its text. */
export async function* withoutMark(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const { head, all } = await peek(stream, BYTE_ORDER_MARK.length);
  let cut = startsWithMark(head) ? BYTE_ORDER_MARK.length : 0;
  for await (const chunk of all) {
    if (chunk.length > cut) yield chunk.subarray(cut);
    cut = Math.max(0, cut - chunk.length);
  }
}

/** U+FEFF in UTF-8. */
export const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** True if bytes begin with a byte order mark of UTF-8. */
export function startsWithMark(head: Buffer): boolean {
  return head.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
}

async function* gunzipped(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  // Errors of either stream end the second one, and come out of reading it.
  const output = pipeline(Readable.from(stream), createGunzip(), new PassThrough(), () => {});
  try {
    yield* output as AsyncIterable<Buffer>;
  } catch (cause) {
    throw damaged("gzip", cause);
  }
}

async function* unzstd(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let ready: Buffer[] = [];
  const decompress = new Decompress((part) => {
    // The library goes on writing into what it hands out.
    if (part.length > 0) ready.push(Buffer.from(part));
  });
  const push = (chunk: Uint8Array, isLast: boolean): Buffer[] => {
    try {
      decompress.push(chunk, isLast);
    } catch (cause) {
      throw damaged("zstd", cause);
    }
    const parts = ready;
    ready = [];
    return parts;
  };
  for await (const chunk of stream) yield* push(chunk, false);
  yield* push(new Uint8Array(0), true);
}

function damaged(kind: string, cause: unknown): CspladeError {
  return new CspladeError(
    "source_unreadable",
    `The ${kind} data is damaged: ${messageOf(cause)}.`,
    {
      hint: "The file may be cut off; compare its size with where it came from.",
      cause,
    },
  );
}
