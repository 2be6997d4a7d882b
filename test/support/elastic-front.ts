/**
 * What Elasticsearch's client demands of a server, in front of an OpenSearch: the Elasticsearch of
 * `elasticsearch.ts` lacks modules that an index of ours needs. The header it looks for is added, its media type
 * translated; everything else is the real client and the real cluster.
 */
import { request } from "node:http";
import { startFront, type Front } from "./front.js";

const VENDOR_TYPE = /application\/vnd\.elasticsearch\+(x-ndjson|json);compatible-with=\d+/g;

/** Starts one on a free port of the loopback. */
export async function startElasticFront(opensearchUrl: string): Promise<Front> {
  return startFront((incoming, outgoing) => {
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
}
