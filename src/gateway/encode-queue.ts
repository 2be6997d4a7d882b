/**
 * Micro-batches: texts of concurrent requests wait together and go to the encoder in one
 * call as soon as it is idle. An idle encoder gets a lone text at once; a busy one finds
 * everything that came meanwhile. Inside the encoder the token budget cuts batches.
 */
import type { EncodedText } from "../encoder/encoder-protocol.js";
import type { EncodeOptions, Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { onAbort } from "../waiting/on-abort.js";

/** What a text is for: it decides the model's length limit and how many terms are kept. */
export type Role = "document" | "query";

/** How passages are encoded that are answered one by one. */
export type PassageOptions = Pick<
  EncodeOptions,
  "max_passages" | "words" | "merged" | "mean_length" | "dense"
>;

/** Bounds of the queue. */
export interface QueueLimits {
  /** Encoder calls at a time: the encoder's sessions. */
  readonly calls: number;
  /** Most texts of one call, unless a single request has more. */
  readonly call_texts: number;
  /** Most texts waiting; a request that finds fewer than its own places free is refused. */
  readonly queue_texts: number;
}

/** What the queue tells its owner. */
export interface QueueEvents {
  readonly onBatch?: (texts: number) => void;
  readonly onDepth?: (texts: number) => void;
}

/** Texts waiting for the encoder. */
export interface EncodeQueue {
  /**
   * Encodes texts, in order. A text that cannot be encoded has a `failure`.
   * @throws CspladeError `overloaded` at once when the queue is full; what the encoder throws;
   *   the signal's reason when it is aborted.
   */
  encode(
    texts: readonly string[],
    role: Role,
    signal: AbortSignal,
    how?: PassageOptions,
  ): Promise<EncodedText[]>;
}

/** Documents whose vectors are made one. */
const MERGED: PassageOptions = { words: true, merged: true };

interface Waiting {
  readonly texts: readonly string[];
  readonly role: Role;
  readonly how: PassageOptions;
  /** Requests with the same one go to the encoder together. */
  readonly kind: string;
  readonly signal: AbortSignal;
  readonly resolve: (encoded: EncodedText[]) => void;
  readonly reject: (reason: unknown) => void;
}

/** A queue before an encoder; nothing runs while nothing waits. */
export function createEncodeQueue(
  encoder: Pick<Encoder, "encodeDocuments" | "encodeQueries">,
  limits: QueueLimits,
  events: QueueEvents = {},
): EncodeQueue {
  const waiting: Waiting[] = [];
  let depth = 0;
  let calls = 0;

  function setDepth(change: number): void {
    depth += change;
    events.onDepth?.(depth);
  }

  /** The requests of the next call: those of the first one's kind, in order of arrival. */
  function takeBatch(): Waiting[] {
    const [first] = waiting;
    if (first === undefined) return [];
    const batch: Waiting[] = [];
    let texts = 0;
    for (const each of waiting) {
      if (each.kind !== first.kind) continue;
      if (batch.length > 0 && texts + each.texts.length > limits.call_texts) break;
      batch.push(each);
      texts += each.texts.length;
    }
    const taken = new Set(batch);
    waiting.splice(0, waiting.length, ...waiting.filter((each) => !taken.has(each)));
    setDepth(-texts);
    return batch;
  }

  function dispatch(): void {
    while (calls < limits.calls) {
      const batch = takeBatch();
      if (batch.length === 0) return;
      calls += 1;
      void run(batch).finally(() => {
        calls -= 1;
        dispatch();
      });
    }
  }

  async function run(batch: readonly Waiting[]): Promise<void> {
    const texts = batch.flatMap((each) => each.texts);
    events.onBatch?.(texts.length);
    const abandoned = whenAllAborted(batch.map((each) => each.signal));
    try {
      const options = { signal: abandoned.signal };
      const encoded =
        batch[0]?.role === "query"
          ? await encoder.encodeQueries(texts, { ...options, dense: batch[0].how.dense })
          : await encoder.encodeDocuments(texts, { ...options, ...batch[0]?.how });
      let next = 0;
      for (const each of batch) each.resolve(encoded.slice(next, (next += each.texts.length)));
    } catch (thrown) {
      for (const each of batch) each.reject(thrown);
    } finally {
      abandoned.stop();
    }
  }

  return {
    async encode(texts, role, signal, how = MERGED) {
      signal.throwIfAborted();
      if (texts.length === 0) return [];
      if (depth + texts.length > limits.queue_texts) {
        throw new CspladeError(
          "overloaded",
          `The encoder is busy: ${depth} texts wait, and at most ${limits.queue_texts} may.`,
          { hint: "Send the request again in a moment, or start more gateways." },
        );
      }
      let stopListening = () => {};
      try {
        return await new Promise<EncodedText[]>((resolve, reject) => {
          const kind = role === "query" ? role : JSON.stringify(how);
          const entry: Waiting = { texts, role, how, kind, signal, resolve, reject };
          stopListening = onAbort(signal, () => {
            const place = waiting.indexOf(entry);
            if (place >= 0) {
              waiting.splice(place, 1);
              setDepth(-texts.length);
            }
            reject(signal.reason as Error);
          });
          waiting.push(entry);
          setDepth(texts.length);
          dispatch();
        });
      } finally {
        stopListening();
      }
    },
  };
}

/** A signal that is aborted once nobody wants the result any more. */
function whenAllAborted(signals: readonly AbortSignal[]): {
  signal: AbortSignal;
  stop: () => void;
} {
  const all = new AbortController();
  const check = (): void => {
    if (signals.every((signal) => signal.aborted)) all.abort();
  };
  const stops = signals.map((signal) => onAbort(signal, check));
  check();
  return {
    signal: all.signal,
    stop: () => {
      for (const stop of stops) stop();
    },
  };
}
