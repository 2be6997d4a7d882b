/**
 * Threads of an encoder, of one kind: gives out tasks, watches that they are answered, and takes up
 * again what a dead, hanging or broken thread left. Which state a thread is in is decided by
 * `thread-state.ts` alone.
 */
import { on, once } from "node:events";
import { Worker } from "node:worker_threads";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";
import { onAbort } from "../waiting/on-abort.js";
import type {
  EncoderReply,
  EncoderTask,
  SessionTask,
  SessionThreadData,
  TextTask,
  TextThreadData,
} from "./encoder-protocol.js";
import {
  threadStateMachine,
  type ThreadState,
  type ThreadStateMachine,
  type ThreadTransition,
} from "./thread-state.js";

/** How threads are started and watched. */
export interface EncoderThreadOptions extends ThreadTimes {
  /** What they do: tokenize and weigh words, or compute. */
  readonly work: ThreadWork;
  readonly threads: number;
  /** Number of the first one, for whoever is told of transitions; 0 without it. */
  readonly firstNumber?: number;
  /** Options of Node.js for the threads, such as `--import` of an instrumentation. */
  readonly execArgv?: readonly string[] | undefined;
  readonly onTransition?: ((transition: ThreadTransition) => void) | undefined;
  /** Told the most tokens that batches have from now on, because memory ran out for more. */
  readonly onMemoryExhausted?: ((tokens: number) => void) | undefined;
}

/** A kind of thread, and what it is started with. */
export type ThreadWork =
  | { readonly kind: "text"; readonly data: TextThreadData }
  | { readonly kind: "session"; readonly data: SessionThreadData };

/** How long threads are waited for. */
export interface ThreadTimes {
  /** How long a thread may load its model, milliseconds. */
  readonly loadTimeoutMs: number;
  /** How long a thread may work on one batch or one text without a sign, milliseconds. */
  readonly runTimeoutMs: number;
}

/** How an encoder is. */
export interface EncoderHealth {
  /** `broken`: nothing will be encoded any more by this process. */
  readonly state: "ready" | "failing" | "broken" | "closed";
  /** Why it is not ready. */
  readonly reason?: string;
  readonly threads: readonly ThreadState[];
  /** Threads that were started in place of another one. */
  readonly restarts: number;
  /** When a text was encoded last, ISO 8601. */
  readonly last_inference?: string;
  /** Most tokens of a batch since memory ran out for a larger one. */
  readonly fitting_tokens?: number;
}

/** A reply to a task. */
export type Reply = Extract<
  EncoderReply,
  { type: "cut" | "encoded" | "weighed" | "literals" | "failed" }
>;

type Task = TextTask | SessionTask;

/** The running threads. */
export interface EncoderThreads {
  /**
   * Has a task answered.
   * @throws CspladeError `aborted`; `encode_failed` if the thread died or hung over it as often as
   *   it may, `document_breaks_device` if sessions broke over it; `device_failed` or `device_hung` once nothing can be encoded any more.
   */
  submit(task: Task, signal?: AbortSignal): Promise<Reply>;
  /** Refuses what no thread has begun. */
  dropWaiting(error: CspladeError): void;
  health(): EncoderHealth;
  /** Ends everything with an error: whoever judged the device found it broken. */
  declareBroken(error: CspladeError): void;
  /** Aborted when nothing can be encoded any more, with the error as its reason. */
  readonly broken: AbortSignal;
  close(): Promise<void>;
}

interface Pending {
  readonly task: EncoderTask;
  /** Threads that died or hung over it. */
  deaths: number;
  /** Sessions that broke over it, and that a new one in their place could encode after. */
  breaks: number;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly machine: ThreadStateMachine;
  worker: Worker;
  current: Pending | undefined;
  /** Failures since something was last encoded on this thread. */
  failures: number;
  watchdog: NodeJS.Timeout | undefined;
}

/** Failures of a thread in a row, without an encoded text between them, after which it is broken. */
const MAX_FAILURES = 3;

/**
 * Breaks over one request after which it is looked at for a text at fault: before each the device encoded
 * something, and after each a new session did.
 */
const MAX_BREAKS = 2;

