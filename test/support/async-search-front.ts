/**
 * Elasticsearch's `_async_search` and ES|QL before a server that lacks them, as the one of
 * `elasticsearch.ts` does (they come with x-pack): an asynchronous search is run at once by the
 * real server, ES|QL is only recorded. Everything else goes to the real server as it is.
 */
import { request, type IncomingMessage, type ServerResponse } from "node:http";
import { startFront, type Front } from "./front.js";

/** A running front. */
export interface AsyncSearchFront extends Front {
  /** Bodies of asynchronous searches and ES|QL queries, with their paths, as they arrived. */
  readonly bodies: { readonly path: string; readonly body: string }[];
}

/** Starts one on a free port of the loopback. */
export async function startAsyncSearchFront(server: string): Promise<AsyncSearchFront> {
  const bodies: { path: string; body: string }[] = [];

  function forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { method, headers, url = "/" } = incoming;
    const forwarded = request(server + url, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    forwarded.on("error", () => outgoing.destroy());
    incoming.pipe(forwarded);
  }

  async function record(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const path = incoming.url ?? "/";
    const body = Buffer.concat(chunks).toString();
    bodies.push({ path, body });
    let [status, answered]: [number, unknown] = [200, { columns: [], values: [] }];
    if (path.includes("/_async_search")) {
      const search = `${path.split("/_async_search")[0] ?? ""}/_search?ignore_unavailable=true`;
      const answer = await fetch(server + search, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      const response = (await answer.json()) as object;
      status = answer.status;
      const whole = { is_partial: false, is_running: false, start_time_in_millis: 0, response };
      answered = answer.ok ? whole : response;
    }
    outgoing.writeHead(status, {
      "content-type": "application/json",
      "x-elastic-product": "Elasticsearch",
    });
    outgoing.end(JSON.stringify(answered));
  }

  const front = await startFront((incoming, outgoing) => {
    const { method, url = "" } = incoming;
    const recorded =
      method === "POST" && /\/(?:_async_search|_query(?:\/async)?)(?:$|\?)/.test(url);
    if (recorded) void record(incoming, outgoing);
    else forward(incoming, outgoing);
  });
  return { ...front, bodies };
}
