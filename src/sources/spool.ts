/**
 * Turns whatever the user names (plain or gzipped NDJSON, standard input, a BEIR
 * folder, a dead-letter file) into plain NDJSON files that chunks can point into.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { replayLines } from "./dead-letters.js";

/** Plain NDJSON files, ready to be scanned. */
export interface Spooled {
  /** Absolute paths, in the order they were named. */
  readonly files: readonly string[];
  /** Bytes of all files together. */
  readonly bytes: number;
  /** Deletes what was unpacked. */
  remove(): Promise<void>;
}

/** What to spool and where. */
export interface SpoolRequest {
  /** Files, BEIR folders or `-` for standard input. */
  readonly inputs: readonly string[];
  /** True if the inputs are dead-letter files whose documents are to be tried again. */
  readonly fromDeadLetters: boolean;
  /** Folder for unpacked files; made when needed. */
  readonly folder: string;
  readonly stdin: Readable;
  readonly signal?: AbortSignal;
}

/**
 * Prepares the inputs.
 * @throws CspladeError `source_unreadable` naming the input at fault.
 */
export async function spool(request: SpoolRequest): Promise<Spooled> {
  const files: string[] = [];
  let bytes = 0;
  let unpacked = 0;
  const remove = () => rm(request.folder, { recursive: true, force: true });
  const unpack = async (
    name: string,
    ...streams: [NodeJS.ReadableStream, ...NodeJS.ReadWriteStream[]]
  ) => {
    await mkdir(request.folder, { recursive: true });
    const target = path.join(request.folder, `${unpacked++}-${name}.ndjson`);
    await pipeline(
      [...streams, createWriteStream(target, { mode: 0o600 })],
      request.signal === undefined ? {} : { signal: request.signal },
    );
    return target;
  };
  try {
    for (const input of request.inputs) {
      const file = input === "-" ? "-" : await fileOf(input);
      const plain = await plainFile(file, input, request, unpack);
      files.push(plain);
      bytes += (await stat(plain)).size;
    }
  } catch (thrown) {
    await remove();
    throw thrown;
  }
  return { files, bytes, remove };
}

type Unpack = (
  name: string,
  ...streams: [NodeJS.ReadableStream, ...NodeJS.ReadWriteStream[]]
) => Promise<string>;

async function plainFile(
  file: string,
  input: string,
  request: SpoolRequest,
  unpack: Unpack,
): Promise<string> {
  try {
    if (request.fromDeadLetters) return await unpack("dead-letters", replayLines(file));
    if (file === "-") return await unpack("stdin", request.stdin);
    if (await isGzip(file)) return await unpack("gzip", createReadStream(file), createGunzip());
    return file;
  } catch (cause) {
    if (cause instanceof CspladeError) throw cause;
    if (request.signal?.aborted === true)
      throw new CspladeError("aborted", "Reading was cancelled.");
    throw new CspladeError("source_unreadable", `${input} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** The file behind a name: itself, or `corpus.jsonl` of a BEIR folder. */
export async function fileOf(input: string): Promise<string> {
  const found = await stat(input).catch(() => undefined);
  if (found === undefined) {
    throw new CspladeError("source_unreadable", `There is no file ${input}.`);
  }
  if (!found.isDirectory()) return path.resolve(input);
  for (const name of ["corpus.jsonl", "corpus.jsonl.gz"]) {
    const file = path.resolve(input, name);
    if ((await stat(file).catch(() => undefined))?.isFile() === true) return file;
  }
  throw new CspladeError("source_unreadable", `The folder ${input} holds no corpus.jsonl.`, {
    hint: "Name NDJSON files, or a BEIR folder (corpus.jsonl, queries.jsonl, qrels/).",
  });
}

/** Gzip is told by its first two bytes, not by the file's name. */
export async function isGzip(file: string): Promise<boolean> {
  for await (const head of createReadStream(file, { end: 1 }) as AsyncIterable<Buffer>) {
    return head.length === 2 && head[0] === 0x1f && head[1] === 0x8b;
  }
  return false;
}