/** How long `close` waits for running requests, milliseconds. */
const CLOSE_DEADLINE_MS = 30_000;

/** How long a thread that is to be thrown away may take to end, milliseconds. */
const TERMINATE_MS = 5_000;

/** Starts the threads and waits until each has encoded something. @throws CspladeError why one cannot. */
export async function startEncoderThreads(options: EncoderThreadOptions): Promise<EncoderThreads> {
  const waiting: Pending[] = [];
  const broken = new AbortController();
  const threads: Thread[] = [];
  const closing = new AbortController();
  const isClosed = (): boolean => closing.signal.aborted;
  let restarts = 0;
  let lastInference: string | undefined;
  let trouble: string | undefined;
  let fitting = Infinity;
  const tell = options.onTransition ?? (() => {});

  const started = await Promise.allSettled(
    Array.from({ length: options.threads }, async (_, number) => {
      const machine = threadStateMachine((options.firstNumber ?? 0) + number, tell);
      try {
        const worker = await startWorker(options);
        machine.become("idle");
        return { machine, worker, current: undefined, failures: 0, watchdog: undefined };
      } catch (thrown) {
        machine.become("failed", messageOf(thrown));
        throw thrown;
      }
    }),
  );
  for (const each of started) if (each.status === "fulfilled") threads.push(each.value);
  const failed = started.find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") {
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
    throw failed.reason;
  }
  for (const thread of threads) listen(thread);

  function listen(thread: Thread): void {
    const { worker } = thread;
    worker.on("message", (message: EncoderReply) => {
      if (!("id" in message) || thread.current?.task.id !== message.id) return;
      if (message.type === "device") {
        learn(message.fitting_tokens);
        void replace(thread, message.message, "device");
        return;
      }
      answer(thread, message);
    });
    let reason = "it ended without a reason";
    worker.on("error", (error) => (reason = messageOf(error)));
    worker.on("exit", () => {
      if (thread.worker === worker) void replace(thread, reason, "death");
    });
  }

  function answer(thread: Thread, reply: Reply): void {
    clearTimeout(thread.watchdog);
    const done = thread.current;
    thread.current = undefined;
    thread.machine.become("idle");
    if (reply.type !== "failed") {
      thread.failures = 0;
      trouble = undefined;
    }
    if (reply.type === "encoded") {
      learn(reply.work.fitting_tokens);
      lastInference = new Date().toISOString();
    }
    dispatch();
    done?.resolve(reply);
  }

  function learn(tokens: number | undefined): void {
    if (tokens === undefined || tokens >= fitting) return;
    fitting = tokens;
    options.onMemoryExhausted?.(tokens);
  }

  /** Puts a new thread in the place of one that is of no use any more. */
  async function replace(thread: Thread, reason: string, kind: "device" | "death"): Promise<void> {
    const { state } = thread.machine;
    if (isClosed() || (state !== "idle" && state !== "busy")) return;
    clearTimeout(thread.watchdog);
    trouble = reason;
    thread.machine.become("failed", reason);
    thread.failures += 1;
    const suspect = takeSuspect(thread, kind);
    giveBack(thread, reason, kind);
    dispatch();
    const ended = await endWorker(thread.worker);
    if (isClosed()) return;
    if (!ended) {
      const message = `An encoder thread hangs in the runtime and does not end: ${reason}`;
      giveUp(thread, new CspladeError("device_hung", message), suspect);
      return;
    }
    if (thread.failures >= MAX_FAILURES && suspect === undefined) {
      giveUp(
        thread,
        new CspladeError("device_failed", `Encoding fails again and again: ${reason}`, {
          hint: "Look at the device. If memory ran out, lower model.token_budget.",
        }),
      );
      return;
    }
    await startAgain(thread, reason, suspect);
  }

  async function startAgain(
    thread: Thread,
    reason: string,
    suspect: Pending | undefined,
  ): Promise<void> {
    thread.machine.become("restarting");
    restarts += 1;
    try {
      const worker = await startWorker(options);
      if (isClosed()) {
        await worker.terminate();
        return;
      }
      thread.worker = worker;
      thread.machine.become("idle");
      listen(thread);
      if (suspect !== undefined) {
        thread.failures = 0;
        const message = `Sessions that encode other texts break over this: ${reason}`;
        suspect.reject(new CspladeError("document_breaks_device", message));
      }
      dispatch();
    } catch (thrown) {
      if (isClosed()) return;
      thread.machine.become("failed", messageOf(thrown));
      thread.failures += 1;
      if (isHang(thrown) && thread.failures < MAX_FAILURES) {
        await startAgain(thread, reason, suspect);
        return;
      }
      const message = `Encoding failed (${reason}), and so did a new session: ${messageOf(thrown)}`;
      giveUp(thread, new CspladeError("device_failed", message, { cause: thrown }), suspect);
    }
  }

  /** The request over which sessions broke as often as may be; it is not given back. */
  function takeSuspect(thread: Thread, kind: "device" | "death"): Pending | undefined {
    const left = thread.current;
    if (left === undefined || kind !== "device") return undefined;
    left.breaks += 1;
    if (left.breaks < MAX_BREAKS) return undefined;
    thread.current = undefined;
    return left;
  }

  /** What a failed thread worked on is done again; unless it may be what threads die of. */
  function giveBack(thread: Thread, reason: string, kind: "device" | "death"): void {
    const left = thread.current;
    thread.current = undefined;
    if (left === undefined) return;
    if (kind === "death") left.deaths += 1;
    // Of many texts one may be the cause: their owner takes them apart. A single one is tried twice.
    if (left.deaths > (left.task.size > 1 ? 0 : 1)) {
      const message = `The encoder thread stopped while encoding: ${reason}`;
      left.reject(new CspladeError("encode_failed", message));
    } else {
      waiting.unshift(left);
    }
  }

  function giveUp(thread: Thread, error: CspladeError, suspect?: Pending): void {
    thread.machine.become("broken", error.message);
    endAll(error);
    suspect?.reject(error);
  }

  function endAll(error: CspladeError): void {
    trouble = error.message;
    if (!broken.signal.aborted) broken.abort(error);
    for (const pending of waiting.splice(0)) pending.reject(error);
    for (const other of threads) {
      other.current?.reject(error);
      other.current = undefined;
    }
  }

  function dispatch(): void {
    for (const thread of threads) {
      if (thread.machine.state !== "idle") continue;
      const next = waiting.shift();
      if (next === undefined) return;
      thread.current = next;
      thread.machine.become("busy");
      thread.worker.postMessage(withinMemory(next.task));
      watch(thread, next);
    }
  }

  function withinMemory(task: EncoderTask): EncoderTask {
    if (!("token_budget" in task) || !Number.isFinite(fitting)) return task;
    const { token_budget } = task as SessionTask;
    return { ...task, token_budget: Math.min(token_budget, fitting) } as SessionTask;
  }

  /** A task that shows no sign of work for too long makes its thread a failed one. */
  function watch(thread: Thread, pending: Pending): void {
    const cells = new Int32Array(pending.task.shared);
    let seen = Atomics.load(cells, 1);
    const look = (): void => {
      if (thread.current !== pending) return;
      const now = Atomics.load(cells, 1);
      if (now === seen) {
        const seconds = options.runTimeoutMs / 1_000;
        void replace(thread, `it gave no sign for ${seconds} s`, "death");
        return;
      }
      seen = now;
      thread.watchdog = setTimeout(look, options.runTimeoutMs);
    };
    thread.watchdog = setTimeout(look, options.runTimeoutMs);
  }

  return {
    broken: broken.signal,
    declareBroken: endAll,
    dropWaiting(error) {
      for (const pending of waiting.splice(0)) pending.reject(error);
    },
    async submit(task, signal) {
      signal?.throwIfAborted();
      if (isClosed()) throw new CspladeError("aborted", "The encoder is closed.");
      if (broken.signal.aborted) throw broken.signal.reason;
      let stopListening = () => {};
      try {
        return await new Promise<Reply>((resolve, reject) => {
          const pending: Pending = { task, deaths: 0, breaks: 0, resolve, reject };
          stopListening = onAbort(signal, () => {
            Atomics.store(new Int32Array(task.shared), 0, 1);
            const place = waiting.indexOf(pending);
            if (place >= 0) waiting.splice(place, 1);
            reject(new CspladeError("aborted", "Encoding was cancelled."));
          });
          waiting.push(pending);
          dispatch();
        });
      } finally {
        stopListening();
      }
    },
    health() {
      const states = threads.map(({ machine }) => machine.state);
      const state = isClosed()
        ? "closed"
        : broken.signal.aborted
          ? "broken"
          : trouble === undefined
            ? "ready"
            : "failing";
      return {
        state,
        threads: states,
        restarts,
        ...(trouble === undefined ? {} : { reason: trouble }),
        ...(lastInference === undefined ? {} : { last_inference: lastInference }),
        ...(Number.isFinite(fitting) ? { fitting_tokens: fitting } : {}),
      };
    },
    async close() {
      if (isClosed()) return;
      closing.abort();
      const error = new CspladeError("aborted", "The encoder was closed.");
      for (const pending of waiting.splice(0)) pending.reject(error);
      await Promise.all(
        threads.map(async (thread) => {
          const { machine, worker } = thread;
          const wasUseful = machine.state === "idle" || machine.state === "busy";
          if (wasUseful) await stopWorker(worker);
          clearTimeout(thread.watchdog);
          machine.become("closed");
        }),
      );
    },
  };
}

