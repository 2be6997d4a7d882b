/** Ports on loopback: whether one is free, and finding one that is. */
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

/** A port that nobody listened on a moment ago. */
export async function findFreePort(): Promise<number> {
  return await listenOnce(0);
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
