/**
 * The encoder: texts → term weights, on one or several encoder threads.
 * The calling thread only queues windows of texts and receives vectors.
 */
import { once } from "node:events";
import os from "node:os";
import { Worker } from "node:worker_threads";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import type { IdfScale } from "../sparse/idf.js";
import type { LiteralTerms } from "../sparse/literals.js";
import { readLexicon } from "../text/lexicon.js";
import { withDeadline } from "../waiting/deadline.js";
import { onAbort } from "../waiting/on-abort.js";
import { openCheckpoint, type CheckpointDirectory } from "./checkpoint-directory.js";
import type {
  EncodedText,
  EncoderReply,
  EncoderRequest,
  EncoderThreadData,
  EncoderWork,
} from "./encoder-protocol.js";
import type { Manifest } from "./manifest.js";
import { openQueryTable } from "./query-table.js";

/** Options of one call. */
export interface EncodeOptions {
  readonly signal?: AbortSignal;
  /** Most passages of one document; the configuration's `ingest.max_passages` without it. */
  readonly max_passages?: number;
  /** Most tokens in a batch; the configuration's `model.token_budget` without it. */
  readonly token_budget?: number;
  /** Return the words of documents' lexical parts; those of queries come always. */
  readonly words?: boolean;
  /**
   * The caller makes one vector of a document's passages (`maxMerge`): words of a lexical part
   * weigh by the whole document then, not by the passage.
   */
  readonly merged?: boolean;
}

/** Totals since the encoder was opened. */
export interface EncoderTotals extends EncoderWork {
  readonly texts: number;
}

/** A loaded model, ready to encode. */
export interface Encoder {
  readonly checkpoint: CheckpointDirectory;
  readonly manifest: Manifest;
  /**
   * Documents, long ones as several passages. Results are in input order; a text that
   * cannot be encoded has a `failure` and leaves the others alone; a blank one has no passages.
   */
  encodeDocuments(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]>;
  /** Queries: the first `max_tokens.query` tokens, one passage each; blank ones have none. */
  encodeQueries(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]>;
  /**
   * The terms that stand in whole texts, as against those that the model adds: the words of a
   * model with a lexical part, the tokens of another one.
   */
  literals(texts: readonly string[], options?: EncodeOptions): Promise<LiteralTerms[]>;
  /** How the lexical part weighs words; nothing where the model has none. */
  readonly lexicon: IdfScale | undefined;
  totals(): EncoderTotals;
  /** Refuses new work, lets running windows end, frees the sessions. */
  close(): Promise<void>;
}

type Reply = Extract<EncoderReply, { id: number }>;

interface Pending {
  readonly request: EncoderRequest;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  worker: Worker;
  current: Pending | undefined;
}

/** How often a thread that died is started again before the encoder gives up. */
const MAX_RESTARTS = 3;

/** How long `close` waits for running windows, milliseconds. */
const CLOSE_DEADLINE_MS = 30_000;

/**
 * Opens a checkpoint directory and starts its sessions.
 * @throws CspladeError `model_not_found`, `model_invalid`, `provider_unavailable`.
 */
