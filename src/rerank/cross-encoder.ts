/** A cross-encoder's directory, run by ONNX Runtime in a thread of its own. */
import { once } from "node:events";
import os from "node:os";
import path from "node:path";
import { Worker } from "node:worker_threads";
import type { Config } from "../config/settings.js";
import { demandFiles, readManifestAs } from "../encoder/checkpoint-directory.js";
import { tokenBudgetOf } from "../encoder/token-budget.js";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { onAbort } from "../waiting/on-abort.js";
import { withDeadline } from "../waiting/deadline.js";
import type { CrossEncoderData, ScoreReply, ScoreTask } from "./cross-encoder-thread.js";
import type { Reranker } from "./reranker.js";
import { rerankerManifestSchema } from "./reranker-manifest.js";

/** Questions that may wait for the thread: more would only miss their deadline. */
const MOST_WAITING = 64;

/** Most tokens in a batch: whoever gave up is noticed between two. */
const TOKENS_AT_ONCE = 4_096;

const CLOSE_MS = 10_000;

interface Asked {
  readonly resolve: (scores: readonly number[]) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Loads it.
 * @throws CspladeError `model_not_found`, `model_invalid`, `provider_unavailable`, `provider_unsuitable`.
 */
export async function openCrossEncoder(config: Config, directory: string): Promise<Reranker> {
  const manifest = readManifestAs(directory, rerankerManifestSchema);
  await demandFiles(directory, manifest.files, true);
  const provider = config["model.provider"];
  if (manifest.provider !== undefined && manifest.provider !== provider) {
    throw new CspladeError(
      "provider_unsuitable",
      `The cross-encoder ${directory} was written for ${manifest.provider}, and model.provider is ${provider}.`,
      { hint: `Convert it again with csplade-train convert --provider ${provider}.` },
    );
  }
  const data: CrossEncoderData = {
    modelFile: path.join(directory, "model.onnx"),
    tokenizerFile: path.join(directory, "tokenizer.json"),
    input: manifest.input,
    max_tokens: Math.min(manifest.max_tokens, config["rerank.max_tokens"]),
    padTokenId: manifest.pad_token_id,
    tokenBudget: Math.min(TOKENS_AT_ONCE, tokenBudgetOf(config)),
    provider,
    device: config["model.device"],
    allowCpu: config["model.cpu_fallback"] !== "never",
    threads: config["model.threads"] || os.availableParallelism(),
  };
  const asked = new Map<number, Asked>();
  let nextId = 1;
  let closed = false;
  let watchdog: NodeJS.Timeout | undefined;
  /** A thread that died is replaced when somebody asks again. */
  let running: Promise<Worker> | undefined = start();
  await running;

  async function start(): Promise<Worker> {
    process.env.ORT_DISABLE_TELEMETRY ??= "1";
    const worker = new Worker(new URL("./cross-encoder-thread.js", import.meta.url), {
      workerData: data,
    });
    try {
      const loading = "Loading the cross-encoder (model.load_timeout_ms)";
      const first = withDeadline(
        once(worker, "message"),
        config["model.load_timeout_ms"],
        loading,
      ) as Promise<[{ type: "ready" } | { type: "broken"; code: ErrorCode; message: string }]>;
      const [message] = await first;
      if (message.type === "broken") throw new CspladeError(message.code, message.message);
    } catch (thrown) {
      void worker.terminate();
      throw thrown;
    }
    let reason = "it ended";
    worker.on("message", (reply: ScoreReply) => {
      const waiting = asked.get(reply.id);
      asked.delete(reply.id);
      watch(worker);
      if ("scores" in reply) waiting?.resolve(reply.scores);
      else waiting?.reject(new Error(reply.failure));
    });
    worker.on("error", (error) => (reason = messageOf(error)));
    worker.on("exit", () => {
      running = undefined;
      clearTimeout(watchdog);
      for (const [id, { reject }] of asked) {
        asked.delete(id);
        reject(new Error(`The cross-encoder's thread stopped: ${reason}`));
      }
    });
    return worker;
  }

  /** Ends a thread that answers nothing for too long. */
  function watch(worker: Worker): void {
    clearTimeout(watchdog);
    if (asked.size === 0) return;
    watchdog = setTimeout(() => void worker.terminate(), config["model.run_timeout_ms"]);
    watchdog.unref();
  }

  return {
    name: manifest.name,
    async score(question, texts, signal) {
      if (closed) throw new CspladeError("aborted", "The cross-encoder is closed.");
      if (asked.size >= MOST_WAITING) throw new Error("The cross-encoder has too much to do.");
      running ??= start().catch((thrown: unknown) => {
        running = undefined;
        throw thrown;
      });
      const worker = await running;
      signal.throwIfAborted();
      const cancelled = new SharedArrayBuffer(4);
      const task: ScoreTask = { id: nextId++, question, texts, cancelled };
      let stopListening = () => {};
      try {
        return await new Promise<readonly number[]>((resolve, reject) => {
          stopListening = onAbort(signal, () => {
            Atomics.store(new Int32Array(cancelled), 0, 1);
            reject(signal.reason as Error);
          });
          const first = asked.size === 0;
          asked.set(task.id, { resolve, reject });
          if (first) watch(worker);
          worker.postMessage(task);
        });
      } finally {
        stopListening();
      }
    },
    async close() {
      if (closed) return;
      closed = true;
      const worker = await running?.catch(() => undefined);
      if (worker === undefined) return;
      const ended = once(worker, "exit");
      worker.postMessage("close");
      await withDeadline(ended, CLOSE_MS, "Closing the cross-encoder").catch(() =>
        worker.terminate(),
      );
    },
  };
}
