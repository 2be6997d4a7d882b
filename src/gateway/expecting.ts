/**
 * Requests with `Expect: 100-continue`: the client waits with its body until the cluster has said
 * that it will take it. undici does not send the header, so Node's own client does.
 */
import { request as overHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { request as overHttps } from "node:https";
import { responseHeaders } from "./forwarded-headers.js";
import { uploadOf } from "./upload.js";

/** How such a request is sent on. */
export interface ExpectingOptions {
  readonly target: URL;
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly timeout: number;
  readonly idle: number;
  readonly ca: { readonly ca?: Buffer };
}

/** Clients may send after a while although nothing was said, and some clusters say nothing. */
const PATIENCE_MS = 2_000;

/** Forwards, and passes the cluster's `100 Continue` or its refusal on. */
export function forwardExpecting(
  request: IncomingMessage,
  response: ServerResponse,
  { target, path, headers, timeout, idle, ca }: ExpectingOptions,
): Promise<void> {
  const start = target.protocol === "https:" ? overHttps : overHttp;
  const chunked = request.headers["transfer-encoding"] !== undefined;
  return new Promise((resolve, reject) => {
    const outgoing = start({
      hostname: target.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: target.port,
      method: request.method,
      path,
      headers: [
        ...["host", target.host, "expect", "100-continue", ...headers],
        ...(chunked ? ["transfer-encoding", "chunked"] : []),
      ],
      timeout,
      agent: false,
      ...ca,
    });
    let sending = false;
    const send = (): void => {
      if (sending || response.headersSent) return;
      sending = true;
      clearTimeout(patience);
      response.writeContinue();
      uploadOf(request, undefined, idle)
        .on("error", (error) => outgoing.destroy(error))
        .pipe(outgoing);
    };
    const patience = setTimeout(send, PATIENCE_MS).unref();
    outgoing.once("continue", send);
    outgoing.once("timeout", () => outgoing.destroy(new Error("The cluster is silent.")));
    outgoing.once("error", (error) => {
      clearTimeout(patience);
      reject(error);
    });
    outgoing.once("response", (answer) => {
      clearTimeout(patience);
      const unsent = sending ? [] : ["connection", "close"];
      response.writeHead(answer.statusCode ?? 502, [
        ...responseHeaders(answer.rawHeaders),
        ...unsent,
      ]);
      answer.pipe(response);
      answer.once("error", reject);
      response.once("finish", resolve);
    });
    response.once("close", () => {
      if (!response.writableFinished) outgoing.destroy();
      resolve();
    });
  });
}
