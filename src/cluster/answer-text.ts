/**
 * The text of an answer. Clients are asked for the stream and not for objects: an object has lost the
 * digits of its numbers, and OpenSearch's client makes none at all of an answer in which any document
 * has a key `__proto__` (the same document would otherwise look like a cluster that is away).
 */
import { constants } from "node:buffer";
import { promisify } from "node:util";
import { unzip } from "node:zlib";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { withoutComments } from "../json/positions.js";

const inflate = promisify(unzip);

/** A body as a client gives it: a stream of bytes; what the transports of tests give may be ready. */
export type ClientBody = AsyncIterable<Uint8Array> & { destroy?(): void };

/** An answer whose text is too large is refused; whoever asked may ask for less. */
const MOST_BYTES = constants.MAX_STRING_LENGTH;

/** True for a body that is still to be read. */
export function isStream(body: unknown): body is ClientBody {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body;
}

/**
 * Reads a body to its end.
 * @param idleMs longest pause between two pieces of it.
 * @throws CspladeError `deadline_exceeded`; `cluster_unreachable` where the answer breaks off, or is
 *   larger than a text can be.
 */
export async function readText(
  body: ClientBody,
  encoding: string,
  idleMs: number,
  what: string,
): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  const idle = new AbortController();
  const timer = setTimeout(() => {
    idle.abort();
    body.destroy?.();
  }, idleMs);
  try {
    for await (const piece of body) {
      timer.refresh();
      bytes += piece.length;
      if (bytes > MOST_BYTES) throw new Error("it is larger than a text can be");
      pieces.push(piece);
    }
    const whole = Buffer.concat(pieces, bytes);
    const isPacked = /gzip|deflate/i.test(encoding);
    const plain = isPacked ? await inflate(whole, { maxOutputLength: MOST_BYTES }) : whole;
    return plain.toString("utf8");
  } catch (cause) {
    if (idle.signal.aborted) {
      throw new CspladeError("deadline_exceeded", `The answer to ${what} stopped coming.`, {
        cause,
      });
    }
    throw new CspladeError(
      "cluster_unreachable",
      `The answer to ${what} cannot be read: ${messageOf(cause)}`,
      { cause },
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The value of an answer's JSON.
 * @throws CspladeError `cluster_answer_invalid` for what is no JSON.
 */
export function parseAnswer(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    // Clusters take comments in documents and give them back.
    const plain = withoutComments(text);
    if (plain !== text) return parseAnswer(plain, what);
    throw new CspladeError(
      "cluster_answer_invalid",
      `The answer to ${what} came, but it is not the JSON it says it is: ${messageOf(thrown)}`,
      { cause: thrown, hint: "Something between here and the cluster changes its answers." },
    );
  }
}
