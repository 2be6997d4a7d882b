/**
 * The one door to OpenSearch and Elasticsearch: a connection, plain requests
 * over the official client's transport, and what the cluster says it can do.
 */
import { readFileSync } from "node:fs";
import { Client, errors } from "@opensearch-project/opensearch";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { askCapabilities, type Capabilities } from "./capabilities.js";
import { reasonOf, type ClusterRequest, type ClusterResponse, type Send } from "./request.js";

/** A connection to one cluster. */
export interface Cluster {
  /** The cluster's URL without credentials, for messages. */
  readonly url: string;
  /**
   * Sends one request, never retried here. 4xx and 5xx answers are returned, not thrown.
   * @throws CspladeError `cluster_unreachable` (no answer), `deadline_exceeded`, `aborted`.
   */
  send(request: ClusterRequest): Promise<ClusterResponse>;
  /**
   * Like {@link send}, for requests that must succeed.
   * @throws CspladeError with the cluster's own reason for a status ≥ 400: `index_not_found` (404),
   *   `cluster_busy` (429, 502, 503, 504), else `cluster_rejected`.
   */
  demand(request: ClusterRequest, doing: string): Promise<unknown>;
  /** What the cluster can do; asked once, then remembered. */
  capabilities(): Promise<Capabilities>;
  close(): Promise<void>;
}

/** Connects lazily: nothing is sent before the first request. */
export function connectCluster(config: Config): Cluster {
  const target = new URL(config["opensearch.url"]);
  const username = config["opensearch.username"] ?? decodeURIComponent(target.username);
  const password = config["opensearch.password"] ?? decodeURIComponent(target.password);
  const apiKey = config["opensearch.api_key"];
  target.username = "";
  target.password = "";
  const url = target.href.replace(/\/$/, "");
  const caFile = config["opensearch.ca_file"];
  const client = new Client({
    node: url,
    maxRetries: 0,
    requestTimeout: config["opensearch.request_timeout_ms"],
    ...(username !== "" && apiKey === undefined ? { auth: { username, password } } : {}),
    ...(apiKey === undefined ? {} : { headers: { authorization: `ApiKey ${apiKey}` } }),
    ...(caFile === undefined ? {} : { ssl: { ca: readCa(caFile) } }),
  });

  async function send(request: ClusterRequest): Promise<ClusterResponse> {
    request.signal?.throwIfAborted();
    const body = request.body;
    const sent = client.transport.request(
      {
        method: request.method,
        path: request.path,
        ...(request.query === undefined ? {} : { querystring: { ...request.query } }),
        ...(body === undefined ? {} : typeof body === "string" ? { bulkBody: body } : { body }),
      },
      {
        maxRetries: 0,
        ...(request.headers === undefined ? {} : { headers: { ...request.headers } }),
        requestTimeout: request.timeoutMs ?? config["opensearch.request_timeout_ms"],
      },
    );
    // The client's abort() returns the request itself: handed back to the event target, its
    // rejection would end the process.
    const abort = (): void => {
      sent.abort();
    };
    request.signal?.addEventListener("abort", abort, { once: true });
    try {
      const answer = await sent;
      return responseOf(answer.statusCode ?? 0, answer.body, answer.headers ?? {});
    } catch (thrown) {
      if (thrown instanceof errors.ResponseError) {
        return responseOf(thrown.statusCode, thrown.body, thrown.headers);
      }
      throw unanswered(thrown, url, request);
    } finally {
      request.signal?.removeEventListener("abort", abort);
    }
  }

  return clusterOf(url, send, () => client.close());
}

function clusterOf(url: string, send: Send, close: () => Promise<void>): Cluster {
  let capabilities: Promise<Capabilities> | undefined;
  return {
    url,
    send,
    async demand(request, doing) {
      const answer = await send(request);
      if (answer.status < 400) return answer.body;
      throw new CspladeError(
        codeOf(answer.status),
        `${doing}: ${url} answered ${answer.status}: ${reasonOf(answer.body)}`,
      );
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

function codeOf(status: number): ErrorCode {
  if (status === 404) return "index_not_found";
  return [429, 502, 503, 504].includes(status) ? "cluster_busy" : "cluster_rejected";
}

function responseOf(
  status: number,
  body: unknown,
  headers: Readonly<Record<string, unknown>>,
): ClusterResponse {
  const retryAfter = Number(headers["retry-after"]);
  return {
    status,
    body,
    retryAfterSeconds:
      headers["retry-after"] !== undefined && Number.isFinite(retryAfter) ? retryAfter : undefined,
  };
}

function unanswered(thrown: unknown, url: string, request: ClusterRequest): CspladeError {
  const what = `${request.method} ${request.path}`;
  if (thrown instanceof errors.TimeoutError) {
    return new CspladeError("deadline_exceeded", `${url} did not answer ${what} in time.`, {
      cause: thrown,
    });
  }
  if (thrown instanceof errors.RequestAbortedError) {
    return new CspladeError("aborted", `${what} was cancelled.`, { cause: thrown });
  }
  return new CspladeError(
    "cluster_unreachable",
    `${url} cannot be reached (${what}): ${messageOf(thrown)}`,
    {
      cause: thrown,
      hint: "Start the embedded servers with csplade up, or point OPENSEARCH_URL at your cluster.",
    },
  );
}

function readCa(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new CspladeError(
      "config_invalid",
      `opensearch.ca_file ${file} cannot be read: ${messageOf(cause)}`,
      { cause },
    );
  }
}
