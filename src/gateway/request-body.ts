/** A request's body, read whole and unpacked, within limits of size and time. */
import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip, inflate } from "node:zlib";
import { CspladeError } from "../errors/csplade-error.js";
import type { RequestLife } from "./request-life.js";

/** A body as it came, and as it is meant. */
export interface RequestBody {
  readonly raw: Buffer;
  /** True if `raw` is only the beginning: the rest can still be read from the request. */
  readonly more: boolean;
  /**
   * `raw` without its content encoding; undefined where that is not known here, does not fit the
   * body, or makes it larger than is read: then it is for the cluster to judge.
   */
  readonly plain: Buffer | undefined;
}

type Unpack = (data: Buffer, limit: number) => Promise<Buffer>;

/** By content encoding. A map, for the name comes from outside: an object has a `constructor`. */
const unpackers: ReadonlyMap<string, Unpack> = new Map<string, Unpack>([
  ["identity", (data) => Promise.resolve(data)],
  ["gzip", (data, maxOutputLength) => promisify(gunzip)(data, { maxOutputLength })],
  ["x-gzip", (data, maxOutputLength) => promisify(gunzip)(data, { maxOutputLength })],
  ["deflate", (data, maxOutputLength) => promisify(inflate)(data, { maxOutputLength })],
]);

/**
 * Reads a body, or its first `limit` bytes.
 * @throws CspladeError `deadline_exceeded` or `aborted` when the request's life is over before it
 *   is read.
 */
export async function readBody(
  request: IncomingMessage,
  limit: number,
  life: Pick<RequestLife, "whenOver">,
): Promise<RequestBody> {
  const { raw, more } = await collect(request, limit, life);
  if (more) return { raw, more, plain: undefined };
  const encoding = (request.headers["content-encoding"] ?? "identity").trim().toLowerCase();
  try {
    return { raw, more, plain: await unpackers.get(encoding)?.(raw, limit) };
  } catch {
    return { raw, more, plain: undefined };
  }
}

function collect(
  request: IncomingMessage,
  limit: number,
  life: Pick<RequestLife, "whenOver">,
): Promise<{ readonly raw: Buffer; readonly more: boolean }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const stop = (): void => {
      request.off("data", take).off("end", finish).off("error", fail).off("close", leave);
      stopListening();
    };
    const fail = (reason: Error): void => {
      stop();
      request.pause();
      reject(reason);
    };
    const leave = (): void =>
      fail(new CspladeError("aborted", "The client closed the connection."));
    const finish = (): void => {
      stop();
      resolve({
        raw: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes),
        more: bytes > limit,
      });
    };
    const take = (chunk: Buffer): void => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes <= limit) return;
      request.pause();
      finish();
    };
    let stopListening = (): void => {};
    request.on("data", take).once("end", finish).once("error", fail).once("close", leave);
    stopListening = life.whenOver(fail);
  });
}
