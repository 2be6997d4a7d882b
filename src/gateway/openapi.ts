/** The gateway's OpenAPI 3.1 description; request bodies come from the schemas that check them. */
import { z } from "zod";
import { packageVersion } from "../config/package-root.js";
import { comparisonSchema, CONSOLE, originSchema } from "./console-routes.js";
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
      vector: features.optional().describe("Unless passages were asked for."),
      tokens: z.number().int().optional(),
      passages: z
        .array(
          z.looseObject({
            start: z.number().int(),
            end: z.number().int(),
            tokens: z.number().int(),
            vector: features,
          }),
        )
        .optional(),
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

const clusterError = z.object({
  error: z.looseObject({
    type: z.string(),
    reason: z.string(),
    root_cause: z.array(z.looseObject({ type: z.string(), reason: z.string() })),
  }),
  status: z.number().int(),
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
      "/encode": post({
        summary: "Encode texts",
        request: oneOf(encodeSchema, ["text", "texts"]),
        answer: encodeAnswer,
        failure: error,
        statuses: ENCODING,
      }),
      "/embed_sparse": post({
        summary: "Encode texts (Hugging Face text-embeddings-inference)",
        request: schemaOf(embedSparseSchema, "input"),
        answer: embedSparseAnswer,
        failure: teiError,
        statuses: [400, 401, 413, 422, 424, 429],
      }),
      "/v1/opensearch/sparse": post({
        summary: "Encode texts (OpenSearch ml-commons connector)",
        request: oneOf(connectorSchema, ["texts", "input"]),
        answer: z.array(features),
        failure: error,
        statuses: ENCODING,
      }),
      "/v1/elastic/sparse": post({
        summary: "Encode texts (Elasticsearch custom inference service)",
        request: schemaOf(elasticSchema, "input"),
        answer: elasticAnswer,
        failure: error,
        statuses: ENCODING,
      }),
      [`${CONSOLE}/compare`]: post({
        summary:
          "Rank a question by BM25 and by CSPLADE, with the caller's credentials for the cluster",
        request: schemaOf(comparisonSchema, "input"),
        answer: z.looseObject({}),
        failure: clusterError,
        statuses: [400, 401, 403, 404, 413, 429, 500, 501, 502, 503, 504],
        secured: false,
        others: AS_CLUSTER,
      }),
      [`${CONSOLE}/origin`]: post({
        summary:
          "The terms of one hit, and the words of its text that each added one came from, with the caller's credentials",
        request: schemaOf(originSchema, "input"),
        answer: z.looseObject({}),
        failure: clusterError,
        statuses: [400, 401, 403, 404, 413, 429, 500, 501, 502, 503, 504],
        secured: false,
        others: AS_CLUSTER,
      }),
      [`${CONSOLE}/indices`]: get("Indices of the gateway's model", "application/json", {
        failure: clusterError,
        statuses: [401, 403, 429, 500, 502, 503, 504],
        others: AS_CLUSTER,
      }),
      [`${CONSOLE}/console`]: get("The console, a page for people", "text/html"),
      "/health": get("The process can encode; 503 once it cannot any more", "application/json", {
        failure: z.object({ status: z.literal("broken") }),
        statuses: [503],
      }),
      "/ready": get(
        "Whether requests are taken, and whether the cluster answers",
        "application/json",
        {
          failure: z.looseObject({ status: z.string() }),
          statuses: [503],
        },
      ),
      "/metrics": get("Prometheus metrics", "text/plain"),
      "/openapi.json": get("This description", "application/json"),
    },
  };
}

const ENCODING = [401, 413, 422, 429, 500, 501, 503, 504] as const;

const AS_CLUSTER = "Any other refusal of the cluster, as it is";

interface Posted {
  readonly summary: string;
  readonly request: object;
  readonly answer: z.ZodType;
  readonly failure: z.ZodType;
  readonly statuses: readonly number[];
  /** Whether the encode routes' key is asked for. */
  readonly secured?: boolean;
  readonly others?: string;
}

function post(posted: Posted): object {
  const { summary, request, answer, secured = true } = posted;
  return {
    post: {
      summary,
      ...(secured ? { security: [{}, { key: [] }] } : {}),
      requestBody: { required: true, content: json(request) },
      responses: {
        200: { description: "The answer, one per text in order", content: json(schemaOf(answer)) },
        ...failures(posted),
      },
    },
  };
}

function failures({
  failure,
  statuses,
  others,
}: Pick<Posted, "failure" | "statuses" | "others">): object {
  const content = json(schemaOf(failure));
  const described = statuses.map((status): [number, object] => [
    status,
    { description: REASONS[status] ?? "", content },
  ]);
  return {
    ...Object.fromEntries(described),
    ...(others === undefined ? {} : { default: { description: others, content } }),
  };
}

const REASONS: Readonly<Record<number, string>> = {
  400: "An empty list of texts, or a request that makes no sense for the indices",
  401: "The key, or the cluster's credentials, are missing or wrong",
  403: "The cluster does not let the caller",
  404: "There is no such index",
  413: "Too many texts, or too large a body",
  422: "A body that does not fit",
  424: "A text cannot be encoded",
  429: "The encoder's queue is full; Retry-After says how long to wait",
  500: "A text cannot be encoded",
  501: "This process has no model that encodes documents",
  502: "The cluster cannot be reached, or answered something unexpected",
  503: "The encoder is broken, the gateway ends, or the cluster is busy",
  504: "The deadline is over",
};

function get(
  summary: string,
  type: string,
  failing?: Pick<Posted, "failure" | "statuses" | "others">,
): object {
  const failed = failing === undefined ? {} : failures(failing);
  return {
    get: {
      summary,
      responses: { 200: { description: summary, content: { [type]: {} } }, ...failed },
    },
  };
}

function json(schema: object): object {
  return { "application/json": { schema } };
}

function schemaOf(schema: z.ZodType, io: "input" | "output" = "output"): object {
  return z.toJSONSchema(schema, { io });
}

/** What a refinement of the schema demands: exactly one of these. */
function oneOf(schema: z.ZodType, names: readonly string[]): object {
  return { ...schemaOf(schema, "input"), oneOf: names.map((name) => ({ required: [name] })) };
}
