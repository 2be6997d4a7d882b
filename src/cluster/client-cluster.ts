/**
 * A cluster over a client that the caller has: `@opensearch-project/opensearch` or
 * `@elastic/elasticsearch`, with the caller's own connections, credentials and TLS.
 *
 * Both descend from one client and keep its transport, so only that is used. Errors are told
 * by their names, because neither package need be installed.
 */
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { isStream, parseAnswer, readText, type ClientBody } from "./answer-text.js";
import { askCapabilities, type Capabilities } from "./capabilities.js";
import { onAbort } from "../waiting/on-abort.js";
import {
  codeOfStatus,
  reasonOf,
  type ClusterRequest,
  type ClusterResponse,
  type ClusterText,
} from "./request.js";

/** A connection to one cluster. */
export interface Cluster {
  /** The cluster's URL without credentials, for messages. */
  readonly url: string;
  /**
   * Sends one request, never retried here. 4xx and 5xx answers are returned, not thrown.
   * @throws CspladeError `cluster_unreachable` (no answer), `cluster_answer_invalid`,
   *   `deadline_exceeded`, `aborted`.
   */
  send(request: ClusterRequest): Promise<ClusterResponse>;
  /** Like {@link send}, with the answer as the text that came. */
  sendText(request: ClusterRequest): Promise<ClusterText>;
  /**
   * Like {@link send}, for requests that must succeed.
   * @throws CspladeError with the cluster's own reason for a status ≥ 400: `index_not_found` (404),
   *   `cluster_busy` (429, 502, 503, 504), else `cluster_rejected`.
   */
  demand(request: ClusterRequest, doing: string): Promise<unknown>;
  /** Like {@link demand}, with the answer as the text that came: documents in it are what was stored. */
  demandText(request: ClusterRequest, doing: string): Promise<string>;
  /** The cluster that is only read, where there are two ({@link joinedCluster}). */
  readonly source?: Cluster;
  /** What the cluster can do, of two the one that holds an index; asked once, then remembered. */
  capabilities(index?: string): Promise<Capabilities>;
  close(): Promise<void>;
}

/** What is used of a client. */
export interface OfficialClient {
  readonly transport: {
    // Method syntax: each client narrows the parameters in its own way.
    request(params: never, options?: never): PromiseLike<unknown>;
  };
}

/** How a client is used. */
export interface ClientOptions {
  /** The cluster's URL without credentials, for messages. */
  readonly url?: string;
  /** Deadline of a request that names none, milliseconds; 60,000 without it. */
  readonly requestTimeoutMs?: number;
  /** Ends the connections; the caller's client is left open without it. */
  readonly close?: () => Promise<void>;
}

/** Parameters and options as both transports take them. */
type TransportRequest = (
  params: Readonly<Record<string, unknown>>,
  options: Readonly<Record<string, unknown>>,
) => PromiseLike<unknown> & { readonly abort?: () => void };

/** The answer of either transport when it is asked for more than the body. */
interface TransportAnswer {
  readonly statusCode?: number | null;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, unknown>> | null;
}

/** Searches, writes and asks through a client. Nothing is sent before the first request. */
export function clusterOf(client: OfficialClient, options: ClientOptions = {}): Cluster {
  const { url = "the cluster", requestTimeoutMs = 60_000 } = options;
  const request = client.transport.request.bind(client.transport) as unknown as TransportRequest;
  async function sendText(asked: ClusterRequest): Promise<ClusterText> {
    asked.signal?.throwIfAborted();
    const { method, path, query, body, headers, timeoutMs, signal } = asked;
    const idleMs = timeoutMs ?? requestTimeoutMs;
    let answered: ClientBody | undefined;
    // Elasticsearch's client listens to the signal that it gets: it gets one of its own.
    const cancelled = new AbortController();
    const sent = request(
      {
        method,
        path,
        ...(query === undefined ? {} : { querystring: { ...query } }),
        ...(body === undefined ? {} : typeof body === "string" ? { bulkBody: body } : { body }),
      },
      {
        maxRetries: 0,
        ...(headers === undefined ? {} : { headers: { ...headers } }),
        requestTimeout: idleMs,
        asStream: true,
        // Elasticsearch's client: the status as well as the body, and its way to cancel.
        meta: true,
        ...(signal === undefined ? {} : { signal: cancelled.signal }),
      },
    );
    const stopListening = onAbort(signal, () => {
      cancelled.abort(signal?.reason);
      // OpenSearch's client. It returns the request itself, whose rejection is met below.
      if (answered === undefined) sent.abort?.();
      else answered.destroy?.();
    });
    try {
      const answer = (await sent) as TransportAnswer;
      if (isStream(answer.body)) answered = answer.body;
      signal?.throwIfAborted();
      return await textOf(answer, asked, idleMs);
    } catch (thrown) {
      if (signal?.aborted === true) throw cancelledError(asked, thrown);
      const refused = refusal(thrown);
      if (refused !== undefined) return await textOf(refused, asked, idleMs);
      throw unanswered(thrown, url, asked);
    } finally {
      stopListening();
    }
  }

  return clusterBy(url, sendText, options.close ?? (() => Promise.resolve()));
}

