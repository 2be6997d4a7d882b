/**
 * The one door to ONNX Runtime. `session.run` of the Node binding blocks the
 * thread that calls it, so sessions live in encoder threads, never on a main thread.
 *
 * Graph contract (made by `training/`): inputs `input_ids` and `attention_mask`
 * int64 [batch, sequence] right-padded, `k` int64 [1]; outputs `indices` int32 and
 * `weights` float32, both [batch, k], heaviest first, weight 0 where no term is left; of some
 * checkpoints `dense` float32 [batch, dimension] too, which is computed only where it is asked for.
 */
import { existsSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { MIN_WEIGHT, type SparseVector } from "../sparse/sparse-vector.js";
import { readUnpacked } from "./packed-weights.js";

/** How a session is opened. */
export interface SessionOptions {
  readonly provider: "cpu" | "cuda";
  /** Number of the card, of those that the process sees; 0 without it. */
  readonly device?: number;
  /** False: the provider must compute every node of the graph itself. */
  readonly allowCpu?: boolean;
  /** Threads inside one operator. */
  readonly threads: number;
}

/** A text's vector, and its dense one where that was asked for. */
export interface SessionVector extends SparseVector {
  readonly dense?: Float32Array;
}

/** One loaded model. */
export interface OnnxSession {
  /**
   * Vectors of one batch.
   * @param rows token ids per text, each with at least one token
   * @param padTokenId fills short rows (masked out in the graph)
   * @param topK most terms per vector
   * @param dense give dense vectors too. @throws CspladeError `model_invalid` for a graph without them.
   */
  run(
    rows: readonly (readonly number[])[],
    padTokenId: number,
    topK: number,
    dense?: boolean,
  ): Promise<SessionVector[]>;
  close(): Promise<void>;
}

/**
 * Loads a model.
 * @throws CspladeError `provider_unavailable` if the execution provider's files are missing,
 *   `model_invalid` if the file is no model of this contract.
 */
export async function openSession(
  modelFile: string,
  options: SessionOptions,
): Promise<OnnxSession> {
  if (!existsSync(modelFile)) {
    throw new CspladeError("model_not_found", `There is no model at ${modelFile}.`);
  }
  const session = await createSession(modelFile, options);
  demandInputs(session, modelFile, ["input_ids", "attention_mask", "k"], "export");
  return {
    async run(rows, padTokenId, topK, dense = false) {
      const { ids, mask, width } = pad(rows, padTokenId);
      const shape = [rows.length, width];
      if (dense && !session.outputNames.includes(DENSE)) {
        throw new CspladeError("model_invalid", `${modelFile} has no output ${DENSE}.`);
      }
      const inputs = {
        input_ids: new Tensor("int64", ids, shape),
        attention_mask: new Tensor("int64", mask, shape),
        k: new Tensor("int64", BigInt64Array.of(BigInt(topK)), [1]),
      };
      const outputs = await session.run(inputs, dense ? [...TERMS, DENSE] : TERMS);
      const vectors = unpack(outputs, rows.length);
      return dense ? withDense(vectors, outputs) : vectors;
    },
    close: () => session.release(),
  };
}

/** Outputs of a text's terms. */
const TERMS = ["indices", "weights"];

/** Output of its dense vector. */
const DENSE = "dense";

/** One loaded cross-encoder. Its graph has the inputs of a sparse one but `k`, and `token_type_ids` if it knows them. */
export interface ScoringSession {
  /** Scores of one batch of pairs; `types` says of each token which part of its pair it is of, 0 or 1. */
  run(
    rows: readonly (readonly number[])[],
    types: readonly (readonly number[])[],
    padTokenId: number,
  ): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Loads a cross-encoder. @throws CspladeError as {@link openSession}. */
export async function openScoringSession(
  modelFile: string,
  options: SessionOptions,
): Promise<ScoringSession> {
  const session = await createSession(modelFile, options);
  demandInputs(session, modelFile, ["input_ids", "attention_mask"], "convert");
  const typed = session.inputNames.includes("token_type_ids");
  return {
    async run(rows, types, padTokenId) {
      const { ids, mask, width } = pad(rows, padTokenId);
      const shape = [rows.length, width];
      const outputs = await session.run({
        input_ids: new Tensor("int64", ids, shape),
        attention_mask: new Tensor("int64", mask, shape),
        ...(typed ? { token_type_ids: new Tensor("int64", pad(types, 0).ids, shape) } : {}),
      });
      const scores = outputs.scores?.data;
      if (!(scores instanceof Float32Array) || scores.length !== rows.length) {
        throw new CspladeError("model_invalid", "The model does not return float32 `scores`.");
      }
      return scores;
    },
    close: () => session.release(),
  };
}

function demandInputs(
  session: InferenceSession,
  modelFile: string,
  names: readonly string[],
  command: "export" | "convert",
): void {
  const missing = names.find((name) => !session.inputNames.includes(name));
  if (missing === undefined) return;
  throw new CspladeError(
    "model_invalid",
    `${modelFile} has no input ${missing} (it has ${session.inputNames.join(", ")}).`,
    {
      hint: `Make it with csplade-train ${command}, which puts all but the tokenizer into the graph.`,
    },
  );
}

/** What the runtime is told; its binding for Node passes no other option on to CUDA than the device's number. */
export function runtimeSettings(options: SessionOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: [
      options.provider === "cuda" ? { name: "cuda", deviceId: options.device ?? 0 } : "cpu",
    ],
    ...(options.provider === "cuda" && options.allowCpu === false
      ? { extra: { session: { disable_cpu_ep_fallback: "1" } } }
      : {}),
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
  };
}

async function createSession(
  modelFile: string,
  options: SessionOptions,
): Promise<InferenceSession> {
  const settings = runtimeSettings(options);
  try {
    const unpacked = readUnpacked(modelFile);
    return await (unpacked === undefined
      ? InferenceSession.create(modelFile, settings)
      : InferenceSession.create(unpacked, settings));
  } catch (cause) {
    const reason = messageOf(cause);
    if (options.provider === "cuda" && /provider|cuda|cudnn|\.so|backend/i.test(reason)) {
      throw new CspladeError(
        "provider_unavailable",
        `The CUDA execution provider cannot be loaded: ${reason}`,
        {
          cause,
          hint: "Use an image with ONNX Runtime's CUDA provider files and a matching CUDA and cuDNN, or set model.provider to cpu.",
        },
      );
    }
    throw new CspladeError("model_invalid", `${modelFile} cannot be loaded: ${reason}`, { cause });
  }
}

function pad(
  rows: readonly (readonly number[])[],
  padTokenId: number,
): { ids: BigInt64Array<ArrayBuffer>; mask: BigInt64Array<ArrayBuffer>; width: number } {
  const width = Math.max(...rows.map((row) => row.length));
  const ids = new BigInt64Array(rows.length * width).fill(BigInt(padTokenId));
  const mask = new BigInt64Array(rows.length * width);
  rows.forEach((row, r) => {
    row.forEach((id, column) => (ids[r * width + column] = BigInt(id)));
    mask.fill(1n, r * width, r * width + row.length);
  });
  return { ids, mask, width };
}

function withDense(
  vectors: readonly SparseVector[],
  { dense }: InferenceSession.ReturnType,
): SessionVector[] {
  const values = dense?.data;
  const dimension = dense?.dims[1] ?? 0;
  if (!(values instanceof Float32Array) || values.length !== vectors.length * dimension) {
    throw new CspladeError("model_invalid", "The model does not return float32 `dense`.");
  }
  return vectors.map((vector, row) => {
    const own = values.slice(row * dimension, (row + 1) * dimension);
    if (own.every(Number.isFinite)) return { ...vector, dense: own };
    throw new CspladeError("encode_failed", "The model returned a dense vector that is no number.");
  });
}

function unpack(outputs: InferenceSession.ReturnType, rows: number): SparseVector[] {
  const indices = outputs.indices?.data;
  const weights = outputs.weights?.data;
  if (!(indices instanceof Int32Array) || !(weights instanceof Float32Array)) {
    throw new CspladeError(
      "model_invalid",
      "The model does not return int32 `indices` and float32 `weights`.",
    );
  }
  const k = weights.length / rows;
  return Array.from({ length: rows }, (_, row) => {
    const from = row * k;
    let to = from;
    while (to < from + k && (weights[to] as number) >= MIN_WEIGHT) to++;
    const kept = weights.slice(from, to);
    if (to < from + k && Number.isNaN(weights[to])) {
      throw new CspladeError("encode_failed", "The model returned NaN weights.");
    }
    if (kept.length > 0 && !Number.isFinite(kept[0])) {
      throw new CspladeError("encode_failed", "The model returned infinite weights.");
    }
    return { ids: Uint32Array.from(indices.subarray(from, to)), weights: kept };
  });
}
