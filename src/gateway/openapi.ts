/** The gateway's OpenAPI 3.1 description; request bodies come from the schemas that check them. */
import { z } from "zod";
import { packageVersion } from "../config/package-root.js";
import { comparisonSchema, CONSOLE } from "./console-routes.js";
import {
  connectorSchema,
  elasticSchema,
  embedSparseSchema,
  encodeSchema,
} from "./encode-requests.js";

const features = z
  .record(z.string(), z.number().positive())
  .describe("Token id (decimal) → weight.");

const encodeAnswer = z.object({
  model: z.string(),
  fingerprint: z.string().describe("16 hex digits naming the weight space."),
  role: z.enum(["document", "query"]),
  results: z.array(
    z.object({
      vector: features,
      tokens: z.number().int(),
      truncated: z.boolean(),
      failure: z.string().optional(),
    }),
  ),
});

const embedSparseAnswer = z.array(
  z.array(z.object({ index: z.number().int(), value: z.number() })),
);

const elasticAnswer = z.object({
  result: z.object({
    sparse_embeddings: z.array(
      z.object({
        index: z.number().int(),
        embedding: z.array(z.object({ token_id: z.number().int(), weight: z.number() })),
      }),
    ),
  }),
});

const error = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }),
});

const teiError = z.object({
  error: z.string(),
  error_type: z.enum(["Validation", "Overloaded", "Backend", "Empty"]),
});

/** The description, ready for `/openapi.json`. */
export function openApiDocument(): Readonly<Record<string, unknown>> {
  return {
    openapi: "3.1.0",
    info: {
      title: "csplade gateway",
      version: packageVersion,
      description:
        "Encodes texts into sparse vectors. Every path that is not listed here is forwarded to the cluster.",
    },
    components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
    paths: {
      "/encode": post("Encode texts", encodeSchema, encodeAnswer, error, [413, 422, 429, 500, 504]),
      "/embed_sparse": post(
        "Encode texts (Hugging Face text-embeddings-inference)",
        embedSparseSchema,
        embedSparseAnswer,
        teiError,
        [400, 413, 422, 424, 429],
      ),
      "/v1/opensearch/sparse": post(
        "Encode texts (OpenSearch ml-commons connector)",
        connectorSchema,
        z.array(features),
        error,
        [413, 422, 429, 500, 504],
      ),
      "/v1/elastic/sparse": post(
        "Encode texts (Elasticsearch custom inference service)",
        elasticSchema,
        elasticAnswer,
        error,
        [413, 422, 429, 500, 504],
      ),
      [`${CONSOLE}/compare`]: post(
        "Rank a question by BM25 and by CSPLADE, with the caller's credentials for the cluster",
        comparisonSchema,
        z.looseObject({}),
        z.looseObject({}),
        [413, 429, 504],
      ),
      [`${CONSOLE}/indices`]: get("Indices of the gateway's model", "application/json"),
      [`${CONSOLE}/console`]: get("The console, a page for people", "text/html"),
      "/health": get("The process answers", "application/json"),
      "/ready": get("The model is loaded; whether the cluster answers", "application/json"),
      "/metrics": get("Prometheus metrics", "text/plain"),
      "/openapi.json": get("This description", "application/json"),
    },
  };
}

function post(
  summary: string,
  request: z.ZodType,
  answer: z.ZodType,
  failure: z.ZodType,
  statuses: readonly number[],
): object {
  return {
    post: {
      summary,
      security: [{}, { key: [] }],
      requestBody: { required: true, content: json(request, "input") },
      responses: {
        200: { description: "One vector per text, in order", content: json(answer, "output") },
        ...Object.fromEntries(
          statuses.map((status) => [
            status,
            { description: REASONS[status] ?? "", content: json(failure, "output") },
          ]),
        ),
        401: { description: "The API key is missing or wrong", content: json(error, "output") },
      },
    },
  };
}

const REASONS: Readonly<Record<number, string>> = {
  400: "An empty list of texts",
  413: "Too many texts, or too large a body",
  422: "A body that does not fit",
  424: "A text cannot be encoded",
  429: "The encoder's queue is full; Retry-After says how long to wait",
  500: "A text cannot be encoded",
  504: "The deadline is over",
};

function get(summary: string, type: string): object {
  return {
    get: { summary, responses: { 200: { description: summary, content: { [type]: {} } } } },
  };
}

function json(schema: z.ZodType, io: "input" | "output"): object {
  return { "application/json": { schema: z.toJSONSchema(schema, { io }) } };
}
