/** The one door through which requests are forwarded: streams both ways, nothing kept. */
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { errors, Pool, type Dispatcher } from "undici";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { forwardExpecting } from "./expecting.js";
import { requestHeaders, responseHeaders } from "./forwarded-headers.js";
import { createPlaces } from "./places.js";
import { readBody } from "./request-body.js";
import { requestLife } from "./request-life.js";
import { onAbort } from "../waiting/on-abort.js";
import { endUpload, uploadOf } from "./upload.js";

/** What is changed in a request that goes on. */
export interface ForwardChanges {
  /** The body, read already; undefined streams the request's own. */
  readonly body?: Buffer;
  /** True if the rest of the request's body comes behind `body`. */
  readonly more?: boolean;
  /** True if `body` is not what came: headers that describe the old one are left out. */
  readonly rewritten?: boolean;
  /** Added to the answer. */
  readonly warnings?: readonly string[];
}

/** An answer that was read whole. */
export interface WholeAnswer {
  readonly status: number;
  /** As `writeHead` takes them, without those that describe the body's bytes. */
  readonly headers: readonly string[];
  readonly type: string;
  readonly content: Buffer;
}

/** A cluster to forward to. */
export interface Upstream {
  /**
   * Sends a request on and streams the answer back. Returns when the answer is complete, or
   * the client is gone.
   * @throws CspladeError `cluster_unreachable`, `deadline_exceeded`, `cluster_busy` (no connection
   *   became free), as long as nothing of the answer was sent; after that the client's connection
   *   is cut.
   */
  forward(
    request: IncomingMessage,
    response: ServerResponse,
    changes?: ForwardChanges,
  ): Promise<void>;
  /**
   * Sends a request on with another body and path, and reads the answer, which comes unpacked.
   * @throws CspladeError as {@link Upstream.forward}; the signal's reason.
   */
  ask(
    request: IncomingMessage,
    sent: { readonly body: Buffer; readonly url: string },
    signal: AbortSignal,
  ): Promise<WholeAnswer>;
  /** Cuts what is still open. */
  close(): Promise<void>;
}

/**
 * Connections to the cluster. Bodies that stream have some of their own: a client that stops in the
 * middle of one keeps it until it is cut off, and searches must not wait for that.
 */
const REQUESTS = 512;
const UPLOADS = 128;

/** How long a request waits for a connection. */
const WAIT_MS = 10_000;

/** Bodies up to this size are read before a connection is taken. */
const READ_FIRST_BYTES = 65_536;

const PACKING: ReadonlySet<string> = new Set(["accept-encoding"]);

/** The cluster's own limits are lower, but for `Warning`, of which it sends as many as it has. */
const MAX_HEADER_BYTES = 4_194_304;

/** Connects lazily to `opensearch.url`, never with credentials of the configuration. */
export function createUpstream(config: Config): Upstream {
  const target = new URL(config["opensearch.url"]);
  const base = target.pathname.replace(/\/$/, "");
  const url = `${target.origin}${base}`;
  const timeout = config["gateway.upstream_timeout_ms"];
  const idle = config["gateway.idle_timeout_ms"];
  const caFile = config["opensearch.ca_file"];
  const ca = caFile === undefined ? {} : { ca: readFileSync(caFile) };
  const pool = new Pool(target.origin, {
    connections: REQUESTS + UPLOADS,
    headersTimeout: timeout,
    bodyTimeout: timeout,
    keepAliveTimeout: 30_000,
    maxHeaderSize: MAX_HEADER_BYTES,
    connect: { timeout: 10_000, ...ca },
  });
  const requests = createPlaces(REQUESTS, WAIT_MS);
  const uploads = createPlaces(UPLOADS, WAIT_MS);
  return {
    async forward(request, response, changes = {}) {
      const { more = false, rewritten = false, warnings = [] } = changes;
      let { body } = changes;
      if (body === undefined && isShort(request)) {
        if (request.headers.expect !== undefined) response.writeContinue();
        body = (await readBody(request, READ_FIRST_BYTES, requestLife(response, idle))).raw;
      }
      const streams = more || (body === undefined && hasBody(request));
      const path = base + pathOf(request);
      const headers = requestHeaders(request.rawHeaders, rewritten);
      const leave = await (streams ? uploads : requests).take();
      try {
        if (response.destroyed) return;
        if (streams && body === undefined && request.headers.expect !== undefined) {
          await forwardExpecting(request, response, { target, path, headers, timeout, idle, ca });
          return;
        }
        const upload = streams ? uploadOf(request, body, idle) : undefined;
        const options: Dispatcher.DispatchOptions = {
          method: request.method ?? "GET",
          path,
          headers,
          body: upload ?? body ?? null,
        };
        await new Promise<void>((resolve, reject) => {
          pool.dispatch(options, streamInto(response, warnings, resolve, reject));
        });
      } catch (thrown) {
        if (response.headersSent || response.destroyed) response.destroy();
        else throw unanswered(thrown, url, timeout);
      } finally {
        leave();
        if (streams) endUpload(request);
      }
    },
    async ask(request, { body, url: asked }, signal) {
      const leave = await requests.take();
      try {
        signal.throwIfAborted();
        const options: Dispatcher.DispatchOptions = {
          method: request.method ?? "GET",
          path: base + pathOf({ url: asked }),
          headers: requestHeaders(request.rawHeaders, true, PACKING),
          body,
        };
        return await new Promise<WholeAnswer>((resolve, reject) => {
          pool.dispatch(options, readWhole(signal, resolve, reject));
        });
      } catch (thrown) {
        signal.throwIfAborted();
        throw unanswered(thrown, url, timeout);
      } finally {
        leave();
      }
    },
    close: () => pool.destroy(),
  };
}

function isShort({ headers }: IncomingMessage): boolean {
  const length = headers["content-length"];
  return length !== undefined && length !== "0" && Number(length) <= READ_FIRST_BYTES;
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

/** Reads an answer to its end. */
function readWhole(
  signal: AbortSignal,
  resolve: (answer: WholeAnswer) => void,
  reject: (reason: Error) => void,
): Dispatcher.DispatchHandler {
  let stop = (): void => {};
  let head: Omit<WholeAnswer, "content"> = { status: 0, headers: [], type: "" };
  const chunks: Buffer[] = [];
  return {
    onRequestStart(controller) {
      stop = onAbort(signal, () => controller.abort(signal.reason as Error));
    },
    onResponseStart({ rawHeaders }, status, headers) {
      if (status < 200) return;
      const kept = responseHeaders((rawHeaders ?? []) as readonly Buffer[], true);
      head = { status, headers: kept, type: String(headers["content-type"] ?? "") };
    },
    onResponseData(_controller, chunk) {
      chunks.push(chunk);
    },
    onResponseEnd() {
      stop();
      resolve({ ...head, content: Buffer.concat(chunks) });
    },
    onResponseError(_controller, error) {
      stop();
      reject(error);
    },
  };
}

/** The path as it came; a proxy's absolute form is cut down to it. */
function pathOf({ url = "/" }: Pick<IncomingMessage, "url">): string {
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

/** Clients give up on headers beyond 16 KiB in all. */
const MAX_WARNINGS = 8;
const MAX_WARNING_CHARS = 400;

/** As OpenSearch writes its own warnings, which its clients show. */
export function warningHeaders(warnings: readonly string[]): string[] {
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
