/**
 * Loaded before anything else (`node --import`) in the threads of an encoder: sessions that take ten
 * milliseconds for any batch, so that what is left is the work on texts around them.
 */
import { isMainThread } from "node:worker_threads";
import { InferenceSession, Tensor } from "onnxruntime-node";

/** What a batch takes, milliseconds. */
const BATCH_MS = 10;

if (!isMainThread) {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const session = {
    inputNames: ["input_ids", "attention_mask", "k"],
    run(feeds: Readonly<Record<string, Tensor>>) {
      Atomics.wait(cell, 0, 0, BATCH_MS);
      const [rows = 0] = feeds.input_ids?.dims ?? [];
      const k = Number((feeds.k?.data as BigInt64Array)[0]);
      const indices = Int32Array.from({ length: rows * k }, (_, i) => i % k);
      const weights = Float32Array.from({ length: rows * k }, (_, i) => 3 - (2 * (i % k)) / k);
      return Promise.resolve({
        indices: new Tensor("int32", indices, [rows, k]),
        weights: new Tensor("float32", weights, [rows, k]),
      });
    },
    release: () => Promise.resolve(),
  };
  Object.defineProperty(InferenceSession, "create", { value: () => Promise.resolve(session) });
}
