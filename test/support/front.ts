/** HTTP servers that tests put before a cluster. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

/** A running front. */
export interface Front {
  readonly url: string;
  /** Cuts the connections that are open, too. */
  stop(): Promise<void>;
}

/** Starts one on a free port of the loopback. */
export async function startFront(answer: RequestListener): Promise<Front> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
