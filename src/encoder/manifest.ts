/**
 * `manifest.json` of a checkpoint directory: what the model is, which files
 * belong to it, and the fingerprint of its weight space.
 */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 is 64 lowercase hex digits");
const roleLimits = z.object({
  document: z.number().int().min(1).max(65_536),
  query: z.number().int().min(1).max(65_536),
});

const prompt = z.string().min(1).max(2_000);

const words = z.string().max(2_000).default("");
const specialTokens = z.array(z.string().min(1).max(200)).max(16).default([]);
/** What is around a text (`RoleInput`). */
export const roleInput = z.object({
  prefix: words,
  suffix: words,
  begin: specialTokens,
  end: specialTokens,
});

/**
 * What is around a question, and which terms it has. `terms: own`: nothing is added to it, its vector is
 * what the model gives of the tokens that it read, times their factors in query_weights.json. `table`: no
 * model was trained to read it, its terms are those of query_weights.json.
 */
const questionInput = roleInput.extend({ terms: z.enum(["own", "table"]).optional() });

/** The files of a checkpoint. */
export const files = z
  .record(
    z.string().regex(/^[\w][\w.-]*$/, "a plain file name"),
    z.object({ sha256, bytes: z.number().int().min(0) }),
  )
  .refine((named) => "model.onnx" in named && "tokenizer.json" in named, {
    message: "must list model.onnx and tokenizer.json",
  });

/** Schema of `manifest.json`, format 1. Unknown keys are kept out of the parsed value. */
export const manifestSchema = z.object({
  format: z.literal(1),
  /** Name people see in messages. */
  name: z.string().min(1).max(200),
  /**
   * `bi`: causal mask off; `echo`: text fed twice, second copy pooled; `causal`: as the language
   * model was, for document encoders of others. All inside the graph.
   */
  variant: z.enum(["bi", "echo", "causal"]),
  license: z.string().min(1),
  base: z.object({ name: z.string(), source: z.string(), license: z.string() }),
  /**
   * Languages whose texts it gives terms of its own (BCP 47); those of others have their own words alone,
   * where it has a lexical part. Without it, all texts get its terms. No part of the fingerprint: the
   * terms that are given mean what they meant.
   */
  languages: z.array(z.string().regex(/^[a-z]{2,3}(-[A-Za-z0-9]+)*$/)).optional(),
  precision: z.enum(["fp32", "fp16", "int8", "int4"]),
  /** The execution provider that the graph was written for; without it, any that has its operators. */
  provider: z.enum(["cpu", "cuda"]).optional(),
  /**
   * Every file of the checkpoint with its checksum; must name model.onnx and tokenizer.json.
   * With query_weights.json it can encode queries by table, without inference, unless these are
   * factors (`input.query.terms`); with lexicon.json its vectors have a lexical part.
   */
  files,
  /**
   * Size of the vocabulary: every row that the graph returns is below it. Words of a lexical part
   * that no row stands for have ids from 0x80000000 on.
   */
  vocabulary_size: z.number().int().min(1),
  /**
   * What makes a weight of a row's score, for people to know, being inside the graph: `relu`,
   * max(0, score); `log1p_relu`, log(1 + that); `log1p_log1p_relu`, log(1 + log(1 + that)).
   */
  activation: z.enum(["log1p_relu", "log1p_log1p_relu", "relu"]),
  /** Weights that are no larger are no terms. Inside the graph too; without it, 0. */
  threshold: z.number().min(0).optional(),
  /**
   * What makes one of a text's many positions: `max`, each row's largest weight among them, `sum`,
   * the sum of their weights, `last`, the scores of the last position, `mean`, the scores of the
   * average hidden vector, as in sentence encoders, or `prompt`, the scores of the last position of
   * a prompt behind the text. Inside the graph too.
   */
  pooling: z.enum(["max", "sum", "last", "mean", "prompt"]),
  /** Token ids that are never terms, of the model or of a table. Inside the graph too. */
  never_terms: z.array(z.number().int().min(0)).optional(),
  /**
   * What is written behind a text before the model reads it, per role; where it has `{text}`
   * the text stands again. Its tokens are no part of `max_tokens`.
   */
  prompt: z.object({ document: prompt, query: prompt }).optional(),
  /**
   * What else is around a text, per role: words and special tokens (`RoleInput`). Without it, what
   * the tokenizer's own post-processor adds, counted among `max_tokens`.
   */
  input: z.object({ document: roleInput, query: questionInput }).optional(),
  /** Longest input in tokens, per role. */
  max_tokens: roleLimits,
  /** Terms kept per text, per role. */
  top_k: roleLimits,
  pad_token_id: z.number().int().min(0),
  /**
   * The graph also gives a dense vector of each text, output `dense`: so many dimensions, any length, compared by
   * the angle between. No part of the fingerprint: terms mean what they meant.
   */
  dense: z
    .object({ dimension: z.number().int().min(2).max(4_096), similarity: z.literal("cosine") })
    .optional(),
  /** 16 hex digits naming the weight space; all precisions of one model share it. */
  fingerprint: z.string().regex(/^[0-9a-f]{16}$/, "16 lowercase hex digits"),
});

/** A validated `manifest.json`. */
export type Manifest = z.infer<typeof manifestSchema>;

/** True where a question has only terms that stand in it, weighed by the model. */
export function hasOwnTerms({ input }: Pick<Manifest, "input">): boolean {
  return input?.query.terms === "own";
}

/** @throws CspladeError `model_mismatch` for a checkpoint without dense vectors. */
export function demandDenseOutput({ name, dense }: Manifest): void {
  if (dense !== undefined) return;
  throw new CspladeError("model_mismatch", `The checkpoint ${name} gives no dense vectors.`, {
    hint: "Use one whose manifest.json has dense, such as csplade-minilm-words.",
  });
}
