/** The board of the queues, for whoever the cluster lets read the records of runs. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { LRUCache } from "lru-cache";
import { z } from "zod";
import { onBehalfOf, type Cluster } from "../cluster/client-cluster.js";
import type { Config } from "../config/settings.js";
import { openQueueBoard, type QueueBoard } from "../queue/queue-board.js";
import { callerOf, type Caller } from "./caller.js";
import { CONSOLE, sendClusterError } from "./console-routes.js";
import { ClusterRefusal } from "./index-plans.js";

/** What the routes need. */
export interface QueueRouteOptions {
  readonly config: Config;
  /** A connection without credentials of its own. */
  readonly cluster: Cluster;
}

/** Where the board lives. */
export const QUEUE_BOARD = `${CONSOLE}/queues`;

/** The index of the records: who may read it may see the queues too. */
const RECORDS = "csplade-runs";

/** How long the cluster's word about a caller counts, milliseconds: a board asks every few seconds. */
const BELIEVED_MS = 15_000;
const MOST_CALLERS = 1_000;

const searchedSchema = z.object({ _shards: z.object({ successful: z.number().min(1) }) });
const missingSchema = z.object({
  error: z.object({ type: z.literal("index_not_found_exception") }),
});

/**
 * Whether an answer can only be one to somebody with the right to read the records: a shard was
 * searched, or there are none yet and the cluster says so instead of refusing. An empty 200 is no
 * proof: clusters answer that, too, for indices that one may not see.
 */
function provesRight(status: number, body: unknown): boolean {
  if (status === 404) return missingSchema.safeParse(body).success;
  return status === 200 && searchedSchema.safeParse(body).success;
}

const REFUSED = {
  error: {
    root_cause: [],
    type: "security_exception",
    reason: `The cluster does not let you read ${RECORDS}.`,
  },
  status: 403,
};

/** The board's page has a script and styles of its own, and asks another site for fonts: that is not let out. */
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; " +
    "img-src 'self' data:; font-src 'self' data:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
} as const;

/** Adds the board. Redis is not connected to before somebody asks for it. */
export function addQueueRoutes(app: FastifyInstance, { config, cluster }: QueueRouteOptions): void {
  const allowed = new LRUCache<string, true>({ max: MOST_CALLERS, ttl: BELIEVED_MS });
  let opening: Promise<QueueBoard> | undefined;

  function board(): Promise<QueueBoard> {
    opening ??= openQueueBoard(config, QUEUE_BOARD).catch((thrown: unknown) => {
      opening = undefined;
      throw thrown;
    });
    return opening;
  }

  async function demandReader(caller: Caller): Promise<void> {
    if (allowed.has(caller.key)) return;
    const { status, body } = await onBehalfOf(cluster, caller.headers).send({
      method: "POST",
      path: `/${RECORDS}/_search`,
      body: { size: 0, track_total_hits: false },
    });
    if (!provesRight(status, body)) {
      throw status >= 400 ? new ClusterRefusal(status, body) : new ClusterRefusal(403, REFUSED);
    }
    allowed.set(caller.key, true);
  }

  async function show(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    await demandReader(callerOf(request.raw, config["gateway.identity_headers"]));
    const shown = await board();
    for (const [name, value] of Object.entries(HEADERS)) reply.raw.setHeader(name, value);
    reply.hijack();
    shown.answer(request.raw, reply.raw);
  }

  for (const url of [QUEUE_BOARD, `${QUEUE_BOARD}/*`]) {
    app.get(url, { errorHandler: sendClusterError }, show);
  }
  app.addHook("onClose", async () => {
    const opened = await opening?.catch(() => undefined);
    await opened?.close();
  });
}
