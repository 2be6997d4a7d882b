/**
 * The two stages of encoding: text threads tokenize and weigh words, session threads compute. While a
 * session computes, the texts of the next calls are made ready, so that it waits for nobody.
 */
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import type { LiteralTerms } from "../sparse/literals.js";
import { EMPTY_VECTOR } from "../sparse/sparse-vector.js";
import { withDeadline } from "../waiting/deadline.js";
import {
  KNOWN_GOOD,
  type CutTexts,
  type EncodedPassage,
  type EncodedText,
  type EncoderTask,
  type EncoderWork,
  type SessionThreadData,
  type TextOptions,
  type TextThreadData,
  type WeighedPassage,
} from "./encoder-protocol.js";
import {
  startEncoderThreads,
  type EncoderHealth,
  type EncoderThreadOptions,
  type EncoderThreads,
  type Reply,
} from "./encoder-threads.js";
import type { SessionVector } from "./onnx-session.js";
import type { OwnTerms } from "./own-terms.js";

/** How both kinds of threads are started. */
export interface EncoderStagesOptions extends Omit<EncoderThreadOptions, "work" | "firstNumber"> {
  readonly texts: TextThreadData;
  readonly sessions: Omit<SessionThreadData, "knownGood">;
  /** Of a model that adds nothing to questions. */
  readonly ownTerms: OwnTerms | undefined;
}

/** One window of texts to encode. */
export interface Window extends TextOptions {
  readonly texts: readonly string[];
  /** Most tokens in a batch, padding included. */
  readonly token_budget: number;
  /** How many rows the vocabulary has: the graph takes no larger top_k. */
  readonly rows: number;
}

/** A window's vectors, and what they took. */
export interface EncodedWindow {
  readonly texts: EncodedText[];
  /** Tokens of what the model read of the texts. */
  readonly tokens: number;
  readonly work: Omit<EncoderWork, "fitting_tokens">;
}

/** Both stages. */
export interface EncoderStages {
  /** @throws CspladeError as `EncoderThreads.submit` does. */
  encode(window: Window, signal?: AbortSignal): Promise<EncodedWindow>;
  literals(window: Window, signal?: AbortSignal): Promise<LiteralTerms[]>;
  /** Of the session threads; a text thread in trouble shows as well. */
  health(): EncoderHealth;
  /** Ends everything with an error: whoever judged the device found it broken. */
  declareBroken(error: CspladeError): void;
  /** Aborted when nothing can be encoded any more, with the error as its reason. */
  readonly broken: AbortSignal;
  /** Refuses new windows and those that nobody has begun, and waits for the others. */
  close(): Promise<void>;
}

/** How long `close` waits for windows that were begun, milliseconds. */
const CLOSE_DEADLINE_MS = 30_000;

const NO_WORK = { batches: 0, padded_tokens: 0, busy_ms: 0 };

/** Most tokens of the text that is known to be good. */
const KNOWN_GOOD_TOKENS = 16;

