/**
 * Writes documents in bulk: many callers share its requests, its memory bounds and its
 * patience. Only what the cluster did not take is sent again, one bad document fails
 * alone, and no call returns before every one of its operations has an outcome.
 */
import { setTimeout as startTimer, clearTimeout as stopTimer } from "node:timers";
import { performance } from "node:perf_hooks";
import type { Cluster } from "../cluster/cluster.js";
import { onAbort } from "../waiting/on-abort.js";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { judgeAnswer, type BulkVerdict } from "./bulk-answer.js";
import { linesOf, targetOf, type BulkOperation, type WriteResult } from "./bulk-operation.js";
import { BulkPace } from "./bulk-pace.js";

/** Bounds of a writer. */
export interface BulkWriterOptions {
  /** Most bytes of a request; one larger operation goes alone. */
  readonly max_bytes: number;
  /** Most requests in flight. */
  readonly concurrency: number;
  /** How long the cluster may be away or busy before a write is given up, milliseconds. */
  readonly max_wait_ms: number;
  /** First pause when the cluster is away or busy, milliseconds; it doubles from there (250). */
  readonly first_pause_ms?: number;
  /** Ends every write with `aborted`. */
  readonly signal?: AbortSignal;
  /** Told each time operations have to be sent again. */
  readonly onRetry?: (retry: BulkRetry) => void;
}

/** Why operations are sent again, and how. */
export interface BulkRetry {
  readonly cause: "busy" | "away" | "too_large";
  readonly reason: string;
  /** How many operations. */
  readonly operations: number;
  /** Pause before the next request, milliseconds. */
  readonly pause_ms: number;
  /** Pace from now on. */
  readonly max_bytes: number;
  readonly concurrency: number;
}

/** A bulk writer. */
export interface BulkWriter {
  /**
   * Writes operations; await it before building more, that is the back-pressure.
   * Operations on the same id take effect in the order they were given.
   * @returns one result per operation, in order, when all are settled.
   * @throws UnacknowledgedError if the cluster stayed away longer than `max_wait_ms`
   *   (`cluster_unreachable`), refused the request as a whole (`cluster_rejected`), or the
   *   signal fired or the writer was closed (`aborted`).
   * @param signal ends this call alone with `aborted`: what is in flight is waited for, so that
   *   nothing of it is written after the call has ended.
   */
  write(operations: readonly BulkOperation[], signal?: AbortSignal): Promise<WriteResult[]>;
  /** Takes no more writes; resolves when those in progress have ended, well or not. */
  close(): Promise<void>;
}

/** A write that ended before every operation had an outcome. Writing it again is safe. */
export class UnacknowledgedError extends CspladeError {
  /** Per operation, in order: its outcome, or undefined if the cluster did not acknowledge it. */
  readonly results: readonly (WriteResult | undefined)[];
  /** The reason, without the count. */
  readonly why: CspladeError;

  constructor(why: CspladeError, results: readonly (WriteResult | undefined)[]) {
    const known = results.filter((result) => result !== undefined).length;
    super(why.code, `${why.message} ${known} of ${results.length} operations were acknowledged.`, {
      cause: why,
      ...(why.hint === undefined ? {} : { hint: why.hint }),
    });
    this.results = results;
    this.why = why;
  }
}

/** A writer's bounds from the configuration. */
export function bulkWriterOptions(config: Config): BulkWriterOptions {
  return {
    max_bytes: config["write.max_bytes"],
    concurrency: config["write.concurrency"],
    max_wait_ms: config["write.max_wait_ms"],
  };
}

/** Bounds the parsing of one answer when operations are tiny (deletes). */
const MOST_OPERATIONS = 5_000;

/** A lone operation that the cluster's memory protection refuses this often fails. */
const MOST_LONE_REFUSALS = 5;

/** One call of `write`. */
interface Call {
  readonly results: (WriteResult | undefined)[];
  open: number;
  /** Set once the call cannot succeed any more; it ends when nothing of it is in flight. */
  doomed: CspladeError | undefined;
  readonly end: () => void;
}

interface Pending {
  readonly operation: BulkOperation;
  readonly call: Call;
  readonly slot: number;
  lines: string | undefined;
  bytes: number;
  troubledSince: number | undefined;
  loneRefusals: number;
}

