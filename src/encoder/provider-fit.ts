/** Whether a checkpoint's graph is one for the provider that shall compute it, and what memory it takes. */
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { CheckpointDirectory } from "./checkpoint-directory.js";
import { cudaSupport } from "./cuda-operators.js";
import { readGraphFile, type GraphFile, type OperatorCount } from "./graph-file.js";
import { tokenBudgetOf } from "./token-budget.js";

/** Note of the exporter: columns of the vocabulary that the graph multiplies at once. */
const COLUMNS_NOTE = "csplade.projection_columns";

/** What a graph asks of a provider. */
export interface ProviderFit {
  readonly operators: number;
  /** Operators that CUDA leaves to the CPU. */
  readonly absent: readonly OperatorCount[];
  /** Operators of which nothing is known. */
  readonly unknown: readonly OperatorCount[];
  readonly memory: MemoryEstimate;
}

/** Bytes that a session needs, without what the runtime and its libraries take themselves. */
export interface MemoryEstimate {
  /** Weights as they are stored. */
  readonly stored: number;
  /** Weights as the session holds them: half precision is widened where nothing computes in it, four bits to eight. */
  readonly weights: number;
  /** Scores of the vocabulary for one batch of `model.token_budget` tokens, the largest tensor. */
  readonly scores: number;
  /** With what is needed once: while half precision is widened, both copies are there. */
  readonly total: number;
}

/** Reads a checkpoint's graph. @throws CspladeError `model_invalid`. */
export function fitOf({ modelFile, manifest }: CheckpointDirectory, config: Config): ProviderFit {
  const graph = readGraphFile(modelFile);
  const on = (support: ReturnType<typeof cudaSupport>) =>
    graph.operators.filter(({ name }) => cudaSupport(name) === support);
  return {
    operators: graph.operators.reduce((sum, { nodes }) => sum + nodes, 0),
    absent: on("absent"),
    unknown: on("unknown"),
    memory: estimate(graph, config, manifest.vocabulary_size),
  };
}

function estimate(graph: GraphFile, config: Config, vocabulary: number): MemoryEstimate {
  const onCuda = config["model.provider"] === "cuda";
  // No x86 CPU kernel computes in half precision: ONNX Runtime widens such weights when it loads them.
  const widened = onCuda ? graph.widened_bytes : graph.half_bytes;
  const columns = Number(graph.notes.get(COLUMNS_NOTE) ?? vocabulary);
  const computesInHalf = onCuda && graph.half_bytes > graph.widened_bytes;
  const weights = graph.weight_bytes + widened + graph.packed_bytes;
  const scores = tokenBudgetOf(config) * columns * (computesInHalf ? 2 : 4);
  const whileLoading = widened > 0 ? graph.weight_bytes : 0;
  const total = weights + Math.max(scores, whileLoading);
  return { stored: graph.weight_bytes, weights, scores, total };
}

/**
 * @throws CspladeError `provider_unsuitable` where the graph is for another provider, or has operators
 *   that CUDA would silently leave to the CPU; not with `model.cpu_fallback` allow.
 */
export function demandFit(checkpoint: CheckpointDirectory, config: Config): void {
  if (config["model.cpu_fallback"] === "allow") return;
  const { manifest, directory } = checkpoint;
  const provider = config["model.provider"];
  const wanted = manifest.provider;
  if (wanted !== undefined && wanted !== provider) {
    throw unsuitable(
      `The graph of ${directory} (${manifest.precision}) is for the ${wanted} provider, and model.provider is ${provider}.`,
      directory,
      provider,
    );
  }
  if (provider !== "cuda") return;
  const { absent } = fitOf(checkpoint, config);
  if (absent.length === 0) return;
  throw unsuitable(
    `The graph of ${directory} (${manifest.precision}) has operators that ONNX Runtime's CUDA provider cannot compute and leaves to the CPU: ${operatorsPhrase(absent)}.`,
    directory,
    provider,
  );
}

/** `MatMulIntegerToFloat (121 nodes), Unique (1 node)`. */
export function operatorsPhrase(operators: readonly OperatorCount[]): string {
  return operators
    .map(({ name, nodes }) => `${name} (${nodes} node${nodes === 1 ? "" : "s"})`)
    .join(", ");
}

function unsuitable(message: string, directory: string, provider: "cpu" | "cuda"): CspladeError {
  const form = provider === "cuda" ? "--precision fp16 --provider cuda" : "--precision int8";
  return new CspladeError("provider_unsuitable", message, {
    hint: `Export it for the provider: csplade-train export-again --checkpoint ${directory} --out ELSEWHERE ${form} (other people's models: convert). Or take it as it is, slow: model.cpu_fallback allow.`,
  });
}