/** True where a thread's start was waited for in vain: nothing is said about the model. */
function isHang(thrown: unknown): boolean {
  return thrown instanceof CspladeError && thrown.code === "deadline_exceeded";
}

/** Starts a thread and waits until its model is loaded and has encoded something. */
async function startWorker(options: EncoderThreadOptions): Promise<Worker> {
  // ONNX Runtime 1.29 and newer reports models and their use to its maker unless told not to. It
  // asks the process's environment, which a worker thread cannot change.
  process.env.ORT_DISABLE_TELEMETRY ??= "1";
  const { kind, data } = options.work;
  const worker = new Worker(new URL(`./${kind}-thread.js`, import.meta.url), {
    workerData: data,
    ...(options.execArgv === undefined ? {} : { execArgv: [...options.execArgv] }),
  });
  const over = new AbortController();
  const refuse = (reason: string) =>
    new CspladeError("encode_failed", `The encoder thread cannot start: ${reason}`);
  // Messages may come faster than they are asked for.
  const messages = on(worker, "message", over);
  const ended = once(worker, "exit", over).then(() => {
    throw refuse("it ended.");
  });
  ended.catch(() => {});
  const next = async (): Promise<EncoderReply> => {
    try {
      const next: { readonly value?: unknown } = await Promise.race([messages.next(), ended]);
      return (next.value as [EncoderReply])[0];
    } catch (thrown) {
      throw thrown instanceof CspladeError ? thrown : refuse(messageOf(thrown));
    }
  };
  try {
    const { loadTimeoutMs, runTimeoutMs } = options;
    const loading = "Loading the model in an encoder thread (model.load_timeout_ms)";
    const first = "The first inference of an encoder thread (model.run_timeout_ms)";
    let message = await withDeadline(next(), loadTimeoutMs, loading);
    if (message.type === "loaded") {
      // An inference that hangs here is not waited for as long as weights are.
      const deadline = Math.min(loadTimeoutMs, runTimeoutMs);
      message = await withDeadline(next(), deadline, first);
    }
    if (message.type === "broken") {
      const details = message.hint === undefined ? {} : { hint: message.hint };
      throw new CspladeError(message.code as ErrorCode, message.message, details);
    }
    return worker;
  } catch (thrown) {
    await endWorker(worker);
    throw thrown;
  } finally {
    over.abort();
  }
}

/** Ends a thread of no use. @returns false if it does not end, which only the process's end changes. */
async function endWorker(worker: Worker): Promise<boolean> {
  try {
    await withDeadline(worker.terminate(), TERMINATE_MS, "Ending an encoder thread");
    return true;
  } catch {
    worker.unref();
    return false;
  }
}

async function stopWorker(worker: Worker): Promise<void> {
  const ended = once(worker, "exit");
  worker.postMessage("close");
  try {
    await withDeadline(ended, CLOSE_DEADLINE_MS, "Closing an encoder thread");
  } catch {
    await endWorker(worker);
  }
}
