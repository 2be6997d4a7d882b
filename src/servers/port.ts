/** Ports on loopback: whether one is free, and finding one that is. */
import { randomInt } from "node:crypto";
import net from "node:net";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** The only address the embedded servers listen on. */
export const loopback = "127.0.0.1";

/**
 * Refuses a port that somebody else listens on.
 * @param option the command-line option that chooses another one, for the hint.
 * @throws CspladeError `server_port_taken`.
 */
export async function demandFreePort(port: number, server: string, option: string): Promise<void> {
  try {
    await listenOnce(port);
  } catch (cause) {
    const taken = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
    const wrong = taken ? "another program listens there" : messageOf(cause);
    throw new CspladeError(
      "server_port_taken",
      `${server} cannot use port ${port} of ${loopback}: ${wrong}.`,
      { cause, hint: `Stop that program, or choose another port with ${option}.` },
    );
  }
}

/**
 * Ports below those that Linux, macOS and Windows hand to outgoing connections (32,768 upward). A server that restarts
 * on its port must not find a client's connection there, nor a client that retries meet itself.
 */
const firstPort = 20_000;
const lastPort = 32_767;

/**
 * A port that nobody listened on a moment ago.
 * @throws CspladeError `server_failed` if a hundred are taken in a row.
 */
export async function findFreePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(firstPort, lastPort + 1);
    try {
      return await listenOnce(port);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "EADDRINUSE") throw thrown;
    }
  }
  throw new CspladeError(
    "server_failed",
    `No port of ${loopback} between ${firstPort} and ${lastPort} is free.`,
  );
}

async function listenOnce(port: number): Promise<number> {
  return await new Promise<number>((resolve, reject) => {
    const probe = net.createServer();
    probe.once("error", reject);
    probe.listen({ port, host: loopback, exclusive: true }, () => {
      const address = probe.address();
      const found = address !== null && typeof address === "object" ? address.port : port;
      probe.close(() => resolve(found));
    });
  });
}
