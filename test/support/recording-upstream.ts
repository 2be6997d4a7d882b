/**
 * A loopback HTTP server in the place of a cluster that keeps every request, byte for byte.
 * For what a real cluster does not tell (which bytes and credentials reached it) and for
 * faults it cannot be made to show on request.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request as it arrived. */
export interface RecordedRequest {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** A running server. */
export interface RecordingUpstream {
  readonly url: string;
  readonly requests: RecordedRequest[];
  /** Answers a request that was read whole; `{}` with 200 without it. */
  answer: (request: RecordedRequest, response: ServerResponse) => void;
  /** Called for every request whose client went away before the answer ended. */
  onAbandoned: () => void;
  close(): Promise<void>;
}

/** Starts the server on a free port of the loopback interface. */
export async function startRecordingUpstream(): Promise<RecordingUpstream> {
  const http = createServer((request, response) => void take(request, response));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const upstream: RecordingUpstream = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    requests: [],
    answer: (_request, response) => response.end("{}"),
    onAbandoned: () => {},
    async close() {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };

  async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.once("close", () => {
      if (!response.writableFinished) upstream.onAbandoned();
    });
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const { method = "", url = "", rawHeaders, headers } = request;
    const recorded = { method, url, rawHeaders, headers, body: Buffer.concat(chunks) };
    upstream.requests.push(recorded);
    upstream.answer(recorded, response);
  }

  return upstream;
}
