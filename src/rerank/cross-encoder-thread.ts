/** The thread of a cross-encoder: a tokenizer and a session, whose `run` blocks the thread that calls it. */
import { parentPort, workerData } from "node:worker_threads";
import { planBatches } from "../encoder/batches.js";
import { openScoringSession, type SessionOptions } from "../encoder/onnx-session.js";
import { messageOf } from "../errors/csplade-error.js";
import { createTokenizer, readTokenizerFile } from "../text/tokenizer.js";
import { brokenReply } from "../encoder/thread-replies.js";
import { pairing, type PairRecipe } from "./text-pairs.js";

/** What it is started with. */
export interface CrossEncoderData extends PairRecipe, SessionOptions {
  readonly modelFile: string;
  readonly tokenizerFile: string;
  readonly padTokenId: number;
  /** Most tokens in a batch, padding included. */
  readonly tokenBudget: number;
}

/** What it is asked. */
export interface ScoreTask {
  readonly id: number;
  readonly question: string;
  readonly texts: readonly string[];
  /** One Int32: not 0 when nobody waits for the answer any more. */
  readonly cancelled: SharedArrayBuffer;
}

/** What it answers. */
export type ScoreReply =
  | { readonly id: number; readonly scores: readonly number[] }
  | { readonly id: number; readonly failure: string };

async function main(data: CrossEncoderData): Promise<void> {
  const file = readTokenizerFile(data.tokenizerFile);
  const pairs = pairing(createTokenizer(file), file, data);
  const session = await openScoringSession(data.modelFile, data);

  async function score({ question, texts, cancelled }: ScoreTask): Promise<number[]> {
    const isCancelled = new Int32Array(cancelled);
    const rows = pairs(question, texts);
    const scores = rows.map(() => 0);
    const lengths = rows.map(({ ids }) => ids.length);
    for (const places of planBatches(lengths, data.tokenBudget)) {
      if (Atomics.load(isCancelled, 0) !== 0) throw new Error("Reranking was cancelled.");
      const batch = places.flatMap((place) => rows[place] ?? []);
      const ids = batch.map((row) => row.ids);
      const types = batch.map((row) => row.types);
      const found = await session.run(ids, types, data.padTokenId);
      places.forEach((place, i) => (scores[place] = found[i] ?? NaN));
    }
    if (scores.every(Number.isFinite)) return scores;
    throw new Error("The cross-encoder gave a score that is no number.");
  }

  await session.run([[data.padTokenId]], [[0]], data.padTokenId);
  let last: Promise<void> = Promise.resolve();
  parentPort?.on("message", (task: ScoreTask | "close") => {
    // One at a time, in their order.
    last = last.then(async () => {
      if (task === "close") {
        await session.close();
        parentPort?.close();
        return;
      }
      try {
        parentPort?.postMessage({ id: task.id, scores: await score(task) } satisfies ScoreReply);
      } catch (thrown) {
        const failure = messageOf(thrown);
        parentPort?.postMessage({ id: task.id, failure } satisfies ScoreReply);
      }
    });
  });
  parentPort?.postMessage({ type: "ready" });
}

main(workerData as CrossEncoderData).catch((thrown: unknown) => {
  parentPort?.postMessage(brokenReply(thrown));
});
