/** What operators and their tools ask: alive, ready, numbers, description. */
import type { FastifyInstance, RouteHandlerMethod } from "fastify";
import type { EncoderHealth } from "../encoder/encoder-threads.js";
import type { EncodeService } from "./encode-service.js";
import type { Metrics } from "./metrics.js";
import { openApiDocument } from "./openapi.js";

/** What the routes need. */
export interface StatusRouteOptions {
  readonly service: EncodeService;
  readonly metrics: Metrics;
  /** One question to the cluster: is anybody there? Bounded in time, never throws. */
  readonly askCluster: () => Promise<ClusterState>;
  /** How the encoder is: `/ready` and `/health` follow its last inference. */
  readonly encoderHealth: () => EncoderHealth;
  /** True from the moment the gateway is asked to end. */
  readonly isDraining: () => boolean;
}

/** Whether the cluster answers; encoding works without it. */
export interface ClusterState {
  readonly url: string;
  readonly reachable: boolean;
}

/** Adds `/health`, `/ready`, `/metrics` and `/openapi.json` below `prefix`. */
export function addStatusRoutes(
  app: FastifyInstance,
  prefix: string,
  options: StatusRouteOptions,
): void {
  const { service, metrics } = options;
  const { name, fingerprint, variant, precision } = service.manifest;

  const get = (path: string, handler: RouteHandlerMethod) =>
    app.route({ method: ["GET", "HEAD"], url: prefix + path, handler });

  get("/health", (_request, reply) => {
    const { state } = options.encoderHealth();
    return reply
      .status(state === "broken" ? 503 : 200)
      .send({ status: state === "broken" ? "broken" : "ok" });
  });

  get("/ready", async (_request, reply) => {
    const { state } = options.encoderHealth();
    const status = options.isDraining() ? "draining" : state;
    return reply.status(status === "ready" ? 200 : 503).send({
      status,
      model: { name, fingerprint, variant, precision },
      cluster: await options.askCluster(),
    });
  });

  get("/metrics", async (_request, reply) => {
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  get("/openapi.json", (_request, reply) => reply.send(openApiDocument()));
}
