/** Requests sent byte for byte, which fetch does not do, and a cluster's answers to the gateway's look-ups. */
import { request as httpRequest, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { TestGateway } from "./gateway.js";
import type { RecordedRequest } from "./recording-upstream.js";

/** An answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Sends bytes exactly as given. */
export function send(
  url: string,
  method: string,
  headers: Readonly<Record<string, string>>,
  body?: Buffer | string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
        }),
      );
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Answers look-ups as a cluster with one CSPLADE index would, and everything else with `{}`. */
export function answerLookups(gateway: () => TestGateway) {
  return (request: RecordedRequest, response: ServerResponse): void => {
    response.setHeader("content-type", "application/json");
    const { fingerprint, name } = gateway().encoder.manifest;
    const csplade = {
      format: 1,
      fingerprint,
      model: name,
      variant: "bi",
      vocabulary_size: 1024,
      field: "csplade",
      passages: "merged",
      text_fields: ["text"],
      title_field: "title",
      created_by: "csplade 0.1.0",
    };
    if (request.url.includes("/_mapping")) {
      response.end(JSON.stringify({ docs: { mappings: { _meta: { csplade } } } }));
    } else if (request.url === "/prefix/") {
      response.end('{"version":{"number":"3.6.0","distribution":"opensearch"}}');
    } else response.end("{}");
  };
}
