/** `manifest.json` of a cross-encoder's directory, as `csplade-train convert` writes it. */
import { z } from "zod";
import { files, roleInput } from "../encoder/manifest.js";

/** Schema, format 1. */
export const rerankerManifestSchema = z.object({
  format: z.literal(1),
  kind: z.literal("cross-encoder", {
    error:
      'must be "cross-encoder": rerank.model names a cross-encoder, and model.path a sparse encoder',
  }),
  name: z.string().min(1).max(200),
  license: z.string().min(1),
  precision: z.enum(["fp32", "fp16", "int8", "int4"]),
  /** The execution provider that the graph was written for; without it, any. */
  provider: z.enum(["cpu", "cuda"]).optional(),
  files,
  /** What is around the question, and around the text behind it. */
  input: z.object({ query: roleInput, document: roleInput }),
  /** Longest pair, tokens around included. */
  max_tokens: z.number().int().min(8).max(65_536),
  /** What makes a score of the model's output, inside the graph. */
  activation: z.enum(["sigmoid", "identity"]),
  pad_token_id: z.number().int().min(0),
  fingerprint: z.string().regex(/^[0-9a-f]{16}$/, "16 lowercase hex digits"),
});
