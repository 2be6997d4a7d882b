/**
 * A loopback HTTP server that answers `_bulk` like a cluster with one store, and can be
 * told to misbehave. Only for faults a real cluster cannot be made to show on request.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { connectCluster, type Cluster } from "../../src/cluster/cluster.js";
import { loadConfig } from "../../src/config/load-config.js";
import { writeAliasBody } from "../../src/cluster/write-alias.js";

/** What happens to one request. */
export type Fault =
  /** A status for the whole request, with the body of an error. */
  | { readonly status: number; readonly retryAfter?: number; readonly body?: unknown }
  /** The connection is cut before anything was done. */
  | "reset"
  /** Everything is done, but the answer is lost. */
  | "lost-answer"
  /** These items (by position in the request) get this status and error type; the others work. */
  | {
      readonly items: readonly number[];
      readonly itemStatus: number;
      readonly type: string;
      readonly reason?: string;
    }
  /** Done, but the answer is cut down, or its items change places. */
  | "one-item-less"
  | "items-swapped";

/** One operation as the server read it. */
export interface SeenOperation {
  readonly action: string;
  readonly id: string;
  readonly bytes: number;
}

/** A running server. */
export interface BulkServer {
  readonly cluster: Cluster;
  /** Documents by id. */
  readonly store: Map<string, unknown>;
  /** Requests so far, each a list of operations. */
  readonly requests: SeenOperation[][];
  /** When each request came, milliseconds. */
  readonly times: number[];
  /** Most requests that were open at once. */
  mostOpen: number;
  /** Decides about each request; undefined means it works. */
  fault: (
    request: number,
    operations: readonly SeenOperation[],
    bytes: number,
  ) => Fault | undefined;
  /** How long a request takes, milliseconds. */
  latency_ms: number;
  close(): Promise<void>;
}

/** Starts the server on a free port of the loopback interface. */
export async function startBulkServer(): Promise<BulkServer> {
  let open = 0;
  const http = createServer((request, response) => {
    void answer(request, response);
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  const config = loadConfig({
    env: { OPENSEARCH_URL: `http://127.0.0.1:${port}`, OPENSEARCH_REQUEST_TIMEOUT_MS: "5000" },
  }).values;
  const cluster = connectCluster(config);
  const server: BulkServer = {
    cluster,
    store: new Map(),
    requests: [],
    times: [],
    mostOpen: 0,
    fault: () => undefined,
    latency_ms: 0,
    async close() {
      await cluster.close();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    open += 1;
    server.mostOpen = Math.max(server.mostOpen, open);
    response.on("close", () => (open -= 1));
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.method === "GET") {
      // What the index is written by.
      const index = request.url?.split("/")[1] ?? "";
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ [index]: { aliases: writeAliasBody(index) } }));
      return;
    }
    const body = Buffer.concat(chunks);
    const operations = parse(body.toString());
    const number =
      server.requests.push(operations.map(({ action, id, bytes }) => ({ action, id, bytes }))) - 1;
    server.times.push(performance.now());
    if (server.latency_ms > 0) await new Promise((r) => setTimeout(r, server.latency_ms));
    const fault = server.fault(number, server.requests[number] ?? [], body.length);
    if (fault === "reset") return void request.socket.destroy();
    if (typeof fault === "object" && "status" in fault) {
      const headers = { "content-type": "application/json" };
      response.writeHead(fault.status, {
        ...headers,
        ...(fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) }),
      });
      response.end(JSON.stringify(fault.body ?? { error: { type: "fault", reason: "as asked" } }));
      return;
    }
    const broken = typeof fault === "object" ? fault : undefined;
    let items = operations.map((operation, i) =>
      broken?.items.includes(i) === true
        ? {
            [operation.action]: {
              _id: operation.id,
              status: broken.itemStatus,
              error: { type: broken.type, reason: broken.reason ?? "as asked" },
            },
          }
        : { [operation.action]: apply(operation) },
    );
    if (fault === "lost-answer") return void request.socket.destroy();
    if (fault === "one-item-less") items = items.slice(1);
    if (fault === "items-swapped") items = items.reverse();
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ items }));
  }

  function apply({ action, id, document }: ParsedOperation): object {
    const there = server.store.has(id);
    if (action === "delete") {
      server.store.delete(id);
      return { _id: id, status: there ? 200 : 404, result: there ? "deleted" : "not_found" };
    }
    if (action === "create" && there) {
      const error = {
        type: "version_conflict_engine_exception",
        reason: "document already exists",
      };
      return { _id: id, status: 409, error };
    }
    server.store.set(id, document);
    return { _id: id, status: there ? 200 : 201, result: there ? "updated" : "created" };
  }

  return server;
}

interface ParsedOperation extends SeenOperation {
  readonly document: unknown;
}

function parse(body: string): ParsedOperation[] {
  const lines = body.split("\n");
  const operations: ParsedOperation[] = [];
  for (let i = 0; i < lines.length - 1; i++) {
    const head = JSON.parse(lines[i] ?? "") as Record<string, { _id: string }>;
    const [action = "", target] = Object.entries(head)[0] ?? [];
    const bytes = Buffer.byteLength(lines[i] ?? "");
    if (action === "delete") {
      operations.push({ action, id: target?._id ?? "", bytes, document: undefined });
      continue;
    }
    i += 1;
    operations.push({
      action,
      id: target?._id ?? "",
      bytes: bytes + Buffer.byteLength(lines[i] ?? ""),
      document: JSON.parse(lines[i] ?? "") as unknown,
    });
  }
  return operations;
}