/** Starts the threads and waits until each has encoded something. @throws CspladeError why one cannot. */
export async function startEncoderStages(options: EncoderStagesOptions): Promise<EncoderStages> {
  const { texts, sessions, ownTerms, ...common } = options;
  let nextId = 1;
  const taskOf = (size: number, shared = new SharedArrayBuffer(8)): EncoderTask => ({
    id: nextId++,
    size,
    shared,
  });
  const textThreads = await startEncoderThreads({
    ...common,
    work: { kind: "text", data: texts },
    firstNumber: options.threads,
  });
  let sessionThreads: EncoderThreads;
  try {
    const knownGood = await knownGoodTokens(textThreads, taskOf(1));
    const data = { ...sessions, knownGood };
    sessionThreads = await startEncoderThreads({ ...common, work: { kind: "session", data } });
  } catch (thrown) {
    await textThreads.close();
    throw thrown;
  }
  const both = [sessionThreads, textThreads];
  const underWay = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;
  for (const [one, other] of [both, both.toReversed()] as [EncoderThreads, EncoderThreads][]) {
    const end = () => other.declareBroken(one.broken.reason as CspladeError);
    one.broken.addEventListener("abort", end, { once: true });
  }

  /** Remembers what `close` has to wait for. */
  async function counted<T>(work: () => Promise<T>): Promise<T> {
    if (closing !== undefined) throw new CspladeError("aborted", "The encoder is closed.");
    const going = work();
    underWay.add(going);
    try {
      return await going;
    } finally {
      underWay.delete(going);
    }
  }

  async function encode(window: Window, signal?: AbortSignal): Promise<EncodedWindow> {
    const { texts, token_budget, top_k, dense, rows: vocabulary } = window;
    const { id, size, shared } = taskOf(texts.length);
    const task = { ...window, id, size, shared };
    const { cut } = expect("cut", await textThreads.submit({ ...task, step: "cut" }, signal));
    const passages = cut.passages.filter(({ read }) => read.length > 0);
    if (passages.length === 0) {
      return { texts: collect({ ...cut, passages }, [], []), tokens: 0, work: NO_WORK };
    }
    const rows = passages.filter(({ foreign }) => !foreign).map(({ read }) => read);
    const limits = { token_budget, top_k: Math.min(top_k, vocabulary), dense };
    const run = { id, size, shared, rows, ...limits };
    const { vectors: computed, work } =
      rows.length === 0
        ? { vectors: [], work: NO_WORK }
        : expect("encoded", await sessionThreads.submit(run, signal));
    let next = 0;
    const vectors = passages.map(({ foreign, read }) => {
      const vector = foreign ? EMPTY_VECTOR : (computed[next++] ?? "The session gave no vector.");
      if (ownTerms === undefined || window.kind !== "queries" || typeof vector === "string") {
        return vector;
      }
      return ownTerms(vector, read);
    });
    let weighed: readonly (WeighedPassage | undefined)[] = vectors.map(vectorOf);
    if (options.texts.lexiconFile !== undefined) {
      const weigh = {
        ...task,
        step: "weigh" as const,
        passages: passages.map(({ text, start, end }) => ({ text, start, end })),
        vectors: weighed.map((each) => each?.vector),
      };
      weighed = expect("weighed", await textThreads.submit(weigh, signal)).passages;
    }
    return {
      texts: collect({ ...cut, passages }, vectors, weighed),
      tokens: passages.reduce((sum, { tokens, foreign }) => sum + (foreign ? 0 : tokens), 0),
      work,
    };
  }

  return {
    encode: (window, signal) => counted(() => encode(window, signal)),
    literals: (window, signal) =>
      counted(async () => {
        const task = { ...window, ...taskOf(window.texts.length), step: "literals" as const };
        return expect("literals", await textThreads.submit(task, signal)).literals;
      }),
    health() {
      const computing = sessionThreads.health();
      const reading = textThreads.health();
      const worse = computing.state === "ready" ? reading : computing;
      return {
        ...computing,
        state: worse.state,
        restarts: computing.restarts + reading.restarts,
        ...(worse.reason === undefined ? {} : { reason: worse.reason }),
      };
    },
    declareBroken: (error) => sessionThreads.declareBroken(error),
    broken: sessionThreads.broken,
    close() {
      closing ??= (async () => {
        const error = new CspladeError("aborted", "The encoder was closed.");
        for (const threads of both) threads.dropWaiting(error);
        const begun = Promise.allSettled(underWay);
        await withDeadline(begun, CLOSE_DEADLINE_MS, "Closing an encoder").catch(() => {});
        await Promise.all(both.map((threads) => threads.close()));
      })();
      return closing;
    },
  };
}

async function knownGoodTokens(
  threads: EncoderThreads,
  task: EncoderTask,
): Promise<readonly number[]> {
  const reply = await threads.submit({
    ...task,
    step: "cut",
    texts: [KNOWN_GOOD],
    kind: "literals",
    max_tokens: KNOWN_GOOD_TOKENS,
    max_passages: 1,
    top_k: 1,
    words: false,
    merged: false,
    mean_length: undefined,
    dense: false,
  });
  const read = expect("cut", reply).cut.passages[0]?.read ?? [];
  return read.length > 0 ? read : [0];
}

function expect<T extends Reply["type"]>(type: T, reply: Reply): Extract<Reply, { type: T }> {
  if (reply.type === "failed") throw new CspladeError(reply.code as ErrorCode, reply.message);
  if (reply.type !== type) throw new CspladeError("encode_failed", "Wrong reply.");
  return reply as Extract<Reply, { type: T }>;
}

function vectorOf(vector: SessionVector | string): WeighedPassage | undefined {
  if (typeof vector === "string") return undefined;
  return { vector: { ids: vector.ids, weights: vector.weights } };
}

/** The passages of each text; a text of which one failed has none. */
function collect(
  { passages, truncated }: CutTexts,
  vectors: readonly (SessionVector | string)[],
  weighed: readonly (WeighedPassage | undefined)[],
): EncodedText[] {
  const failures = new Map<number, string>();
  const found = truncated.map((): EncodedPassage[] => []);
  passages.forEach(({ text, start, end, tokens }, place) => {
    const computed = vectors[place];
    if (typeof computed === "string") {
      if (!failures.has(text)) failures.set(text, computed);
      return;
    }
    const passage = weighed[place];
    const dense = computed?.dense === undefined ? {} : { dense: computed.dense };
    if (passage !== undefined) found[text]?.push({ start, end, tokens, ...passage, ...dense });
  });
  return truncated.map((cut, text) => {
    const failure = failures.get(text);
    if (failure !== undefined) return { passages: [], truncated: cut, failure };
    return { passages: found[text] ?? [], truncated: cut };
  });
}
