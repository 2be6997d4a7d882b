/** Listening at the gateway's address. */
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** Of an HTTP server what is needed to start it. */
interface Listener {
  listen(where: { host: string; port: number }): Promise<string>;
}

/**
 * Listens on `gateway.host` and `gateway.port`.
 * @throws CspladeError `server_port_taken`, `server_failed`.
 */
export async function listen(app: Listener, config: Config): Promise<void> {
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
