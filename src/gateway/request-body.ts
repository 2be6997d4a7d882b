/** A request's body, read whole and unpacked, within limits of size and time. */
import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip, inflate } from "node:zlib";
import { CspladeError } from "../errors/csplade-error.js";
import type { RequestLife } from "./request-life.js";

/** A body as it came, and as it is meant. */
export interface RequestBody {
  readonly raw: Buffer;
  /** `raw` without its content encoding; undefined for an encoding that is not known here. */
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
 * Reads a body.
 * @throws CspladeError `batch_too_large` above `limit` bytes, packed or not; `request_invalid`
 *   for a body that cannot be unpacked; `deadline_exceeded` or `aborted` when the request's life
 *   is over before it is read.
 */
export async function readBody(
  request: IncomingMessage,
  limit: number,
  life: RequestLife,
): Promise<RequestBody> {
  if (Number(request.headers["content-length"] ?? 0) > limit) throw tooLarge(limit);
  const raw = await collect(request, limit, life);
  const unpack = unpackers.get(
    (request.headers["content-encoding"] ?? "identity").trim().toLowerCase(),
  );
  if (unpack === undefined) return { raw, plain: undefined };
  try {
    return { raw, plain: await unpack(raw, limit) };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(limit);
    throw new CspladeError("query_invalid", "The request's body cannot be unpacked.", { cause });
  }
}

function collect(request: IncomingMessage, limit: number, life: RequestLife): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const stop = (reason: Error): void => {
      request.off("data", take).off("end", finish).off("error", stop);
      stopListening();
      request.pause();
      reject(reason);
    };
    const take = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > limit) stop(tooLarge(limit));
      else chunks.push(chunk);
    };
    const finish = (): void => {
      stopListening();
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes));
    };
    let stopListening = (): void => {};
    request.on("data", take).once("end", finish).once("error", stop);
    stopListening = life.whenOver(stop);
  });
}

function tooLarge(limit: number): CspladeError {
  return new CspladeError(
    "batch_too_large",
    `The search's body is larger than the ${limit} bytes that the gateway reads.`,
    { hint: "Raise gateway.max_body_bytes, or send it to the cluster directly." },
  );
}
