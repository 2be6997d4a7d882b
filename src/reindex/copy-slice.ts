/** Copies one slice: windows are read and prepared ahead, encoded one by one, written behind. */
import { setTimeout as sleep } from "node:timers/promises";
import { firstTruncated } from "../documents/document-path.js";
import { traced } from "../observe/tracing.js";
import type { SliceCounts, SliceRecord } from "./run-record.js";
import { addCounts, noCounts } from "./run-record.js";
import { carefulWindow, isFatal, type SliceClaim } from "./slice-claim.js";
import {
  encodeWindow,
  prepareWindow,
  writeWindow,
  type EncodedWindow,
  type PreparedWindow,
  type WindowContext,
} from "./slice-documents.js";
import { readSlice, type Arrival } from "./slice-reader.js";
import type { SliceEnding, SliceTask } from "./slice-task.js";

/** Windows prepared ahead of the encoder. */
const AHEAD = 2;

/** Most documents of a window, and characters of text in the first one. */
const WINDOW_DOCUMENTS = 512;
const FIRST_CHARACTERS = 100_000;

/** How long a window should take to encode, milliseconds: a drain waits for it. */
const WINDOW_MS = 3_000;

/** How often a checkpoint is written, milliseconds. */
const CHECKPOINT_MS = 2_000;

/** Longest time that live ingestion holds a window back, milliseconds. */
const YIELD_MS = 5_000;

/** Copies until the slice ends, the worker drains or the run is paused. */
export async function copySlice(task: SliceTask, claim: SliceClaim): Promise<SliceEnding> {
  const { run, info, cluster, encoder, writer, metrics, config, signal } = task;
  const patience = { config, cluster, signal, onTrouble: task.onTrouble };
  const context: WindowContext = {
    cluster,
    encoder,
    writer,
    run,
    slice: claim.record,
    info,
    mayBeStored: claim.record.pass > 0 || claim.record.claims > 1,
    patience,
    metrics,
  };
  const pace = { characters: FIRST_CHARACTERS };
  const reading = {
    cluster,
    run,
    patience,
    maxDocumentBytes: config["ingest.max_document_bytes"],
  };
  const pages = readSlice(reading, claim.record, claim.record.position);
  const windows = ahead(prepared(context, windowsOf(pages, claim, pace)), AHEAD);
  // As many windows as requests: one more would wait, one less would leave a request unused.
  const written = new WrittenBehind(context, claim, config["write.concurrency"]);
  let ending: SliceEnding = "done";
  try {
    for await (const window of windows) {
      const stop = await mayGoOn(task, claim, window.counts.read);
      // It may have waited long: what is written meanwhile need not be done again.
      await written.note();
      if (stop !== undefined) {
        ending = stop;
        break;
      }
      const started = performance.now();
      const size = { "csplade.documents": window.work.length };
      const encoded = await traced("csplade.encode", size, () => encodeWindow(context, window));
      adapt(pace, window, performance.now() - started);
      await written.add(
        () => traced("csplade.write", size, () => writeWindow(context, encoded)),
        encoded,
      );
    }
    await written.end();
  } catch (thrown) {
    await written.settle();
    throw thrown;
  }
  return ending;
}

/** Drain, pause, rate limit, and live ingestion that goes first. */
async function mayGoOn(
  task: SliceTask,
  claim: SliceClaim,
  documents: number,
): Promise<"drained" | "paused" | undefined> {
  const { run, controls, drain } = task;
  task.signal.throwIfAborted();
  const stop = AbortSignal.any([drain, task.signal]);
  await controls.admit(run.run, documents, stop);
  const until = performance.now() + YIELD_MS;
  while (task.isBusyWithIngest?.() === true && performance.now() < until && !stop.aborted) {
    await sleep(50, undefined, { signal: stop }).catch(() => {});
  }
  task.signal.throwIfAborted();
  if (drain.aborted) return "drained";
  return (await controls.current(claim.record.run)).control.paused ? "paused" : undefined;
}

/** Windows of about {@link WINDOW_MS}, whatever the model and the machine. */
function adapt(pace: { characters: number }, window: PreparedWindow, ms: number): void {
  const encoded = window.work.filter(({ vectors }) => vectors === undefined);
  const characters = encoded.reduce((sum, { document }) => sum + document.text.length, 0);
  if (characters === 0) return;
  const wanted = (characters / Math.max(1, ms)) * WINDOW_MS;
  pace.characters = Math.max(4_000, Math.min(4_000_000, (pace.characters + wanted) / 2));
}

