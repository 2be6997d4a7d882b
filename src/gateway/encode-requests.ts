/**
 * The bodies of the encode routes, as zod schemas: they check requests and they are the
 * request types of `/openapi.json`, so the two cannot drift.
 *
 * Besides our own there are three formats of others: Hugging Face text-embeddings-inference
 * (`POST /embed_sparse`), OpenSearch ml-commons' remote connector, and Elasticsearch's
 * `custom` inference service.
 */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";
import { conversationShape } from "./conversation.js";
import type { Role } from "./encode-queue.js";

const text = z.string();
const texts = z.array(text).min(1);

/** `POST /encode`: one of `text` and `texts`. */
export const encodeSchema = z
  .object({
    text: text.optional().describe("One text."),
    texts: texts.optional().describe("Several texts."),
    role: z.enum(["document", "query"]).default("document"),
    format: z
      .enum(["ids", "terms"])
      .default("ids")
      .describe("Keys of the vectors: token ids, as indices hold them, or readable terms."),
    passages: z
      .object({
        max_passages: z.number().int().min(1).max(10_000).optional(),
        words: z.boolean().optional(),
        merged: z.boolean().optional(),
        mean_length: z.number().min(0).optional(),
        dense: z.boolean().optional(),
      })
      .optional()
      .describe(
        "Answer each passage by itself, by token ids, as model.remote of another csplade asks.",
      ),
    ...conversationShape,
  })
  .refine((body) => (body.text === undefined) !== (body.texts === undefined), {
    message: 'give either "text" or "texts"',
  })
  .refine(
    ({ text, role, passages, history }) =>
      history === undefined || (text !== undefined && role === "query" && passages === undefined),
    { message: 'history goes with one "text" of the role "query", not in passages' },
  );

/** `POST /embed_sparse` of text-embeddings-inference. */
export const embedSparseSchema = z.object({
  inputs: z.union([text, z.array(text)]),
  truncate: z
    .boolean()
    .nullish()
    .describe("Without it a text beyond the model's length is refused."),
  truncation_direction: z
    .enum(["right", "Right"])
    .nullish()
    .describe("Only the end of a text can be left out."),
  prompt_name: z.string().nullish().describe('"query" encodes as a query.'),
});

/** `POST /v1/opensearch/sparse`: what an ml-commons connector sends. */
export const connectorSchema = z
  .object({
    texts: z.union([text, texts]).optional(),
    input: z.union([text, texts]).optional(),
    format: z
      .string()
      .nullish()
      .describe("Accepted and not needed: keys are token ids whatever is asked for."),
    content_type: z
      .enum(["query", "passage"])
      .nullish()
      .describe("Sent for asymmetric models; without it texts are passages."),
  })
  .refine((body) => (body.texts === undefined) !== (body.input === undefined), {
    message: 'give either "texts" or "input"',
  });

/** `POST /v1/elastic/sparse`: what Elasticsearch's `custom` inference service sends. */
export const elasticSchema = z.object({
  input: z.union([text, texts]),
  input_type: z
    .string()
    .nullish()
    .describe('"query" and "search" encode as queries, anything else as passages.'),
});

/**
 * A checked body.
 * @throws CspladeError `request_invalid` naming the first part at fault.
 */
export function checkBody<T extends z.ZodType>(schema: T, body: unknown): z.infer<T> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = issue?.path.join(".") ?? "";
  throw new CspladeError(
    "request_invalid",
    `The request's body is not valid: ${place === "" ? "" : `${place}: `}${issue?.message ?? "it is empty"}.`,
    { hint: "GET /openapi.json describes every route's body." },
  );
}

/**
 * One text or several as a list.
 * @throws CspladeError `batch_too_large` above `limit` texts.
 */
export function textsOf(given: string | readonly string[], limit: number): readonly string[] {
  const list = typeof given === "string" ? [given] : given;
  if (list.length <= limit) return list;
  throw new CspladeError(
    "batch_too_large",
    `The request has ${list.length} texts; at most ${limit} are taken at once.`,
    { hint: "Split it, or raise gateway.max_batch_texts." },
  );
}

/** The role for the words other systems use. */
export function roleOf(kind: string | null | undefined): Role {
  return kind === "query" || kind === "search" ? "query" : "document";
}
