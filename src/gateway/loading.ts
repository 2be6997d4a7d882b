/** What the gateway's address answers while the model is being loaded: alive, and not ready. */
import { fastify } from "fastify";
import type { Config } from "../config/settings.js";
import { listen } from "./listen.js";

/** An address that answers until the gateway takes it over. */
export interface LoadingServer {
  close(): Promise<void>;
}

/**
 * Listens on `gateway.host` and `gateway.port`: `/health` is 200, everything else 503. A large model
 * over a network takes longer than any probe's patience. With port 0 nobody can know the address yet,
 * and nothing is served.
 * @throws CspladeError `server_port_taken`, `server_failed`.
 */
export async function answerWhileLoading(config: Config): Promise<LoadingServer> {
  if (config["gateway.port"] === 0) return { close: () => Promise.resolve() };
  const app = fastify({ logger: false, forceCloseConnections: true });
  app.get("/health", () => ({ status: "loading" }));
  app.setNotFoundHandler((_request, reply) =>
    reply
      .status(503)
      .header("retry-after", "1")
      .send({
        status: "loading",
        error: { code: "overloaded", message: "The model is being loaded." },
      }),
  );
  await listen(app, config);
  return { close: () => app.close() };
}
