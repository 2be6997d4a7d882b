/** What operators and their tools ask: alive, ready, numbers, description. */
import type { FastifyInstance } from "fastify";
import type { EncodeService } from "./encode-service.js";
import type { Metrics } from "./metrics.js";
import { openApiDocument } from "./openapi.js";

/** What the routes need. */
export interface StatusRouteOptions {
  readonly service: EncodeService;
  readonly metrics: Metrics;
  /** One question to the cluster: is anybody there? Bounded in time, never throws. */
  readonly askCluster: () => Promise<ClusterState>;
  /** True from the moment the gateway is asked to end. */
  readonly isDraining: () => boolean;
}

/** Whether the cluster answers; encoding works without it. */
export interface ClusterState {
  readonly url: string;
  readonly reachable: boolean;
}

/** Adds `/health`, `/ready`, `/metrics` and `/openapi.json`. */
export function addStatusRoutes(app: FastifyInstance, options: StatusRouteOptions): void {
  const { service, metrics } = options;
  const { name, fingerprint, variant, precision } = service.manifest;

  app.get("/health", () => ({ status: "ok" }));

  app.get("/ready", async (_request, reply) => {
    const draining = options.isDraining();
    return reply.status(draining ? 503 : 200).send({
      status: draining ? "draining" : "ready",
      model: { name, fingerprint, variant, precision },
      cluster: await options.askCluster(),
    });
  });

  app.get("/metrics", async (_request, reply) => {
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  app.get("/openapi.json", () => openApiDocument());
}
