/**
 * A session thread: owns one ONNX session, whose `run` blocks the thread that calls it. Texts come as
 * tokens, which a text thread makes of the next ones meanwhile.
 */
import { parentPort, workerData } from "node:worker_threads";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { planBatches } from "./batches.js";
import type {
  EncoderReply,
  EncoderTask,
  EncoderWork,
  SessionTask,
  SessionThreadData,
} from "./encoder-protocol.js";
import { isMemoryExhausted } from "./memory-exhausted.js";
import { openSession, type OnnxSession, type SessionVector } from "./onnx-session.js";
import { brokenReply, failedReply } from "./thread-replies.js";

interface Loaded {
  readonly session: OnnxSession;
  readonly data: SessionThreadData;
  /** Most tokens of a batch since memory ran out for a larger one. */
  fitting: number;
}

/** The device failed, whatever the texts. */
class DeviceFailure extends Error {}

/** A row with its place in the task, so that results find their way back. */
interface PlacedRow {
  readonly read: readonly number[];
  vector?: SessionVector;
  failure?: string;
}

function reply(message: EncoderReply, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

async function load(data: SessionThreadData): Promise<Loaded> {
  const session = await openSession(data.modelFile, data);
  reply({ type: "loaded" });
  const loaded = { session, data, fitting: Infinity };
  // A device is ready once it has encoded something, not once it has taken the weights.
  await encodeKnownGood(loaded);
  return loaded;
}

async function encodeKnownGood({ session, data }: Loaded): Promise<void> {
  try {
    await session.run([data.knownGood], data.padTokenId, 1);
  } catch (cause) {
    if (cause instanceof CspladeError && cause.code === "model_invalid") throw cause;
    throw new CspladeError(
      "device_failed",
      `The ${data.provider} provider cannot encode a text that is known to be good: ${messageOf(cause)}`,
      { cause, hint: "Look at the device (nvidia-smi, the kernel's log) and start again." },
    );
  }
}

async function serve(loaded: Loaded, task: SessionTask): Promise<void> {
  const started = performance.now();
  const rows = task.rows.map((read): PlacedRow => ({ read }));
  const work = await encodeAll(loaded, rows, task);
  const vectors = rows.map(({ vector, failure }) => vector ?? failure ?? "no vector came back");
  reply(
    {
      type: "encoded",
      id: task.id,
      vectors,
      work: { ...work, busy_ms: performance.now() - started, ...lessonOf(loaded) },
    },
    buffersOf(vectors),
  );
}

function buffersOf(vectors: readonly (SessionVector | string)[]): ArrayBuffer[] {
  return vectors.flatMap((vector) =>
    typeof vector === "string"
      ? []
      : [vector.ids, vector.weights, ...(vector.dense === undefined ? [] : [vector.dense])].map(
          ({ buffer }) => buffer as ArrayBuffer,
        ),
  );
}

/** Tells the main thread that work goes on. */
function beatOf({ shared }: EncoderTask): () => void {
  const cells = new Int32Array(shared);
  return () => void Atomics.add(cells, 1, 1);
}

/** The lesson of exhausted memory, for a reply. */
function lessonOf({ fitting }: Loaded): { fitting_tokens?: number } {
  return Number.isFinite(fitting) ? { fitting_tokens: fitting } : {};
}

async function encodeAll(
  loaded: Loaded,
  rows: readonly PlacedRow[],
  task: SessionTask,
): Promise<Omit<EncoderWork, "busy_ms" | "fitting_tokens">> {
  const cancelled = new Int32Array(task.shared);
  const beat = beatOf(task);
  const planned = (some: readonly PlacedRow[]) =>
    planBatches(
      some.map(({ read }) => read.length),
      Math.min(task.token_budget, loaded.fitting),
    ).map((indices) => indices.map((index) => some[index] as PlacedRow));
  const work = { batches: 0, padded_tokens: 0 };
  let batches = planned(rows);
  for (let next = 0; next < batches.length; next++) {
    if (Atomics.load(cancelled, 0) !== 0) {
      throw new CspladeError("aborted", "Encoding was cancelled.");
    }
    beat();
    const batch = batches[next] as PlacedRow[];
    const fitted = loaded.fitting;
    await encodeBatch(loaded, batch, task, beat);
    work.padded_tokens += paddedTokens(batch);
    work.batches += 1;
    if (loaded.fitting < fitted) {
      // Memory ran out: what is left is cut to what fits, instead of failing again each time.
      batches = planned(batches.slice(next + 1).flat());
      next = -1;
    }
  }
  return work;
}

function paddedTokens(batch: readonly PlacedRow[]): number {
  return batch.length * Math.max(0, ...batch.map(({ read }) => read.length));
}

/**
 * Encodes a batch. Where memory runs out, batches are halved from then on. Where the batch fails
 * otherwise, a text that is known to be good tells whether the device is at fault; if it is not,
 * the batch is halved until the text at fault fails alone.
 */
async function encodeBatch(
  loaded: Loaded,
  batch: readonly PlacedRow[],
  task: SessionTask,
  beat: () => void,
): Promise<void> {
  try {
    const vectors = await loaded.session.run(
      batch.map(({ read }) => read),
      loaded.data.padTokenId,
      task.top_k,
      task.dense,
    );
    batch.forEach((row, index) => {
      const vector = vectors[index];
      if (vector !== undefined) row.vector = vector;
    });
  } catch (thrown) {
    beat();
    const exhausted = isMemoryExhausted(thrown);
    if (exhausted && batch.length === 1) {
      throw new DeviceFailure(
        `Memory does not suffice for one passage of ${paddedTokens(batch)} tokens: ${messageOf(thrown)}`,
      );
    }
    if (exhausted) {
      loaded.fitting = Math.min(loaded.fitting, Math.floor(paddedTokens(batch) / 2));
    } else {
      await encodeKnownGood(loaded).catch(() => {
        throw new DeviceFailure(messageOf(thrown));
      });
    }
    if (batch.length === 1) {
      for (const row of batch) row.failure = messageOf(thrown);
      return;
    }
    const middle = Math.ceil(batch.length / 2);
    await encodeBatch(loaded, batch.slice(0, middle), task, beat);
    await encodeBatch(loaded, batch.slice(middle), task, beat);
  }
}

async function main(): Promise<void> {
  let loaded: Loaded;
  try {
    loaded = await load(workerData as SessionThreadData);
  } catch (thrown) {
    reply(brokenReply(thrown));
    return;
  }
  // One request at a time: the next one waits in the main thread's queue, not here.
  parentPort?.on("message", (task: SessionTask | "close") => {
    if (task === "close") {
      void loaded.session.close().finally(() => parentPort?.close());
      return;
    }
    serve(loaded, task).catch((thrown: unknown) => {
      if (thrown instanceof DeviceFailure) {
        const { message } = thrown;
        reply({ type: "device", id: task.id, message, ...lessonOf(loaded) });
        return;
      }
      reply(failedReply(task.id, thrown));
    });
  });
  reply({ type: "ready" });
}

void main();
