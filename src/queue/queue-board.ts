/** bull-board over both queues: to look at, not to change anything with. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { FastifyAdapter } from "@bull-board/fastify";
import { Queue } from "bullmq";
import fastify from "fastify";
import type { Config } from "../config/settings.js";
import { closeQueue } from "./closing.js";
import { QUEUES } from "./queue-options.js";
import { connectRedis } from "./redis-connection.js";

/** A board. Who may see it is its caller's to decide. */
export interface QueueBoard {
  /** Answers a GET of something below the board's path. */
  answer(request: IncomingMessage, response: ServerResponse): void;
  close(): Promise<void>;
}

const DESCRIPTIONS: Record<keyof typeof QUEUES, string> = {
  ingest: "Chunks of files that csplade ingest adds; they go before slices.",
  slices: "Slices of reindexings. What is known of a slice is in csplade-runs: csplade status.",
};

/**
 * Opens a board over the queues.
 * @param path where it is reached, such as `/_csplade/queues`.
 * @throws CspladeError `queue_unreachable`.
 */
export async function openQueueBoard(config: Config, path: string): Promise<QueueBoard> {
  const redis = await connectRedis(config);
  const queues = Object.entries(QUEUES).map(([kind, name]) => {
    const queue = new Queue(name, { connection: redis, prefix: config["redis.prefix"] });
    queue.on("error", () => {
      // Lost connections come back by themselves; the board shows what it could not read.
    });
    const description = DESCRIPTIONS[kind as keyof typeof QUEUES];
    const adapter = new BullMQAdapter(queue, { readOnlyMode: true, description });
    return { queue, adapter };
  });
  const server = new FastifyAdapter();
  server.setBasePath(path);
  createBullBoard({
    queues: queues.map(({ adapter }) => adapter),
    serverAdapter: server,
    options: { uiConfig: { boardTitle: "csplade queues" } },
  });
  const app = fastify({ exposeHeadRoutes: false });
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
      await Promise.all(queues.map(({ queue }) => closeQueue(queue, redis)));
    },
  };
}
