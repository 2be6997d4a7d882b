import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../../../src/config/settings.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { withDeadline } from "../../../src/waiting/deadline.js";
import { startIngestWorker, openIngestQueue } from "../../../src/queue/ingest-queue.js";
import { connectRedis, type RedisClient } from "../../../src/queue/redis-connection.js";
import {
  startRedis,
  startRedisBehindSentinel,
  startRedisCluster,
  type RedisServers,
} from "../../support/redis-servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

/** A model that nothing is encoded with. */
const FINGERPRINT = "0123456789abcdef";

const KINDS: Readonly<Record<string, () => Promise<RedisServers>>> = {
  "one server": startRedis,
  "a Cluster": startRedisCluster,
  "a primary behind a Sentinel": startRedisBehindSentinel,
};

describe("while Redis is away", function () {
  this.timeout(120_000);
  let redis: RedisServers;
  let config: Config;

  for (const [kind, start] of Object.entries(KINDS)) {
    describe(`(${kind})`, () => {
      beforeEach(async () => {
        redis = await start();
        config = testConfig({ "redis.url": redis.url });
      });
      afterEach(() => redis.stop());

      it("a connection that is closed has ended, and so have its copies and what was asked of them", async () => {
        const connection = await connectRedis(config);
        const copy = connection.duplicate();
        copy.on("error", () => {});
        await Promise.all([connection.ping(), copy.ping()]);
        await redis.stop();
        await reconnecting(connection);
        await reconnecting(copy);
        const asked = assert.rejects(copy.ping());
        const ended = Promise.all(
          [connection, copy].map((each) => new Promise((resolve) => each.once("end", resolve))),
        );
        connection.disconnect();
        await withDeadline(ended, 5_000, "Ending");
        await withDeadline(asked, 1_000, "Ending");
      });

      it("a worker and a queue are closed in bounded time", async () => {
        const queue = await openIngestQueue(config, FINGERPRINT);
        const worker = await startIngestWorker(
          config,
          {
            fingerprint: FINGERPRINT,
            device: "cpu",
            broken: new AbortController().signal,
            onError: () => {},
          },
          () => Promise.reject(new CspladeError("aborted", "There are no jobs.")),
        );
        await redis.stop();
        await sleep(1_500);
        // How they end matters less than that they do.
        await withDeadline(
          Promise.allSettled([worker.close(2_000), queue.close()]),
          15_000,
          "Ending",
        );
      });
    });
  }
});

/** Waits until a connection that is asked something pauses before it tries again. */
async function reconnecting(connection: RedisClient): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  while (connection.status !== "reconnecting") {
    assert.ok(performance.now() < giveUpAt, `It is ${connection.status}.`);
    connection.ping().catch(() => {});
    await sleep(5);
  }
}
