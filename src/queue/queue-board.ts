/** bull-board over both queues: to look at, not to change anything with. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { FastifyAdapter } from "@bull-board/fastify";
import { Queue } from "bullmq";
import fastify from "fastify";
import type { Config } from "../config/settings.js";
import { closeQueue } from "./closing.js";
import { kindOf, knownQueues, prefixOf, type QueueKind } from "./queue-options.js";
import { connectRedis } from "./redis-connection.js";

/** A board. Who may see it is its caller's to decide. */
export interface QueueBoard {
  /** Answers a GET of something below the board's path. */
  answer(request: IncomingMessage, response: ServerResponse): void;
  close(): Promise<void>;
}

const DESCRIPTIONS: Record<QueueKind, string> = {
  ingest: "Chunks of files that csplade ingest adds; they go before slices.",
  reindex: "Slices of reindexings. What is known of a slice is in csplade-runs: csplade status.",
};

/**
 * Opens a board over the queues.
 * @param path where it is reached, such as `/_csplade/queues`.
 * @throws CspladeError `queue_unreachable`.
 */
export async function openQueueBoard(config: Config, path: string): Promise<QueueBoard> {
  const redis = await connectRedis(config);
  const shown = new Map<string, { readonly queue: Queue; readonly adapter: BullMQAdapter }>();
  const show = (name: string) => {
    const queue = new Queue(name, { connection: redis, prefix: prefixOf(config) });
    queue.on("error", () => {
      // Lost connections come back by themselves; the board shows what it could not read.
    });
    const description = DESCRIPTIONS[kindOf(name)];
    const adapter = new BullMQAdapter(queue, { readOnlyMode: true, description });
    shown.set(name, { queue, adapter });
    return adapter;
  };
  for (const name of await knownQueues(config, redis)) show(name);
  const server = new FastifyAdapter();
  server.setBasePath(path);
  const board = createBullBoard({
    queues: [...shown.values()].map(({ adapter }) => adapter),
    serverAdapter: server,
    options: { uiConfig: { boardTitle: "csplade queues" } },
  });
  const app = fastify({ exposeHeadRoutes: false });
  // A model that came since has a queue that came since.
  app.addHook("onRequest", async () => {
    for (const name of await knownQueues(config, redis)) {
      if (!shown.has(name)) board.addQueue(show(name));
    }
  });
  // Its own routes can change jobs too; only looking is let through.
  app.addHook("onRequest", (request, reply, next) => {
    if (request.method === "GET") next();
    else void reply.status(405).header("allow", "GET").send({ error: "The board is read-only." });
  });
  await app.register(server.registerPlugin(), { prefix: path });
  await app.ready();
  return {
    answer: (request, response) => app.routing(request, response),
    async close() {
      await app.close();
      await Promise.all([...shown.values()].map(({ queue }) => closeQueue(queue, redis)));
      redis.disconnect();
    },
  };
}