/**
 * The same connection used on somebody's behalf: every request carries `headers`. Closing it
 * does nothing; the connection stays its owner's.
 */
export function onBehalfOf(cluster: Cluster, headers: Readonly<Record<string, string>>): Cluster {
  return clusterBy(
    cluster.url,
    (asked) => cluster.sendText({ ...asked, headers: { ...headers, ...asked.headers } }),
    () => Promise.resolve(),
  );
}

function clusterBy(
  url: string,
  sendText: (request: ClusterRequest) => Promise<ClusterText>,
  close: () => Promise<void>,
): Cluster {
  let capabilities: Promise<Capabilities> | undefined;
  const send = async (asked: ClusterRequest) => responseOf(await sendText(asked), asked);
  const refuse = ({ status, body }: ClusterResponse, doing: string) =>
    new CspladeError(codeOf(status), `${doing}: ${url} answered ${status}: ${reasonOf(body)}`);
  return {
    url,
    send,
    sendText,
    async demand(asked, doing) {
      const answer = await send(asked);
      if (answer.status < 400) return answer.body;
      throw refuse(answer, doing);
    },
    async demandText(asked, doing) {
      const answer = await sendText(asked);
      if (answer.status < 400) return answer.text;
      throw refuse(responseOf(answer, asked), doing);
    },
    capabilities() {
      capabilities ??= askCapabilities(send, url).catch((thrown: unknown) => {
        capabilities = undefined;
        throw thrown;
      });
      return capabilities;
    },
    close,
  };
}

function nameOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.name : "";
}

/** The answer in a client's error for a status of 400 or above. */
function refusal(thrown: unknown): TransportAnswer | undefined {
  if (nameOf(thrown) !== "ResponseError") return undefined;
  const { statusCode, body, headers } = thrown as TransportAnswer;
  return { statusCode: statusCode ?? 0, body, headers: headers ?? {} };
}

function codeOf(status: number): ErrorCode {
  return status === 404 ? "index_not_found" : codeOfStatus(status);
}

async function textOf(
  { statusCode, body, headers }: TransportAnswer,
  request: ClusterRequest,
  idleMs: number,
): Promise<ClusterText> {
  const header = (name: string) => {
    const value = headers?.[name];
    return typeof value === "string" ? value : "";
  };
  const retryAfter = Number(header("retry-after") || NaN);
  const common = {
    status: statusCode ?? 0,
    retryAfterSeconds: Number.isFinite(retryAfter) ? retryAfter : undefined,
  };
  if (isStream(body)) {
    const text = await readText(body, header("content-encoding"), idleMs, phraseOf(request));
    return { ...common, text, json: /[/+]json/i.test(header("content-type")) };
  }
  // A client in whose place something else answers, or an error that it made of an answer.
  if (typeof body === "string") return { ...common, text: body, json: false };
  return { ...common, text: JSON.stringify(body ?? null), json: true };
}

function responseOf(
  { status, text, json, retryAfterSeconds }: ClusterText,
  request: ClusterRequest,
): ClusterResponse {
  if (request.method === "HEAD") return { status, body: status < 400, retryAfterSeconds };
  const body = json && text !== "" ? parseAnswer(text, phraseOf(request)) : text;
  return { status, body, retryAfterSeconds };
}

function phraseOf({ method, path }: ClusterRequest): string {
  return `${method} ${path}`;
}

/** A client's errors hold the whole request, texts and credentials too: what is said of them is kept. */
function causeOf(thrown: unknown): Error {
  const cause = new Error(messageOf(thrown));
  cause.name = nameOf(thrown);
  return cause;
}

function cancelledError(request: ClusterRequest, thrown: unknown): CspladeError {
  return new CspladeError("aborted", `${phraseOf(request)} was cancelled.`, {
    cause: causeOf(thrown),
  });
}

function unanswered(thrown: unknown, url: string, request: ClusterRequest): CspladeError {
  if (thrown instanceof CspladeError) return thrown;
  const cause = causeOf(thrown);
  const what = phraseOf(request);
  if (nameOf(thrown) === "TimeoutError") {
    return new CspladeError("deadline_exceeded", `${url} did not answer ${what} in time.`, {
      cause,
    });
  }
  if (nameOf(thrown) === "RequestAbortedError") {
    return cancelledError(request, thrown);
  }
  return new CspladeError(
    "cluster_unreachable",
    `${url} cannot be reached (${what}): ${messageOf(thrown)}`,
    {
      cause,
      hint: "Start the embedded servers with csplade up, or point OPENSEARCH_URL at your cluster.",
    },
  );
}
