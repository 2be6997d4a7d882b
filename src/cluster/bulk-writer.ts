/**
 * Writes documents in bulk: many callers share its requests, its memory bounds and its
 * patience. Only what the cluster did not take is sent again, one bad document fails
 * alone, and no call returns before every one of its operations has an outcome.
 */
import { setTimeout as startTimer, clearTimeout as stopTimer } from "node:timers";
import { performance } from "node:perf_hooks";
import type { Cluster } from "./cluster.js";
import { patiently } from "./patience.js";
import { onAbort } from "../waiting/on-abort.js";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { judgeAnswer, type BulkVerdict } from "./bulk-answer.js";
import type { Call, Pending } from "./bulk-call.js";
import { linesOf, targetOf, type BulkOperation, type WriteResult } from "./bulk-operation.js";
import { BulkPace } from "./bulk-pace.js";
import { resolveWriteName } from "./write-alias.js";
import { UnacknowledgedError, writeFailures } from "./write-failure.js";

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
   * Operations on the same id take effect in the order they were given. No operation creates an
   * index: an index is written by the hidden alias that it had when this writer first wrote to it.
   * @returns one result per operation, in order, when all are settled.
   * @throws UnacknowledgedError if the cluster stayed away, or forbade writes, longer than
   *   `max_wait_ms` (`cluster_unreachable`), refused for a reason that waiting does not mend and no
   *   document is at fault of (`cluster_rejected`, `index_not_found`, `index_invalid`), or the signal
   *   fired or the writer was closed (`aborted`).
   * @param signal ends this call alone with `aborted`: what is in flight is waited for, so that
   *   nothing of it is written after the call has ended.
   */
  write(operations: readonly BulkOperation[], signal?: AbortSignal): Promise<WriteResult[]>;
  /** Takes no more writes; resolves when those in progress have ended, well or not. */
  close(): Promise<void>;
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

/** Where a document stands that a `create` made. */
const PLACES = ",items.create._version,items.create._seq_no,items.create._primary_term";

/** A lone operation that the cluster's memory protection refuses this often fails. */
const MOST_LONE_REFUSALS = 5;

/** Creates a writer. Close it to know that everything has ended. */
export function createBulkWriter(cluster: Cluster, options: BulkWriterOptions): BulkWriter {
  const pace = new BulkPace(options);
  const calls = new Set<Call>();
  /** Documents with an operation in flight: a second one waits, or they could overtake each other. */
  const busyTargets = new Set<string>();
  /** What indices are written by, as it was when the first operation on them came. */
  const names = new Map<string, string>();
  /** Indices that were gone: one that somebody made again under the name is not written. */
  const lost = new Set<string>();
  /** Calls that wait for names, one after the other: a later one never overtakes an earlier one. */
  let turn = Promise.resolve();
  let waitingForNames = 0;
  let queue: Pending[] = [];
  let inFlight = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let pumping = false;
  /** Since when no operation was settled although requests were sent. */
  let troubledSince: number | undefined;
  let lastTrouble = "";
  const waitingForIdle: (() => void)[] = [];

  const { aborted, refused, stayedAway, noName } = writeFailures(cluster.url, options.max_wait_ms);
  const stopListening = onAbort(options.signal, () => doom([...calls], aborted()));

  /** Asks what indices are written by, waiting for a cluster that is away. */
  async function findNames(
    operations: readonly BulkOperation[],
    given: AbortSignal | undefined,
  ): Promise<void> {
    const signals = [options.signal, given].filter((signal) => signal !== undefined);
    const signal = AbortSignal.any(signals);
    const config = { "write.max_wait_ms": options.max_wait_ms };
    const onTrouble = (reason: string) => {
      const { bytes: max_bytes, concurrency } = pace;
      const count = operations.length;
      options.onRetry?.({
        cause: "away",
        reason,
        operations: count,
        pause_ms: 0,
        max_bytes,
        concurrency,
      });
    };
    for (const index of new Set(operations.map((operation) => operation.index))) {
      if (names.has(index)) continue;
      const patience = { config, cluster, signal, onTrouble };
      names.set(
        index,
        await patiently(patience, () =>
          resolveWriteName(cluster, index, { adopts: !lost.has(index), signal }),
        ),
      );
    }
  }

  /** Lets calls of the same turn of the event loop share the first request. */
  function pumpSoon(): void {
    if (pumping) return;
    pumping = true;
    setImmediate(() => {
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
    let most = MOST_OPERATIONS;
    for (; taken < queue.length && batch.length < most; taken++) {
      const pending = queue[taken] as Pending;
      const target = targetOf(pending.operation);
      if (busyTargets.has(target)) {
        held.push(pending);
        continue;
      }
      if (!serialize(pending)) continue;
      if (batch.length > 0 && bytes + pending.bytes > pace.bytes) break;
      if (batch.length > 0 && batch.length >= pending.company) break;
      most = Math.min(most, pending.company);
      batch.push(pending);
      busyTargets.add(target);
      bytes += pending.bytes;
    }
    queue = held.concat(queue.slice(taken));
    return batch;
  }

  function serialize(pending: Pending): boolean {
    if (pending.lines !== undefined) return true;
    const { operation } = pending;
    const made = linesOf({ ...operation, index: names.get(operation.index) ?? operation.index });
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
        query: {
          filter_path: "items.*._id,items.*.status,items.*.result,items.*.error" + PLACES,
          require_alias: true,
        },
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
        doom([...new Set(batch.map((pending) => pending.call))], refused(verdict));
        requeue(batch);
        break;
      case "invalid":
        applyInvalid(batch, verdict.reason);
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
      } else if (item.kind === "refused") {
        doom([pending.call], refused(item, pending.operation));
        if (item.refusal.code === "index_not_found") {
          // Its name may have become an alias: whoever writes next asks anew.
          names.delete(pending.operation.index);
          lost.add(pending.operation.index);
        }
        closeSlot(pending.call);
      } else {
        again.push(pending);
        if (item.cause === "busy") cause = "busy";
        reason = item.reason;
      }
    }
    if (again.length === 0) pace.succeeded(bytes);
    else retry(again, cause, reason, retryAfterSeconds);
  }

  /** Half as many at a time, until the operation at fault is alone. */
  function applyInvalid(batch: readonly Pending[], reason: string): void {
    const [lone] = batch;
    if (batch.length === 1 && lone !== undefined) {
      settle(lone, { status: "failed", reason });
      return;
    }
    for (const pending of batch) pending.company = Math.ceil(batch.length / 2);
    requeue(batch);
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
        const begin = () => {
          if (call.doomed !== undefined) {
            call.open = 0;
            call.end();
            return;
          }
          const added = operations.map((operation, slot): Pending => ({
            operation,
            call,
            slot,
            lines: undefined,
            bytes: 0,
            troubledSince: undefined,
            loneRefusals: 0,
            company: MOST_OPERATIONS,
          }));
          queue = queue.concat(added);
          pumpSoon();
        };
        if (waitingForNames === 0 && operations.every(({ index }) => names.has(index))) {
          begin();
          return;
        }
        waitingForNames += 1;
        turn = turn
          .then(() => findNames(operations, signal))
          .catch((thrown: unknown) => {
            call.doomed ??= noName(thrown);
          })
          .then(() => {
            waitingForNames -= 1;
            begin();
          });
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