/** Cuts pages into windows for the encoder. After crashes they are small, to find the document at fault. */
async function* windowsOf(
  pages: AsyncIterable<Arrival[]>,
  claim: SliceClaim,
  pace: { readonly characters: number },
): AsyncGenerator<Arrival[]> {
  let first = true;
  for await (const page of pages) {
    let window: Arrival[] = [];
    let characters = 0;
    for (const arrival of page) {
      const fatal = first && isFatal(claim.record);
      first = false;
      window.push(fatal ? poison(arrival, claim.record) : arrival);
      characters += "document" in arrival.content ? arrival.content.document.text.length : 0;
      const most = Math.min(WINDOW_DOCUMENTS, carefulWindow(claim.record));
      if (window.length >= most || characters >= pace.characters) {
        yield window;
        window = [];
        characters = 0;
      }
    }
    if (window.length > 0) yield window;
  }
}

function poison(arrival: Arrival, { crashes, broken_devices: devices }: SliceRecord): Arrival {
  const problem =
    devices.length > 0
      ? {
          code: "document_breaks_device" as const,
          reason: `The devices ${devices.join(", ")} broke ${crashes} times, the last ones at this document alone.`,
        }
      : {
          code: "encode_failed" as const,
          reason: `The worker died ${crashes} times, the last ones at this document alone.`,
        };
  return { ...arrival, content: { problem } };
}

async function* prepared(
  context: WindowContext,
  windows: AsyncIterable<Arrival[]>,
): AsyncGenerator<PreparedWindow> {
  for await (const window of windows) {
    const size = { "csplade.documents": window.length };
    yield await traced("csplade.compare", size, () => prepareWindow(context, window));
  }
}

/** Runs a generator up to `most` items ahead of its reader. */
async function* ahead<T>(items: AsyncGenerator<T>, most: number): AsyncGenerator<T> {
  const queue: Promise<IteratorResult<T>>[] = [];
  const pull = () => {
    const next = items.next();
    // Looked at when its turn comes; until then it is no unhandled rejection.
    next.catch(() => {});
    queue.push(next);
  };
  try {
    for (let i = 0; i < most; i++) pull();
    for (;;) {
      const next = await (queue.shift() as Promise<IteratorResult<T>>);
      if (next.done === true) return;
      pull();
      yield next.value;
    }
  } finally {
    void items.return(undefined).catch(() => {});
  }
}

/** A write that was begun. */
interface Write extends Pick<EncodedWindow, "next" | "truncated_ids"> {
  readonly counts: Promise<SliceCounts>;
  isOver: boolean;
}

/** Writes in flight, and checkpoints in the order of the windows. */
class WrittenBehind {
  readonly #inFlight: Write[] = [];
  #done = noCounts();
  #truncated: string[] = [];
  #position: number | undefined;
  #checkpointAt = performance.now();

  constructor(
    private readonly context: WindowContext,
    private readonly claim: SliceClaim,
    private readonly most: number,
  ) {}

  /** Starts a write; waits first while too many are in flight. */
  async add(
    write: () => Promise<SliceCounts>,
    { next, truncated_ids }: EncodedWindow,
  ): Promise<void> {
    const careful = this.claim.record.careful > 0;
    while (this.#inFlight.length >= (careful ? 1 : this.most)) await this.#settleOldest();
    const entry: Write = { counts: write(), next, truncated_ids, isOver: false };
    const over = () => (entry.isOver = true);
    entry.counts.then(over, over);
    this.#inFlight.push(entry);
    if (!careful) return this.note();
    await this.#settleOldest();
    await this.#checkpoint();
  }

  /** Records what is written by now, if the last checkpoint is some time ago. */
  async note(): Promise<void> {
    while (this.#inFlight[0]?.isOver === true) await this.#settleOldest();
    if (performance.now() - this.#checkpointAt >= CHECKPOINT_MS) await this.#checkpoint();
  }

  /** Waits for all writes and records the last checkpoint. */
  async end(): Promise<void> {
    while (this.#inFlight.length > 0) await this.#settleOldest();
    await this.#checkpoint();
  }

  /** Waits for all writes, however they end. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#inFlight.map(({ counts }) => counts));
  }

  async #settleOldest(): Promise<void> {
    const oldest = this.#inFlight.shift();
    if (oldest === undefined) return;
    addCounts(this.#done, await oldest.counts);
    this.#truncated = firstTruncated(this.#truncated, oldest.truncated_ids);
    this.#position = oldest.next;
  }

  async #checkpoint(): Promise<void> {
    this.#checkpointAt = performance.now();
    if (this.#position === undefined) return;
    const [counts, truncated] = [this.#done, this.#truncated];
    this.#done = noCounts();
    this.#truncated = [];
    await this.claim.checkpoint(this.#position, counts, truncated);
    this.#position = undefined;
  }
}
