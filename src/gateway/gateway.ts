/** The gateway: one HTTP server that encodes, and forwards everything else to the cluster. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import fastify, { type FastifyInstance } from "fastify";
import { connectCluster, type Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { createCorpusIdf } from "../query/corpus-idf.js";
import { addConsoleRoutes, CONSOLE } from "./console-routes.js";
import { addEncodeRoutes, sendError } from "./encode-routes.js";
import { createEncodeService } from "./encode-service.js";
import { createIndexPlans } from "./index-plans.js";
import { createMetrics, type Metrics } from "./metrics.js";
import { createProxy } from "./proxy.js";
import { addQueueRoutes, QUEUE_BOARD } from "./queue-routes.js";
import { addStatusRoutes, type ClusterState } from "./status-routes.js";
import { createUpstream } from "./upstream.js";

/** What a gateway works with; the encoder stays its owner's to close. */
export interface GatewayOptions {
  readonly config: Config;
  readonly encoder: Encoder;
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

/** Routes of the gateway itself, by method; every other request belongs to the cluster. */
const OWN_ROUTES: ReadonlySet<string> = new Set([
  "POST /encode",
  "POST /embed_sparse",
  "POST /v1/opensearch/sparse",
  "POST /v1/elastic/sparse",
  "GET /health",
  "GET /ready",
  "GET /metrics",
  "GET /openapi.json",
  `GET ${CONSOLE}/console`,
  `GET ${CONSOLE}/indices`,
  `POST ${CONSOLE}/compare`,
]);

/**
 * Starts listening.
 * @throws CspladeError `server_port_taken`, `server_failed`.
 */
export async function startGateway({ config, encoder }: GatewayOptions): Promise<Gateway> {
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
  const proxy = createProxy({
    config,
    service,
    plans,
    corpusIdf,
    cluster,
    upstream,
    metrics,
  });
  let draining = false;
  let server: Server | undefined;
  const app = fastify({
    bodyLimit: config["gateway.max_body_bytes"],
    exposeHeadRoutes: false,
    serverFactory: (answerOwn) => {
      server = createServer({ requestTimeout: 0 }, (request, response) => {
        const route = `${request.method ?? ""} ${pathnameOf(request)}`;
        if (draining) response.setHeader("connection", "close");
        // A connection kept alive from before the drain would hold the server open.
        response.once("close", () => {
          if (draining) setImmediate(() => server?.closeIdleConnections());
        });
        measure(metrics, routeName(route, request), response);
        if (isOwn(route, request)) {
          endUnlessRead(request, config["gateway.request_timeout_ms"]);
          answerOwn(request, response);
        } else void proxy(request, response);
      });
      return server;
    },
  });
  readJsonWhateverItsType(app);
  app.setErrorHandler(sendError);
  app.setNotFoundHandler((request, reply) =>
    reply.status(404).send({
      error: { code: "request_invalid", message: `The gateway has no ${request.url}.` },
    }),
  );
  addEncodeRoutes(app, { config, service });
  addConsoleRoutes(app, { config, encoder, service, plans, corpusIdf, cluster });
  if (config["gateway.queue_board"]) addQueueRoutes(app, { config, cluster });
  addStatusRoutes(app, {
    encoderHealth: () => encoder.health(),
    service,
    metrics,
    askCluster: () => askWhetherThere(cluster),
    isDraining: () => draining,
  });
  let closing: Promise<void> | undefined;
  async function close(graceMs: number): Promise<void> {
    draining = true;
    const timer = setTimeout(() => server?.closeAllConnections(), graceMs);
    await app.close().catch(() => {});
    clearTimeout(timer);
    await Promise.all([cluster.close(), upstream.close()]);
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

async function listen(app: FastifyInstance, config: Config): Promise<void> {
  const [host, port] = [config["gateway.host"], config["gateway.port"]];
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const taken = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
    throw new CspladeError(
      taken ? "server_port_taken" : "server_failed",
      `The gateway cannot listen on ${host}:${port}: ${messageOf(cause)}`,
      { cause, hint: "Set another address with --port, gateway.host or gateway.port." },
    );
  }
}

/** Clients of these routes send JSON and not always say so. */
function readJsonWhateverItsType(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => {
    try {
      done(null, JSON.parse(body as string));
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

/** Nothing below the console's path is the cluster's. */
function isOwn(route: string, { url = "" }: IncomingMessage): boolean {
  return OWN_ROUTES.has(route) || url.startsWith(`${CONSOLE}/`) || url === CONSOLE;
}

/** What a request counts as in the metrics: one of a few names. */
function routeName(route: string, { url = "" }: IncomingMessage): string {
  if (OWN_ROUTES.has(route)) return route;
  return url.startsWith(QUEUE_BOARD) ? `GET ${QUEUE_BOARD}` : "proxy";
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
