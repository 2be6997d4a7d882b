/** The one door through which requests are forwarded: streams both ways, nothing kept. */
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { errors, Pool, type Dispatcher } from "undici";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** What is changed in a request that goes on. */
export interface ForwardChanges {
  /** The whole body, read already; undefined streams the request's own. */
  readonly body?: Buffer;
  /** True if `body` is not what came: headers that describe the old one are left out. */
  readonly rewritten?: boolean;
  /** Added to the answer. */
  readonly warnings?: readonly string[];
}

/** A cluster to forward to. */
export interface Upstream {
  /**
   * Sends a request on and streams the answer back. Returns when the answer is complete, or
   * the client is gone.
   * @throws CspladeError `cluster_unreachable`, `deadline_exceeded`, as long as nothing of the
   *   answer was sent; after that the client's connection is cut.
   */
  forward(
    request: IncomingMessage,
    response: ServerResponse,
    changes?: ForwardChanges,
  ): Promise<void>;
  /** Cuts what is still open. */
  close(): Promise<void>;
}

/** Headers about one connection (RFC 9110, 7.6.1), and those undici writes itself. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const REQUEST_ONLY: ReadonlySet<string> = new Set([...HOP_BY_HOP, "host", "expect"]);
const OF_THE_BODY: ReadonlySet<string> = new Set(["content-length", "content-encoding"]);

/** Connections to the cluster; more requests wait for one. */
const CONNECTIONS = 256;

/** Connects lazily to `opensearch.url`, never with credentials of the configuration. */
export function createUpstream(config: Config): Upstream {
  const target = new URL(config["opensearch.url"]);
  const base = target.pathname.replace(/\/$/, "");
  const url = `${target.origin}${base}`;
  const timeout = config["gateway.upstream_timeout_ms"];
  const ca = config["opensearch.ca_file"];
  const pool = new Pool(target.origin, {
    connections: CONNECTIONS,
    headersTimeout: timeout,
    bodyTimeout: timeout,
    keepAliveTimeout: 30_000,
    connect: { timeout: 10_000, ...(ca === undefined ? {} : { ca: readFileSync(ca) }) },
  });
  return {
    async forward(request, response, { body, rewritten = false, warnings = [] } = {}) {
      const options: Dispatcher.DispatchOptions = {
        method: request.method ?? "GET",
        path: base + pathOf(request),
        headers: requestHeaders(request, body !== undefined && rewritten),
        body: body ?? (hasBody(request) ? request : null),
      };
      try {
        await new Promise<void>((resolve, reject) => {
          pool.dispatch(options, streamInto(response, warnings, resolve, reject));
        });
      } catch (thrown) {
        if (response.headersSent || response.destroyed) response.destroy();
        else throw unanswered(thrown, url, timeout);
      }
    },
    close: () => pool.destroy(),
  };
}

/**
 * Writes an answer as it comes, no faster than the client takes it; a client that leaves cuts the
 * request off. undici has a `stream` that does the same, but it makes an `AbortController` and watches
 * the response with a dozen listeners, for every request.
 */
function streamInto(
  response: ServerResponse,
  warnings: readonly string[],
  resolve: () => void,
  reject: (reason: Error) => void,
): Dispatcher.DispatchHandler {
  let controller: Dispatcher.DispatchController | undefined;
  const leave = (): void => {
    if (!response.writableFinished) controller?.abort(new Error("The client left."));
  };
  const goOn = (): void => controller?.resume();
  const stop = (): void => {
    response.off("close", leave).off("drain", goOn);
  };
  response.once("close", leave).on("drain", goOn);
  return {
    onRequestStart(started) {
      controller = started;
      // It may have left while the request waited for a connection.
      if (response.destroyed) leave();
    },
    onResponseStart({ rawHeaders }, statusCode) {
      // 1xx says that the answer is still to come.
      if (statusCode < 200) return;
      const headers = responseHeaders((rawHeaders ?? []) as readonly Buffer[]);
      response.writeHead(statusCode, [...headers, ...warningHeaders(warnings)]);
    },
    onResponseData(started, chunk) {
      if (!response.write(chunk)) started.pause();
    },
    onResponseEnd() {
      stop();
      response.end();
      resolve();
    },
    onResponseError(_started, error) {
      stop();
      reject(error);
    },
  };
}

/** The path as it came; a proxy's absolute form is cut down to it. */
function pathOf({ url = "/" }: IncomingMessage): string {
  if (url.startsWith("/")) return url;
  if (!URL.canParse(url)) {
    throw new CspladeError("request_invalid", "The request's path does not start with a slash.");
  }
  const { pathname, search } = new URL(url);
  return pathname + search;
}

function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers["content-length"];
  return headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

function requestHeaders(request: IncomingMessage, rewritten: boolean): string[] {
  return pairs(
    request.rawHeaders,
    (name) => !REQUEST_ONLY.has(name) && !(rewritten && OF_THE_BODY.has(name)),
  );
}

/** Header values are bytes: `latin1` gives each of them back as it was. */
function responseHeaders(raw: readonly Buffer[]): string[] {
  const texts = raw.map((each) => each.toString("latin1"));
  return pairs(texts, (name) => !HOP_BY_HOP.has(name));
}

/** Also leaves out what the `Connection` header names: it is about this connection, too. */
function pairs(raw: readonly string[], keep: (name: string) => boolean): string[] {
  const named = new Set<string>();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (raw[i]?.toLowerCase() !== "connection") continue;
    for (const name of (raw[i + 1] ?? "").split(",")) named.add(name.trim().toLowerCase());
  }
  const kept: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? "";
    if (keep(name.toLowerCase()) && !named.has(name.toLowerCase()))
      kept.push(name, raw[i + 1] ?? "");
  }
  return kept;
}

/** Clients give up on headers beyond 16 KiB in all. */
const MAX_WARNINGS = 8;
const MAX_WARNING_CHARS = 400;

/** As OpenSearch writes its own warnings, which its clients show. */
function warningHeaders(warnings: readonly string[]): string[] {
  const shown = warnings.slice(0, MAX_WARNINGS);
  const rest = warnings.length - shown.length;
  if (rest > 0) shown.push(`${rest} more warnings of this kind were left out.`);
  return shown.flatMap((text) => {
    const quoted = text.replaceAll(/[^\x20-\x7e]/g, "?").replaceAll(/["\\]/g, "'");
    return ["warning", `299 csplade "${quoted.slice(0, MAX_WARNING_CHARS)}"`];
  });
}

function unanswered(thrown: unknown, url: string, timeout: number): CspladeError {
  if (thrown instanceof CspladeError) return thrown;
  if (thrown instanceof errors.HeadersTimeoutError || thrown instanceof errors.BodyTimeoutError) {
    return new CspladeError("deadline_exceeded", `${url} did not answer within ${timeout} ms.`, {
      cause: thrown,
      hint: "gateway.upstream_timeout_ms is how long it may be silent.",
    });
  }
  return new CspladeError(
    "cluster_unreachable",
    `${url} cannot be reached: ${messageOf(thrown)}.`,
    {
      cause: thrown,
      hint: "The gateway forwards to opensearch.url; check that the cluster is up.",
    },
  );
}
