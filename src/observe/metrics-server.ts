/** Serves metrics and probes over HTTP: what Prometheus, KEDA and the kubelet ask. */
import { fastify } from "fastify";
import type { Registry } from "prom-client";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** What is served. */
export interface ServedMetrics {
  readonly registry: Registry;
  /** Brings gauges up to date before they are read. */
  readonly refresh?: () => Promise<void>;
  /** Further JSON answers by path. */
  readonly json?: Readonly<Record<string, () => Promise<unknown>>>;
}

/** How a process is, as far as probes care. */
export interface ProcessHealth {
  /** `/healthz` is 503 only when `broken`, `/readyz` is 200 only when `ready`. */
  readonly state: "loading" | "ready" | "failing" | "broken" | "draining" | "closed";
  /** What else is shown. */
  readonly [detail: string]: unknown;
}

/** A running server. */
export interface MetricsServer {
  readonly url: string;
  /** From now on the probes answer what this says; before, the process is `loading`. */
  follow(health: () => ProcessHealth): void;
  close(): Promise<void>;
}

/**
 * Starts the server on `metrics.host` and `metrics.port`.
 * @returns undefined where no port is configured and none is given.
 * @throws CspladeError `server_port_taken`.
 */
export async function serveMetrics(
  config: Config,
  { registry, refresh, json = {} }: ServedMetrics,
  port = config["metrics.port"],
): Promise<MetricsServer | undefined> {
  if (port === undefined) return undefined;
  let health = (): ProcessHealth => ({ state: "loading" });
  const server = fastify({ logger: false, forceCloseConnections: true });
  server.get("/healthz", (_request, reply) => {
    const now = health();
    return reply.code(now.state === "broken" ? 503 : 200).send(now);
  });
  server.get("/readyz", (_request, reply) => {
    const now = health();
    return reply.code(now.state === "ready" ? 200 : 503).send(now);
  });
  server.get("/metrics", async (_request, reply) => {
    await refresh?.();
    return reply.type(registry.contentType).send(await registry.metrics());
  });
  for (const [path, answer] of Object.entries(json)) server.get(path, () => answer());
  // Causes may name hosts and users: they belong in logs, not in answers.
  server.setErrorHandler((thrown, _request, reply) =>
    reply.code(503).send({ error: thrown instanceof CspladeError ? thrown.code : "unexpected" }),
  );
  let url: string;
  try {
    url = await server.listen({ host: config["metrics.host"], port });
  } catch (cause) {
    throw new CspladeError(
      "server_port_taken",
      `Metrics cannot be served on ${config["metrics.host"]}:${port}: ${messageOf(cause)}`,
      { cause, hint: "Set CSPLADE_METRICS_PORT to a free port; 0 takes any." },
    );
  }
  return {
    url,
    follow(asked) {
      health = asked;
    },
    close: () => server.close(),
  };
}
