/**
 * The least that onnxruntime-node can be asked to do: tokens in hand and sorted by length, batches
 * of a token budget, one call after the other on the calling thread, results left as they come.
 */
import path from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";

/** A loaded graph. */
export interface RawOnnxLoop {
  /** Runs all rows; a batch holds at most `budget` tokens, padding included. */
  encode(
    rows: readonly (readonly number[])[],
    budget: number,
  ): Promise<{ tokens: number; padded_tokens: number }>;
  close(): Promise<void>;
}

/** Opens a checkpoint directory's graph. */
export async function openRawOnnxLoop(
  directory: string,
  { threads, top_k }: { readonly threads: number; readonly top_k: number },
): Promise<RawOnnxLoop> {
  process.env.ORT_DISABLE_TELEMETRY ??= "1";
  const session = await InferenceSession.create(path.join(directory, "model.onnx"), {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  const k = new Tensor("int64", BigInt64Array.of(BigInt(top_k)), [1]);
  return {
    async encode(rows, budget) {
      const sorted = [...rows].sort((a, b) => b.length - a.length);
      let tokens = 0;
      let padded_tokens = 0;
      while (sorted.length > 0) {
        const width = sorted[0]?.length ?? 0;
        const batch = sorted.splice(0, Math.max(1, Math.floor(budget / width)));
        const ids = new BigInt64Array(batch.length * width);
        const mask = new BigInt64Array(batch.length * width);
        for (const [r, row] of batch.entries()) {
          tokens += row.length;
          for (let i = 0; i < row.length; i++) {
            ids[r * width + i] = BigInt(row[i] as number);
            mask[r * width + i] = 1n;
          }
        }
        padded_tokens += ids.length;
        const shape = [batch.length, width];
        await session.run({
          input_ids: new Tensor("int64", ids, shape),
          attention_mask: new Tensor("int64", mask, shape),
          k,
        });
      }
      return { tokens, padded_tokens };
    },
    close: () => session.release(),
  };
}
