/** A server that reranks, in both wire forms, by how many of the question's words a text has. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

/** What it was asked. */
export interface RerankRequest {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: {
    readonly query: string;
    readonly texts?: readonly string[];
    readonly documents?: readonly string[];
    readonly model?: string;
  };
}

/** A running server. */
export interface RerankServer {
  readonly url: string;
  readonly asked: RerankRequest[];
  /** What it says instead of scores, or does before; returning undefined lets it answer. */
  fault: (() => Promise<[status: number, body: unknown] | undefined>) | undefined;
  close(): Promise<void>;
}

/** Share of the question's words that a text has. */
export function wordsShared(query: string, text: string): number {
  const own = new Set(text.toLowerCase().split(/\W+/));
  const words = query.toLowerCase().split(/\W+/);
  return words.filter((word) => own.has(word)).length / words.length;
}

/** Starts it on a port of its own. */
export async function startRerankServer(): Promise<RerankServer> {
  const asked: RerankRequest[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const body = (await json(request)) as RerankRequest["body"];
      asked.push({ path: request.url ?? "", authorization: request.headers.authorization, body });
      const [status, said] = (await running.fault?.()) ?? [200, answerTo(body)];
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(said));
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const running: RerankServer = {
    url: `http://127.0.0.1:${port}`,
    asked,
    fault: undefined,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return running;
}

/** Best first, as such servers answer. */
function answerTo({ query, texts, documents }: RerankRequest["body"]): unknown {
  const scored = (texts ?? documents ?? []).map((text, index) => ({
    index,
    score: wordsShared(query, text),
  }));
  scored.sort((a, b) => b.score - a.score);
  if (texts !== undefined) return scored;
  return { results: scored.map(({ index, score }) => ({ index, relevance_score: score })) };
}
