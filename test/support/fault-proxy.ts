/** Proxies that stand between a worker and its servers and misbehave when told to. */
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What happens to one request: an answer instead of the server's, or a delay before it. */
export interface HttpFault {
  readonly status?: number;
  readonly retryAfter?: number;
  readonly delayMs?: number;
}

/** A proxy before OpenSearch. */
export interface HttpFaultProxy {
  readonly url: string;
  /** Decides about each request; undefined lets it through. */
  fault: (request: { readonly method: string; readonly path: string }) => HttpFault | undefined;
  /** Requests that were not let through as they were. */
  faults: number;
  close(): Promise<void>;
}

/** Starts a proxy before `target` on a free port. */
export async function startHttpFaultProxy(target: string): Promise<HttpFaultProxy> {
  const { hostname, port } = new URL(target);
  const agent = new http.Agent({ keepAlive: true });
  const server = http.createServer((request, response) => {
    void (async () => {
      const fault = proxy.fault({ method: request.method ?? "", path: request.url ?? "" });
      if (fault !== undefined) proxy.faults += 1;
      if (fault?.delayMs !== undefined) await sleep(fault.delayMs);
      if (fault?.status !== undefined) {
        request.resume();
        response.writeHead(fault.status, {
          "content-type": "application/json",
          ...(fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) }),
        });
        response.end(JSON.stringify({ error: { type: "fault", reason: "as the test asked" } }));
        return;
      }
      const forwarded = http.request(
        {
          hostname,
          port,
          agent,
          method: request.method,
          path: request.url,
          headers: request.headers,
        },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        },
      );
      forwarded.on("error", () => response.destroy());
      response.on("close", () => forwarded.destroy());
      request.pipe(forwarded);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy: HttpFaultProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    fault: () => undefined,
    faults: 0,
    async close() {
      agent.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

/** A proxy before Redis that can cut the network without a word, as a partition does. */
export interface PartitionProxy {
  readonly port: number;
  /** From now on nothing passes and nothing is refused. */
  cut(): void;
  /** The network is back; connections of before are dead. */
  heal(): void;
  close(): Promise<void>;
}

/** Starts a proxy before a port of this machine. */
export async function startPartitionProxy(targetPort: number): Promise<PartitionProxy> {
  let isCut = false;
  const pairs = new Set<readonly [net.Socket, net.Socket | undefined]>();
  const server = net.createServer((inner) => {
    inner.on("error", () => {});
    if (isCut) {
      pairs.add([inner, undefined]);
      return;
    }
    const outer = net.connect(targetPort, "127.0.0.1");
    outer.on("error", () => inner.destroy());
    inner.pipe(outer).pipe(inner);
    const pair = [inner, outer] as const;
    pairs.add(pair);
    inner.on("close", () => {
      outer.destroy();
      pairs.delete(pair);
    });
    outer.on("close", () => inner.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      isCut = true;
      for (const [inner, outer] of pairs) {
        inner.unpipe();
        outer?.unpipe();
        inner.pause();
        outer?.pause();
      }
    },
    heal() {
      isCut = false;
      for (const [inner, outer] of pairs) {
        inner.destroy();
        outer?.destroy();
      }
      pairs.clear();
    },
    async close() {
      for (const [inner, outer] of pairs) {
        inner.destroy();
        outer?.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
