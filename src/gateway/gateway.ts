/** The gateway: one HTTP server that encodes, and forwards everything else to the cluster. */
import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import fastify, { type FastifyInstance } from "fastify";
import { LRUCache } from "lru-cache";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import { createCorpusIdf } from "../query/corpus-idf.js";
import { demandReranker } from "../rerank/open-reranker.js";
import type { Reranker } from "../rerank/reranker.js";
import { callerOf, type Caller } from "./caller.js";
import { addConsoleRoutes, CONSOLE } from "./console-routes.js";
import { isForeignPage } from "./cross-site.js";
import { addEncodeRoutes, sendError } from "./encode-routes.js";
import { createEncodeService } from "./encode-service.js";
import { createIndexPlans } from "./index-plans.js";
import { listen } from "./listen.js";
import { createSearchScanner } from "./search-scanner.js";
import { createMetrics, type Metrics } from "./metrics.js";
import { createProxy } from "./proxy.js";
import { addQueueRoutes, QUEUE_BOARD } from "./queue-routes.js";
import { addStatusRoutes, type ClusterState } from "./status-routes.js";
import { createUpstream } from "./upstream.js";

/** What a gateway works with; the encoder stays its owner's to close. */
export interface GatewayOptions {
  readonly config: Config;
  readonly encoder: Encoder;
  /** Puts first hits into its own order for who asks for that; its owner's to close, too. */
  readonly reranker?: Reranker | undefined;
}

/** A listening gateway. */
export interface Gateway {
  /** For example `http://127.0.0.1:9260`. */
  readonly url: string;
  /**
   * Takes no more connections and waits for open requests, at most `graceMs`; what is still
   * open then is cut off. Never throws.
   */
  close(graceMs: number): Promise<void>;
}

/** A readiness probe that waits longer for the cluster would fail by its own deadline. */
const READY_TIMEOUT_MS = 1_000;

/** Routes of the gateway itself below its own path, by method. */
const OWN_ROUTES: ReadonlySet<string> = new Set([
  "POST /encode",
  "POST /embed_sparse",
  "POST /v1/opensearch/sparse",
  "POST /v1/elastic/sparse",
  "GET /health",
  "GET /ready",
  "GET /metrics",
  "GET /openapi.json",
  "GET /console",
  "GET /indices",
  "POST /compare",
]);

/**
 * The same routes without {@link CONSOLE} in front, as they were first: an index may have such a
 * name, and then a request that asks for the index is the cluster's.
 */
const ALIASES: ReadonlySet<string> = new Set([
  ...["/encode", "/embed_sparse", "/v1/opensearch/sparse", "/v1/elastic/sparse"],
  ...["/health", "/ready", "/metrics", "/openapi.json"],
]);

/** How long the cluster has to say whether there is an index of a route's name: probes do not wait. */
const ALIAS_TIMEOUT_MS = 300;
const ALIAS_BELIEVED_MS = 30_000;

/** Room for what clusters take: cookies and tokens of single sign-on are large. */
const MAX_HEADER_BYTES = 65_536;

/**
 * Starts listening.
 * @throws CspladeError `server_port_taken`, `server_failed`; `usage` for a rule that reranks without a
 *   reranker.
 */
