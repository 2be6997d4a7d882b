/** The encode API: our own route, and those of three other systems. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { z } from "zod";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { shortDecimal, toFeatures, type Features } from "../sparse/features.js";
import { termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { termNames, type TermNames } from "../sparse/term-names.js";
import { callerOf } from "./caller.js";
import { inConversations, spokenTexts } from "./conversation.js";
import { requestLife } from "./request-life.js";
import type { PassageOptions, Role } from "./encode-queue.js";
import {
  checkBody,
  connectorSchema,
  elasticSchema,
  embedSparseSchema,
  encodeSchema,
  roleOf,
  textsOf,
} from "./encode-requests.js";
import type { EncodedVector, EncodeService } from "./encode-service.js";
import { asCspladeError, reportUnexpected, retryAfter, statusOf } from "./http-error.js";

/** What the routes need. */
export interface EncodeRouteOptions {
  readonly config: Config;
  readonly service: EncodeService;
}

/** Adds the encode routes below `prefix`. */
export function addEncodeRoutes(
  app: FastifyInstance,
  prefix: string,
  options: EncodeRouteOptions,
): void {
  const { config, service } = options;
  const limit = config["gateway.max_batch_texts"];
  const onRequest = keyCheck(config["gateway.api_key"]);

  async function encode(
    given: string | readonly string[],
    role: Role,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<EncodedVector[]> {
    const life = requestLife(reply.raw, config["gateway.request_timeout_ms"]);
    const { key } = callerOf(request.raw, config["gateway.identity_headers"]);
    return await service.encode(textsOf(given, limit), role, life, key);
  }

  app.post(`${prefix}/encode`, { onRequest, errorHandler: sendError }, async (request, reply) => {
    const body = checkBody(encodeSchema, request.body);
    const { name, fingerprint } = service.manifest;
    if (body.passages !== undefined) {
      const texts = textsOf(body.texts ?? body.text ?? [], limit);
      const { signal } = requestLife(reply.raw, config["gateway.request_timeout_ms"]);
      const { role } = body;
      const encoded = await service.encodePassages(
        texts,
        role,
        passageOptions(body.passages),
        signal,
      );
      const results = encoded.map(({ passages, ...rest }) => ({
        passages: passages.map(({ vector, ...each }) => ({ ...each, vector: toFeatures(vector) })),
        ...rest,
      }));
      return { model: name, fingerprint, role, results };
    }
    const { text, history } = body;
    const asked = history === undefined || text === undefined ? [] : [{ ...body, text }];
    const given = asked.length > 0 ? asked.flatMap(spokenTexts) : (body.texts ?? text ?? []);
    const alone = await encode(given, body.role, request, reply);
    const decay = config["query.history_decay"];
    const encoded = asked.length > 0 ? inConversations(asked, alone, decay) : alone;
    return {
      model: name,
      fingerprint,
      role: body.role,
      results: encoded.map(({ vector, words, ...rest }) => ({
        vector:
          body.format === "ids"
            ? toFeatures(vector)
            : readable(vector, termNames(service.vocabulary, words)),
        ...rest,
      })),
    };
  });

  app.post(
    `${prefix}/embed_sparse`,
    { onRequest, errorHandler: sendTeiError },
    async (request, reply) => {
      const body = checkBody(embedSparseSchema, request.body);
      if (body.inputs.length === 0 && typeof body.inputs !== "string") throw new EmptyBatch();
      const encoded = await encode(body.inputs, roleOf(body.prompt_name), request, reply);
      demandAll(encoded);
      const cut = body.truncate === true ? -1 : encoded.findIndex((each) => each.truncated);
      if (cut >= 0) {
        throw new CspladeError(
          "batch_too_large",
          `inputs.${cut} is longer than the model reads; set "truncate" to leave its end out.`,
        );
      }
      return encoded.map(({ vector }) =>
        Array.from(termsOf(vector), ([index, value]) => ({ index, value })),
      );
    },
  );

  app.post(
    `${prefix}/v1/opensearch/sparse`,
    { onRequest, errorHandler: sendError },
    async (request, reply) => {
      const body = checkBody(connectorSchema, request.body);
      const role = roleOf(body.content_type);
      const encoded = await encode(body.texts ?? body.input ?? [], role, request, reply);
      demandAll(encoded);
      return encoded.map(({ vector }) => toFeatures(vector));
    },
  );

  app.post(
    `${prefix}/v1/elastic/sparse`,
    { onRequest, errorHandler: sendError },
    async (request, reply) => {
      const body = checkBody(elasticSchema, request.body);
      const encoded = await encode(body.input, roleOf(body.input_type), request, reply);
      demandAll(encoded);
      return {
        result: {
          sparse_embeddings: encoded.map(({ vector }, index) => ({
            index,
            embedding: Array.from(termsOf(vector), ([token_id, weight]) => ({ token_id, weight })),
          })),
        },
      };
    },
  );
}

function passageOptions({
  max_passages,
  words = false,
  merged = false,
  mean_length,
  dense = false,
}: NonNullable<z.infer<typeof encodeSchema>["passages"]>): PassageOptions {
  const most = max_passages === undefined ? {} : { max_passages };
  return { ...most, words, merged, mean_length, dense };
}

/** text-embeddings-inference has a status of its own for an empty list. */
class EmptyBatch extends CspladeError {
  constructor() {
    super("request_invalid", "`inputs` cannot be empty");
  }
}

function readable(vector: SparseVector, names: TermNames): Features {
  const features = new Map<string, number>();
  for (const [id, weight] of termsOf(vector)) {
    const term = names.term(id);
    // A stem may read like another term's row.
    features.set(features.has(term) ? `${term}#${id}` : term, shortDecimal(weight));
  }
  return Object.fromEntries(features);
}

/** For formats that cannot say that one text of several failed. */
function demandAll(encoded: readonly EncodedVector[]): void {
  const place = encoded.findIndex((each) => each.failure !== undefined);
  if (place < 0) return;
  throw new CspladeError(
    "encode_failed",
    `Text ${place} of the request cannot be encoded: ${encoded[place]?.failure ?? ""}`,
  );
}

type KeyCheck = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

/** Compares hashes, so that neither length nor content of the key shows in the time it takes. */
function keyCheck(key: string | undefined): KeyCheck {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  const wanted = key === undefined ? undefined : hash(key);
  // A hook has to be asynchronous to fail by throwing.
  return (request, reply) => {
    const given = /^(?:Bearer|ApiKey) +(.+)$/i.exec(request.headers.authorization ?? "")?.[1];
    if (wanted === undefined || (given !== undefined && timingSafeEqual(hash(given), wanted))) {
      return Promise.resolve();
    }
    void reply.header("www-authenticate", "Bearer");
    return Promise.reject(
      new CspladeError("unauthorized", "This gateway's encode routes need its API key.", {
        hint: "Send Authorization: Bearer KEY; the key is the gateway's setting gateway.api_key.",
      }),
    );
  };
}

/** `{"error":{code,message,hint}}` with the status of the code. */
export function sendError(thrown: unknown, _request: FastifyRequest, reply: FastifyReply): void {
  reportUnexpected(thrown);
  const { code, message, hint } = asCspladeError(thrown);
  sendStatus(reply, statusOf(thrown)).send({
    error: { code, message, ...(hint === undefined ? {} : { hint }) },
  });
}

/** The error of text-embeddings-inference: `{"error","error_type"}`. */
function sendTeiError(thrown: unknown, _request: FastifyRequest, reply: FastifyReply): void {
  reportUnexpected(thrown);
  const { code, message } = asCspladeError(thrown);
  let [status, error_type] = [statusOf(thrown), "Backend"];
  if (thrown instanceof EmptyBatch) [status, error_type] = [400, "Empty"];
  else if (code === "overloaded") error_type = "Overloaded";
  else if (status < 500) error_type = "Validation";
  else status = 424;
  sendStatus(reply, status).send({ error: message, error_type });
}

function sendStatus(reply: FastifyReply, status: number): FastifyReply {
  const wait = retryAfter(status);
  if (wait !== undefined) void reply.header("retry-after", wait);
  return reply.status(status);
}
