/** The console: a page that shows both rankings of a question, and what it asks the gateway. */
import { readFileSync } from "node:fs";
import path from "node:path";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { onBehalfOf, type Cluster } from "../cluster/client-cluster.js";
import { packageRoot } from "../config/package-root.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { CorpusIdf } from "../query/corpus-idf.js";
import { searchedFields } from "../query/searched-fields.js";
import { prune } from "../sparse/prune.js";
import { EMPTY_VECTOR } from "../sparse/sparse-vector.js";
import { termNames } from "../sparse/term-names.js";
import { callerOf } from "./caller.js";
import { compare, type ComparisonRequest } from "./comparison.js";
import { checkBody } from "./encode-requests.js";
import type { EncodeService } from "./encode-service.js";
import { reportUnexpected } from "./http-error.js";
import type { IndexPlans } from "./index-plans.js";
import { openSearchError } from "./opensearch-error.js";
import { requestLife } from "./request-life.js";
import type { SearchTarget } from "./search-target.js";
import { traceHit } from "./traced-hit.js";

/** What the routes need. */
export interface ConsoleRouteOptions {
  readonly config: Config;
  readonly encoder: Encoder;
  readonly service: EncodeService;
  readonly plans: IndexPlans;
  readonly corpusIdf: CorpusIdf;
  /** A connection without credentials of its own. */
  readonly cluster: Cluster;
}

/** Where everything of the console lives: no index can be called so. */
export const CONSOLE = "/_csplade";

/** Body of `POST /_csplade/compare`. */
export const comparisonSchema = z.object({
  index: z.string().min(1).max(1000).describe("Index, alias or pattern."),
  question: z.string().max(100_000),
  expansion: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe(
      "Factor of what the model adds to the question; the setting query.expansion without it.",
    ),
  size: z.number().int().min(1).max(100).default(10).describe("Hits of each ranking."),
});

/** Body of `POST /_csplade/origin`. */
export const originSchema = comparisonSchema.omit({ size: true }).extend({
  hit_index: z.string().min(1).max(1000).describe("Index of the hit."),
  id: z.string().min(1).max(1000).describe("Id of the hit."),
});

const FILES = [
  ["/console", "index.html", "text/html; charset=utf-8"],
  ["/console.js", "console.js", "text/javascript; charset=utf-8"],
  ["/console.css", "console.css", "text/css; charset=utf-8"],
] as const;

const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-cache",
} as const;

const EVERYWHERE: SearchTarget = { body: "search", expression: undefined, options: {} };

/** Adds the page and its routes. */
export function addConsoleRoutes(app: FastifyInstance, options: ConsoleRouteOptions): void {
  const { config, encoder, service, plans, corpusIdf, cluster } = options;
  for (const [route, file, type] of FILES) {
    const content = readFileSync(path.join(packageRoot, "console", file));
    app.get(CONSOLE + route, (_request, reply) => reply.headers(HEADERS).type(type).send(content));
  }

  for (const short of [CONSOLE, `${CONSOLE}/`]) {
    app.get(short, (_request, reply) => reply.redirect(`${CONSOLE}/console`));
  }

  app.get(`${CONSOLE}/indices`, { errorHandler: sendClusterError }, async (request, reply) => {
    const found = await plans.names(callerOf(request.raw, config["gateway.identity_headers"]));
    return reply.headers(HEADERS).send({
      model: service.manifest.name,
      expansion: config["query.expansion"],
      indices: found,
    });
  });

  app.post(`${CONSOLE}/compare`, { errorHandler: sendClusterError }, async (request, reply) => {
    const { size, ...asked } = checkBody(comparisonSchema, request.body);
    const { truncated, ...ready } = await prepare(asked, request, reply);
    const comparison = await compare({ ...ready, size, encoder });
    const { index, question } = asked;
    return reply.headers(HEADERS).send({ index, question, truncated, ...comparison });
  });

  app.post(`${CONSOLE}/origin`, { errorHandler: sendClusterError }, async (request, reply) => {
    const { id, hit_index, ...asked } = checkBody(originSchema, request.body);
    const ready = await prepare(asked, request, reply);
    const traced = await traceHit({ ...ready, id, hit_index, encoder, service });
    return reply.headers(HEADERS).send({ index: hit_index, id, ...traced });
  });

  /** What both need of a question: its vector, weighed by the indices that it asks. */
  async function prepare(
    { index, question, expansion }: Omit<z.output<typeof comparisonSchema>, "size">,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<Omit<ComparisonRequest, "size" | "encoder"> & { readonly truncated: boolean }> {
    const caller = callerOf(request.raw, config["gateway.identity_headers"]);
    const life = requestLife(reply.raw, config["gateway.request_timeout_ms"]);
    const { signal } = life;
    const target = { ...EVERYWHERE, expression: encodeURIComponent(index) };
    const { names, plan, partial, foreign } = await plans.plan(target, caller);
    if (plan === undefined) {
      throw new CspladeError("index_invalid", `No index behind ${index} holds CSPLADE vectors.`);
    }
    const whole = await service.encode([question], "query", life, caller.key);
    const factor = expansion ?? config["query.expansion"];
    const [encoded] = await service.expanded([question], whole, [factor], life);
    const asCaller = onBehalfOf(cluster, caller.headers);
    const weighed = await corpusIdf.weigh(encoded ?? { vector: EMPTY_VECTOR }, {
      cluster: asCaller,
      index,
      indices: names,
      fields: searchedFields(plan).fields,
      caller: caller.key,
      signal,
    });
    const vector = prune(weighed.vector, {
      prune_type: config["query.prune_type"],
      prune_ratio: config["query.prune_ratio"],
    });
    return {
      cluster: asCaller,
      index,
      plan,
      partial,
      foreign,
      question,
      vector,
      notes: weighed.notes,
      names: termNames(service.vocabulary, encoded?.words),
      truncated: encoded?.truncated ?? false,
      signal,
    };
  }
}

/** As the cluster would say it; a browser asks for name and password when it sees 401. */
export function sendClusterError(
  thrown: unknown,
  _request: FastifyRequest,
  reply: FastifyReply,
): void {
  reportUnexpected(thrown);
  const { status, body } = openSearchError(thrown);
  if (status === 401) void reply.header("www-authenticate", 'Basic realm="cluster"');
  void reply.headers(HEADERS).status(status).send(body);
}