export async function startGateway({
  config,
  encoder,
  reranker,
}: GatewayOptions): Promise<Gateway> {
  if (config["gateway.rules"].some(({ rerank }) => rerank > 0)) demandReranker(reranker);
  const metrics = createMetrics();
  const service = createEncodeService(config, encoder, metrics);
  // The proxy looks things up with the caller's credentials, never with ours.
  const cluster = connectCluster(withoutCredentials(config));
  const upstream = createUpstream(config);
  const plans = createIndexPlans(cluster, encoder.manifest);
  const corpusIdf = createCorpusIdf({
    scale: encoder.lexicon,
    idf: config["query.idf"],
    idf_timeout_ms: config["query.idf_timeout_ms"],
    onTrouble: (note) => process.stderr.write(`gateway: ${note}\n`),
  });
  const scanner = createSearchScanner();
  const proxy = createProxy({
    scanner,
    config,
    service,
    plans,
    corpusIdf,
    cluster,
    upstream,
    metrics,
    reranker,
  });
  let draining = false;
  let server: Server | undefined;
  const app = fastify({
    bodyLimit: config["gateway.max_body_bytes"],
    exposeHeadRoutes: false,
    serverFactory: (answerOwn) => {
      const answer = (request: IncomingMessage, response: ServerResponse): void => {
        if (draining) response.setHeader("connection", "close");
        // A connection kept alive from before the drain would hold the server open.
        response.once("close", () => {
          if (draining) setImmediate(() => server?.closeIdleConnections());
        });
        measure(metrics, routeName(request), response);
        if (isForeignPage(request, config["gateway.allowed_origins"])) {
          refuseForeignPage(request, response);
          return;
        }
        void isOwn(request).then((own) => {
          if (!own) {
            void proxy(request, response);
            return;
          }
          if (request.headers.expect !== undefined) response.writeContinue();
          endUnlessRead(request, config["gateway.request_timeout_ms"]);
          answerOwn(request, response);
        });
      };
      const created = createServer(
        {
          // A long upload is no fault; a client that says nothing is.
          requestTimeout: 0,
          headersTimeout: config["gateway.idle_timeout_ms"],
          keepAliveTimeout: config["gateway.keep_alive_ms"],
          connectionsCheckingInterval: Math.min(10_000, config["gateway.idle_timeout_ms"]),
          maxHeaderSize: MAX_HEADER_BYTES,
        },
        answer,
      );
      created.on("checkContinue", answer);
      created.on("clientError", refuseNoHttp);
      server = created;
      return created;
    },
  });
  const indexOfThatName = new LRUCache<string, Promise<boolean>>({
    max: 1_000,
    ttl: ALIAS_BELIEVED_MS,
    ttlResolution: 0,
  });

  /** Whether a request is for the gateway itself. */
  async function isOwn(request: IncomingMessage): Promise<boolean> {
    const path = pathnameOf(request);
    if (path === CONSOLE || path.startsWith(`${CONSOLE}/`)) return true;
    if (!ALIASES.has(path)) return false;
    if (request.method === "POST" && OWN_ROUTES.has(`POST ${path}`)) return true;
    if (request.method !== "GET" && request.method !== "HEAD") return false;
    const caller = callerOf(request, config["gateway.identity_headers"]);
    const key = `${caller.key} ${path}`;
    const known = indexOfThatName.get(key) ?? askForIndex(path, caller);
    indexOfThatName.set(key, known, { noUpdateTTL: true });
    return !(await known);
  }

  async function askForIndex(path: string, { headers }: Caller): Promise<boolean> {
    try {
      const asked = { method: "HEAD", path, headers, timeoutMs: ALIAS_TIMEOUT_MS } as const;
      return (await cluster.send(asked)).status === 200;
    } catch {
      return false;
    }
  }

  readJsonWhateverItsType(app);
  app.setErrorHandler(sendError);
  app.setNotFoundHandler((request, reply) => {
    const path = pathnameOf(request.raw);
    const wanted = path.startsWith(CONSOLE) ? path.slice(CONSOLE.length) : path;
    const method = ["GET", "POST"].find((each) => OWN_ROUTES.has(`${each} ${wanted}`));
    if (method !== undefined) void reply.header("allow", method);
    return reply.status(method === undefined ? 404 : 405).send({
      error: {
        code: "request_invalid",
        message: `The gateway has no ${request.method} ${request.url}${method === undefined ? "" : `, only ${method}`}.`,
      },
    });
  });
  for (const prefix of ["", CONSOLE]) addEncodeRoutes(app, prefix, { config, service });
  addConsoleRoutes(app, { config, encoder, service, plans, corpusIdf, cluster });
  if (config["gateway.queue_board"]) addQueueRoutes(app, { config, cluster });
  for (const prefix of ["", CONSOLE]) {
    addStatusRoutes(app, prefix, {
      encoderHealth: () => encoder.health(),
      service,
      metrics,
      askCluster: () => askWhetherThere(cluster),
      isDraining: () => draining,
    });
  }
  let closing: Promise<void> | undefined;
  async function close(graceMs: number): Promise<void> {
    draining = true;
    const timer = setTimeout(() => server?.closeAllConnections(), graceMs);
    await app.close().catch(() => {});
    clearTimeout(timer);
    await Promise.all([cluster.close(), upstream.close(), scanner.close()]);
  }

  await listen(app, config);
  const address = server?.address() as AddressInfo;
  return {
    url: urlOf(address),
    close(graceMs) {
      closing ??= close(graceMs);
      return closing;
    },
  };
}