/** Creates a writer. Close it to know that everything has ended. */
export function createBulkWriter(cluster: Cluster, options: BulkWriterOptions): BulkWriter {
  const pace = new BulkPace(options);
  const calls = new Set<Call>();
  /** Documents with an operation in flight: a second one waits, or they could overtake each other. */
  const busyTargets = new Set<string>();
  let queue: Pending[] = [];
  let inFlight = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let pumping = false;
  /** Since when no operation was settled although requests were sent. */
  let troubledSince: number | undefined;
  let lastTrouble = "";
  const waitingForIdle: (() => void)[] = [];

  const aborted = () => new CspladeError("aborted", `Writing to ${cluster.url} was cancelled.`);
  const stopListening = onAbort(options.signal, () => doom([...calls], aborted()));

  /** Lets calls of the same turn of the event loop share the first request. */
  function pumpSoon(): void {
    if (pumping) return;
    pumping = true;
    queueMicrotask(() => {
      pumping = false;
      pump();
    });
  }

  function pump(): void {
    stopTimer(timer);
    const now = performance.now();
    if (troubledSince !== undefined && now - troubledSince >= options.max_wait_ms) {
      troubledSince = undefined;
      doom([...calls], stayedAway(lastTrouble));
    }
    while (queue.length > 0 && inFlight < pace.concurrency) {
      if (pace.pausedUntil > now) {
        troubledSince ??= now;
        const deadline = troubledSince + options.max_wait_ms;
        const wait = Math.min(pace.pausedUntil, Math.max(deadline, now)) - now;
        timer = startTimer(pump, Math.ceil(wait) + 1);
        return;
      }
      const batch = takeBatch();
      if (batch.length === 0) return;
      inFlight += 1;
      void sendBatch(batch).finally(() => {
        inFlight -= 1;
        for (const pending of batch) busyTargets.delete(targetOf(pending.operation));
        pump();
      });
    }
  }

  function takeBatch(): Pending[] {
    const batch: Pending[] = [];
    const held: Pending[] = [];
    let bytes = 0;
    let taken = 0;
    for (; taken < queue.length && batch.length < MOST_OPERATIONS; taken++) {
      const pending = queue[taken] as Pending;
      const target = targetOf(pending.operation);
      if (busyTargets.has(target)) {
        held.push(pending);
        continue;
      }
      if (!serialize(pending)) continue;
      if (batch.length > 0 && bytes + pending.bytes > pace.bytes) break;
      batch.push(pending);
      busyTargets.add(target);
      bytes += pending.bytes;
    }
    queue = held.concat(queue.slice(taken));
    return batch;
  }

  function serialize(pending: Pending): boolean {
    if (pending.lines !== undefined) return true;
    const made = linesOf(pending.operation);
    if ("problem" in made) {
      settle(pending, { status: "failed", reason: made.problem });
      return false;
    }
    pending.lines = made.lines;
    pending.bytes = Buffer.byteLength(made.lines);
    return true;
  }

  async function sendBatch(batch: readonly Pending[]): Promise<void> {
    const body = batch.map((pending) => pending.lines ?? "").join("");
    const bytes = batch.reduce((sum, pending) => sum + pending.bytes, 0);
    // Written again where needed: a request in flight should not hold its text twice.
    for (const pending of batch) pending.lines = undefined;
    let verdict: BulkVerdict;
    let retryAfterSeconds: number | undefined;
    try {
      const answer = await cluster.send({
        method: "POST",
        path: "/_bulk",
        query: { filter_path: "items.*._id,items.*.status,items.*.result,items.*.error" },
        body,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      retryAfterSeconds = answer.retryAfterSeconds;
      verdict = judgeAnswer(
        batch.map((pending) => pending.operation),
        answer,
      );
    } catch (thrown) {
      verdict = { kind: "retry", cause: "away", reason: messageOf(thrown) };
    }
    apply(batch, bytes, verdict, retryAfterSeconds);
  }

  function apply(
    batch: readonly Pending[],
    bytes: number,
    verdict: BulkVerdict,
    retryAfterSeconds: number | undefined,
  ): void {
    switch (verdict.kind) {
      case "items":
        applyItems(batch, bytes, verdict.items, retryAfterSeconds);
        break;
      case "refused":
        doom(
          [...new Set(batch.map((pending) => pending.call))],
          new CspladeError(
            "cluster_rejected",
            `${cluster.url} refused a bulk request: ${verdict.reason}.`,
            { hint: "Check the credentials, and whether a proxy stands before the cluster." },
          ),
        );
        requeue(batch);
        break;
      case "too_large":
        applyTooLarge(batch, bytes, verdict, retryAfterSeconds);
        break;
      case "retry":
        retry(batch, verdict.cause, verdict.reason, retryAfterSeconds);
        break;
    }
  }

  function applyItems(
    batch: readonly Pending[],
    bytes: number,
    items: Extract<BulkVerdict, { kind: "items" }>["items"],
    retryAfterSeconds: number | undefined,
  ): void {
    const again: Pending[] = [];
    let cause: "busy" | "away" = "away";
    let reason = "";
    for (const [i, item] of items.entries()) {
      const pending = batch[i] as Pending;
      if (item.kind === "settled") {
        troubledSince = undefined;
        settle(pending, item.result);
      } else {
        again.push(pending);
        if (item.cause === "busy") cause = "busy";
        reason = item.reason;
      }
    }
    if (again.length === 0) pace.succeeded(bytes);
    else retry(again, cause, reason, retryAfterSeconds);
  }

  function applyTooLarge(
    batch: readonly Pending[],
    bytes: number,
    { hard, reason }: Extract<BulkVerdict, { kind: "too_large" }>,
    retryAfterSeconds: number | undefined,
  ): void {
    const [lone] = batch;
    if (batch.length === 1 && lone !== undefined) {
      lone.loneRefusals += 1;
      if (hard || lone.loneRefusals >= MOST_LONE_REFUSALS) {
        const said = `The document is too large for the cluster (${bytes} bytes alone in a request): ${reason}`;
        settle(lone, { status: "failed", reason: said });
        return;
      }
    } else {
      pace.tooLarge(bytes, hard);
    }
    if (hard) {
      tell(batch, "too_large", reason, 0);
      requeue(batch);
    } else {
      retry(batch, "busy", reason, retryAfterSeconds);
    }
  }

  function retry(
    batch: readonly Pending[],
    cause: "busy" | "away",
    reason: string,
    retryAfterSeconds: number | undefined,
  ): void {
    const now = performance.now();
    troubledSince ??= now;
    lastTrouble = reason;
    for (const pending of batch) {
      pending.troubledSince ??= now;
      // Others may be written meanwhile; this one's part of the cluster stays away.
      if (now - pending.troubledSince >= options.max_wait_ms) {
        doom([pending.call], stayedAway(reason));
      }
    }
    const pause =
      cause === "busy" ? pace.busy(now, retryAfterSeconds) : pace.pause(now, retryAfterSeconds);
    requeue(batch);
    tell(batch, cause, reason, pause);
  }

  /** To the front, so that what was given first is written first; given-up calls drop out. */
  function requeue(batch: readonly Pending[]): void {
    queue = batch.filter((pending) => pending.call.doomed === undefined).concat(queue);
    for (const pending of batch) {
      if (pending.call.doomed !== undefined) closeSlot(pending.call);
    }
  }

  function tell(
    batch: readonly Pending[],
    cause: BulkRetry["cause"],
    reason: string,
    pause_ms: number,
  ): void {
    const operations = batch.filter((pending) => pending.call.doomed === undefined).length;
    if (operations === 0) return;
    const { bytes: max_bytes, concurrency } = pace;
    options.onRetry?.({ cause, reason, operations, pause_ms, max_bytes, concurrency });
  }

  function settle(pending: Pending, result: WriteResult): void {
    pending.call.results[pending.slot] = result;
    closeSlot(pending.call);
  }

  function closeSlot(call: Call): void {
    call.open -= 1;
    if (call.open === 0) call.end();
  }

  /** Gives calls up: what is queued is dropped at once, what is in flight ends by itself. */
  function doom(given: readonly Call[], why: CspladeError): void {
    for (const call of given) call.doomed ??= why;
    const dropped = queue.filter((pending) => pending.call.doomed !== undefined);
    queue = queue.filter((pending) => pending.call.doomed === undefined);
    for (const pending of dropped) closeSlot(pending.call);
  }

  function stayedAway(reason: string): CspladeError {
    const seconds = Math.round(options.max_wait_ms / 1000);
    return new CspladeError(
      "cluster_unreachable",
      `${cluster.url} took no documents for ${seconds} s: ${reason}.`,
      {
        hint: "Documents that were not acknowledged can be written again; write.max_wait_ms sets the patience.",
      },
    );
  }

  return {
    write(operations, signal) {
      if (closed || options.signal?.aborted === true || signal?.aborted === true) {
        const why = closed ? new CspladeError("aborted", "The bulk writer is closed.") : aborted();
        return Promise.reject(
          new UnacknowledgedError(
            why,
            operations.map(() => undefined),
          ),
        );
      }
      if (operations.length === 0) return Promise.resolve([]);
      return new Promise((resolve, reject) => {
        const call: Call = {
          results: operations.map(() => undefined),
          open: operations.length,
          doomed: undefined,
          end() {
            stopWaiting();
            calls.delete(call);
            if (calls.size === 0) waitingForIdle.splice(0).forEach((resolve) => resolve());
            const results = call.results.filter((result) => result !== undefined);
            if (results.length === call.results.length) resolve(results);
            else reject(new UnacknowledgedError(call.doomed ?? aborted(), call.results));
          },
        };
        // Trouble of writes that were given up is not this one's.
        if (calls.size === 0) troubledSince = undefined;
        calls.add(call);
        const stopWaiting = onAbort(signal, () => doom([call], aborted()));
        const added = operations.map((operation, slot): Pending => ({
          operation,
          call,
          slot,
          lines: undefined,
          bytes: 0,
          troubledSince: undefined,
          loneRefusals: 0,
        }));
        queue = queue.concat(added);
        pumpSoon();
      });
    },
    async close() {
      closed = true;
      if (calls.size > 0) await new Promise<void>((resolve) => waitingForIdle.push(resolve));
      stopTimer(timer);
      stopListening();
    },
  };
}
