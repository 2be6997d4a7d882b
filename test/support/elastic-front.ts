/**
 * What Elasticsearch's client demands of a server, in front of an OpenSearch: the Elasticsearch of
 * `elasticsearch.ts` lacks modules that an index of ours needs. The header it looks for is added, its media type
 * translated; everything else is the real client and the real cluster.
 */
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

/** A running front. */
export interface ElasticFront {
  readonly url: string;
  stop(): Promise<void>;
}

const VENDOR_TYPE = /application\/vnd\.elasticsearch\+(x-ndjson|json);compatible-with=\d+/g;

/** Starts one on a free port of the loopback. */
export async function startElasticFront(opensearchUrl: string): Promise<ElasticFront> {
  const server = createServer((incoming, outgoing) => {
    const headers = { ...incoming.headers };
    for (const name of ["accept", "content-type"]) {
      const value = headers[name];
      if (typeof value === "string") {
        headers[name] = value.replaceAll("; ", ";").replace(VENDOR_TYPE, "application/$1");
      }
    }
    const forwarded = request(
      `${opensearchUrl}${incoming.url}`,
      { method: incoming.method, headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, {
          ...answer.headers,
          "x-elastic-product": "Elasticsearch",
        });
        answer.pipe(outgoing);
      },
    );
    forwarded.on("error", () => outgoing.destroy());
    incoming.pipe(forwarded);
  });
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