function withoutCredentials(config: Config): Config {
  const target = new URL(config["opensearch.url"]);
  target.username = "";
  target.password = "";
  return {
    ...config,
    "opensearch.url": target.href,
    "opensearch.username": undefined,
    "opensearch.password": undefined,
    "opensearch.api_key": undefined,
    "opensearch.aws_region": undefined,
  };
}

/** Any answer will do: without credentials a secured cluster answers 401, and it is there. */
async function askWhetherThere(cluster: Cluster): Promise<ClusterState> {
  const { url } = cluster;
  try {
    await cluster.send({ method: "GET", path: "/", timeoutMs: READY_TIMEOUT_MS });
    return { url, reachable: true };
  } catch {
    return { url, reachable: false };
  }
}

/** Clients of these routes send JSON and not always say so. */
function readJsonWhateverItsType(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => {
    try {
      // Windows programs write a byte order mark in front, which clusters take.
      done(null, JSON.parse((body as string).replace(/^\uFEFF/, "")));
    } catch {
      // The parser's own message quotes the body, which may be a document.
      done(new CspladeError("request_invalid", "The request's body is not JSON."));
    }
  });
}

/** Cuts a client off whose body does not come; forwarded bodies may take as long as they like. */
function endUnlessRead(request: IncomingMessage, timeoutMs: number): void {
  const timer = setTimeout(() => request.destroy(), timeoutMs);
  const stop = (): void => clearTimeout(timer);
  request.once("end", stop).once("close", stop);
}

/** What a request counts as in the metrics: one of a few names. */
function routeName(request: IncomingMessage): string {
  const path = pathnameOf(request);
  if (path.startsWith(QUEUE_BOARD)) return `GET ${QUEUE_BOARD}`;
  const own = path.startsWith(`${CONSOLE}/`) ? path.slice(CONSOLE.length) : path;
  const method = request.method === "HEAD" ? "GET" : request.method;
  const route = `${method ?? ""} ${own}`;
  if (!OWN_ROUTES.has(route) || (own === path && !ALIASES.has(path))) return "proxy";
  return ALIASES.has(own) ? route : `${method ?? ""} ${CONSOLE}${own}`;
}

function refuseForeignPage(request: IncomingMessage, response: ServerResponse): void {
  const reason =
    "A page of another site may not send requests to the gateway: the browser would add the " +
    "credentials of whoever looks at it. gateway.allowed_origins names sites that may.";
  const cause = { type: "security_exception", reason };
  const body = JSON.stringify({ error: { root_cause: [cause], ...cause }, status: 403 });
  request.resume();
  response.writeHead(403, {
    "content-type": "application/json; charset=UTF-8",
    "content-length": Buffer.byteLength(body),
    ...(request.complete ? {} : { connection: "close" }),
  });
  response.end(body);
}

/** What cannot be read as HTTP, answered in the cluster's error shape. */
function refuseNoHttp(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? [431, `The request's headers are larger than ${MAX_HEADER_BYTES} bytes.`]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? [408, "The request's headers did not come in time."]
        : [400, "The request is not HTTP/1.1."];
  const cause = { type: "illegal_argument_exception", reason };
  const body = JSON.stringify({ error: { root_cause: [cause], ...cause }, status });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\ncontent-type: application/json; charset=UTF-8\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

function measure(metrics: Metrics, route: string, response: ServerResponse): void {
  const stop = metrics.seconds.startTimer({ route });
  response.once("close", () => {
    stop();
    const status = response.headersSent ? String(response.statusCode) : "aborted";
    metrics.requests.inc({ route, status });
  });
}

function pathnameOf({ url = "/" }: IncomingMessage): string {
  const end = url.indexOf("?");
  return end < 0 ? url : url.slice(0, end);
}

function urlOf({ address, port, family }: AddressInfo): string {
  return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}