export async function openEncoder(config: Config): Promise<Encoder> {
  const checkpoint = await openCheckpoint(config["model.path"]);
  const { manifest } = checkpoint;
  const sessions = config["model.sessions"];
  const data: EncoderThreadData = {
    modelFile: checkpoint.modelFile,
    tokenizerFile: checkpoint.tokenizerFile,
    lexiconFile: checkpoint.lexiconFile,
    provider: config["model.provider"],
    threads:
      config["model.threads"] || Math.max(1, Math.floor(os.availableParallelism() / sessions)),
    padTokenId: manifest.pad_token_id,
  };
  const byTable = config["query.encoder"] === "table" ? openQueryTable(checkpoint) : undefined;
  const waiting: Pending[] = [];
  const totals = { texts: 0, batches: 0, tokens: 0, padded_tokens: 0, busy_ms: 0 };
  let nextId = 1;
  let restarts = 0;
  let closed = false;
  let broken: CspladeError | undefined;

  const threads: Thread[] = await Promise.all(
    Array.from({ length: sessions }, async () => {
      const thread: Thread = { worker: await startWorker(data), current: undefined };
      watch(thread);
      return thread;
    }),
  );

  function watch(thread: Thread): void {
    const { worker } = thread;
    worker.on("message", (message: EncoderReply) => {
      if (!("id" in message) || thread.current?.request.id !== message.id) return;
      const done = thread.current;
      thread.current = undefined;
      dispatch();
      done.resolve(message);
    });
    let reason = "it ended without a reason";
    worker.on("error", (error) => (reason = messageOf(error)));
    worker.on("exit", () => {
      if (closed || thread.worker !== worker) return;
      thread.current?.reject(
        new CspladeError("encode_failed", `The encoder thread stopped while encoding: ${reason}`),
      );
      thread.current = undefined;
      void restart(thread, reason);
    });
  }

  async function restart(thread: Thread, reason: string): Promise<void> {
    try {
      if (++restarts > MAX_RESTARTS) {
        throw new CspladeError("encode_failed", `The encoder thread keeps stopping: ${reason}`, {
          hint: "Lower model.token_budget if memory ran out.",
        });
      }
      thread.worker = await startWorker(data);
      watch(thread);
      dispatch();
    } catch (thrown) {
      broken =
        thrown instanceof CspladeError
          ? thrown
          : new CspladeError("encode_failed", messageOf(thrown), { cause: thrown });
      for (const pending of waiting.splice(0)) pending.reject(broken);
    }
  }

  function dispatch(): void {
    for (const thread of threads) {
      if (thread.current !== undefined) continue;
      const next = waiting.shift();
      if (next === undefined) return;
      thread.current = next;
      thread.worker.postMessage(next.request);
    }
  }

  async function submit(
    kind: EncoderRequest["kind"],
    texts: readonly string[],
    options: EncodeOptions,
  ): Promise<Reply> {
    options.signal?.throwIfAborted();
    if (closed) throw new CspladeError("encode_failed", "The encoder is closed.");
    if (broken !== undefined) throw broken;
    const role = kind === "queries" ? "query" : "document";
    const cancelled = new SharedArrayBuffer(4);
    const request: EncoderRequest = {
      id: nextId++,
      kind,
      texts,
      max_tokens: manifest.max_tokens[role],
      max_passages: options.max_passages ?? config["ingest.max_passages"],
      token_budget: options.token_budget ?? tokenBudgetOf(config),
      top_k: manifest.top_k[role],
      rows: manifest.vocabulary_size,
      words: kind === "queries" || options.words === true,
      merged: options.merged === true,
      cancelled,
    };
    let stopListening = () => {};
    try {
      const reply = await new Promise<Reply>((resolve, reject) => {
        const pending: Pending = { request, resolve, reject };
        stopListening = onAbort(options.signal, () => {
          Atomics.store(new Int32Array(cancelled), 0, 1);
          const place = waiting.indexOf(pending);
          if (place >= 0) waiting.splice(place, 1);
          reject(new CspladeError("aborted", "Encoding was cancelled."));
        });
        waiting.push(pending);
        dispatch();
      });
      if (reply.type === "failed") throw new CspladeError(reply.code as ErrorCode, reply.message);
      return reply;
    } finally {
      stopListening();
    }
  }

  async function encode(
    kind: "documents" | "queries",
    texts: readonly string[],
    options: EncodeOptions = {},
  ): Promise<EncodedText[]> {
    if (texts.length === 0) return [];
    const reply = await submit(kind, texts, options);
    if (reply.type !== "encoded") throw new CspladeError("encode_failed", "Wrong reply.");
    totals.texts += texts.length;
    totals.batches += reply.work.batches;
    totals.tokens += reply.work.tokens;
    totals.padded_tokens += reply.work.padded_tokens;
    totals.busy_ms += reply.work.busy_ms;
    return reply.texts;
  }

  return {
    checkpoint,
    manifest,
    encodeDocuments: (texts, options) => encode("documents", texts, options),
    encodeQueries: (texts, options) =>
      byTable === undefined
        ? encode("queries", texts, options)
        : Promise.resolve(byTable.encode(texts)),
    lexicon: lexiconOf(checkpoint),
    async literals(texts, options = {}) {
      if (texts.length === 0) return [];
      const reply = await submit("literals", texts, options);
      return reply.type === "literals" ? reply.literals : [];
    },
    totals: () => ({ ...totals }),
    async close() {
      if (closed) return;
      closed = true;
      const error = new CspladeError("aborted", "The encoder was closed.");
      for (const pending of waiting.splice(0)) pending.reject(error);
      await Promise.all(threads.map((thread) => stopWorker(thread.worker)));
    },
  };
}

/** Most tokens in a batch: larger ones leave the CPU's cache, smaller ones leave a GPU idle. */
export function tokenBudgetOf(
  config: Pick<Config, "model.token_budget" | "model.provider">,
): number {
  return config["model.token_budget"] || (config["model.provider"] === "cuda" ? 8192 : 512);
}

/** What of a checkpoint's lexicon is needed to weigh words anew. */
function lexiconOf({ lexiconFile }: CheckpointDirectory): IdfScale | undefined {
  if (lexiconFile === undefined) return undefined;
  const { unit, idf_range } = readLexicon(lexiconFile);
  return { unit, idf_range };
}

/** Starts a thread and waits until its model is loaded. */
async function startWorker(data: EncoderThreadData): Promise<Worker> {
  // ONNX Runtime 1.29 and newer reports models and their use to its maker unless told not to. It
  // asks the process's environment, which a worker thread cannot change.
  process.env.ORT_DISABLE_TELEMETRY ??= "1";
  const worker = new Worker(new URL("./encoder-thread.js", import.meta.url), { workerData: data });
  const over = new AbortController();
  const refuse = (reason: string) =>
    new CspladeError("encode_failed", `The encoder thread cannot start: ${reason}`);
  try {
    const [message] = (await Promise.race([
      once(worker, "message", over),
      once(worker, "exit", over).then(() => {
        throw refuse("it ended.");
      }),
    ]).catch((thrown: unknown) => {
      throw thrown instanceof CspladeError ? thrown : refuse(messageOf(thrown));
    })) as [EncoderReply];
    if (message.type === "broken") {
      const details = message.hint === undefined ? {} : { hint: message.hint };
      throw new CspladeError(message.code as ErrorCode, message.message, details);
    }
    return worker;
  } finally {
    over.abort();
  }
}

async function stopWorker(worker: Worker): Promise<void> {
  const ended = once(worker, "exit");
  worker.postMessage("close");
  try {
    await withDeadline(ended, CLOSE_DEADLINE_MS, "Closing an encoder thread");
  } catch {
    await worker.terminate();
  }
}
