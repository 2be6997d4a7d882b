/** Scans bodies: small ones at once, large ones in a thread, one after the other. */
import { Worker } from "node:worker_threads";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import { ClauseError } from "./csplade-clause.js";
import type { RequestLife } from "./request-life.js";
import { scanSearches, type Scan, type ScanOptions } from "./search-scan.js";
import type { SearchTarget } from "./search-target.js";

/** What the thread is asked. */
export interface ScanTask {
  readonly id: number;
  readonly body: Uint8Array;
  readonly target: SearchTarget;
  readonly options: ScanOptions;
}

/** What it answers. */
export type ScanAnswer = { readonly id: number } & (
  | { readonly scan: Scan }
  | {
      readonly error: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly hint: string | undefined;
        readonly offset?: number;
      };
    }
);

/** Scans bodies. */
export interface SearchScanner {
  /**
   * @throws as scanSearches does; CspladeError `overloaded` where too many wait, `batch_too_large`
   *   for a body that takes too long or too much memory, the life's reason.
   */
  scan(
    body: Buffer,
    target: SearchTarget,
    options: ScanOptions,
    life: Pick<RequestLife, "whenOver">,
  ): Promise<Scan>;
  close(): Promise<void>;
}

/** Bodies up to this size are scanned in a millisecond or two. */
export const SCANNED_AT_ONCE_BYTES = 65_536;

const MOST_WAITING = 32;
const LONGEST_MS = 10_000;
const MEMORY_MB = 768;

interface Waiting {
  readonly task: ScanTask;
  readonly resolve: (scan: Scan) => void;
  readonly reject: (reason: Error) => void;
}

/** Starts no thread before one is needed. */
export function createSearchScanner(): SearchScanner {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let timer: NodeJS.Timeout | undefined;
  let scanning: number | undefined;
  let next = 0;

  function start(): Worker {
    const started = new Worker(new URL("./search-scan-thread.js", import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
    });
    started.unref();
    started.on("message", (answer: ScanAnswer) => finish(answer));
    started.on("error", () => giveUp(started));
    started.on("exit", () => giveUp(started));
    return started;
  }

  function scanNext(): void {
    if (scanning !== undefined) return;
    const [first] = waiting.values();
    if (first === undefined) return;
    worker ??= start();
    scanning = first.task.id;
    timer = setTimeout(() => void worker?.terminate(), LONGEST_MS).unref();
    worker.postMessage(first.task);
  }

  function finish(answer: ScanAnswer): void {
    if (answer.id !== scanning) return;
    clearTimeout(timer);
    scanning = undefined;
    const asked = waiting.get(answer.id);
    waiting.delete(answer.id);
    if ("scan" in answer) asked?.resolve(answer.scan);
    else asked?.reject(errorOf(answer.error));
    scanNext();
  }

  /** The thread ended: the body it had is to blame, the others get a new one. */
  function giveUp(ended: Worker): void {
    if (worker !== ended) return;
    worker = undefined;
    const id = scanning;
    if (id === undefined) return;
    finish({
      id,
      error: {
        code: "batch_too_large",
        message: "The search's body takes too long or too much memory to look into.",
        hint: "Send it to the cluster directly, or with fewer values.",
      },
    });
  }

  return {
    scan(body, target, options, life) {
      if (body.length <= SCANNED_AT_ONCE_BYTES) {
        return Promise.resolve().then(() => scanSearches(body.toString("utf8"), target, options));
      }
      if (waiting.size >= MOST_WAITING) {
        return Promise.reject(
          new CspladeError("overloaded", `${waiting.size} large searches wait to be looked into.`),
        );
      }
      return new Promise((resolve, reject) => {
        const id = next++;
        waiting.set(id, { task: { id, body, target, options }, resolve, reject });
        life.whenOver((reason) => {
          reject(reason);
          // One that is being scanned is left to end: its answer is for nobody.
          if (scanning !== id) waiting.delete(id);
        });
        scanNext();
      });
    },
    async close() {
      clearTimeout(timer);
      for (const { reject } of waiting.values()) {
        reject(new CspladeError("aborted", "The gateway ends."));
      }
      waiting.clear();
      const ended = worker;
      worker = undefined;
      await ended?.terminate();
    },
  };
}

function errorOf({
  code,
  message,
  hint,
  offset,
}: Extract<ScanAnswer, { error: unknown }>["error"]): CspladeError {
  if (offset !== undefined) return new ClauseError(message, offset, hint);
  return new CspladeError(code, message, hint === undefined ? {} : { hint });
}
