import assert from "node:assert/strict";
import { Redis } from "ioredis";
import {
  documents,
  openIngestSuite,
  whileWriting,
  type IngestSuite,
} from "../../support/ingesting.js";
import { startRedis, type RedisServers } from "../../support/redis-servers.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

describe("a Redis that refuses", function () {
  this.timeout(120_000);
  let suite: IngestSuite;
  let servers: RedisServers;
  let redis: Redis;
  beforeEach(async () => {
    suite = await openIngestSuite("refusing-");
    servers = await startRedis();
    redis = new Redis(servers.url);
  });
  afterEach(async () => {
    redis.disconnect();
    await servers.stop();
    await suite.close();
  });

  const ingest = (index: string, count: number, onTrouble?: (message: string) => void) =>
    suite.ingest(index, [suite.write(`${index}.ndjson`, documents(count))], {
      config: testConfig({
        home: suite.folder,
        "opensearch.url": testServers().opensearchUrl,
        "redis.url": servers.url,
        "ingest.job_documents": 20,
      }),
      ...(onTrouble === undefined ? {} : { onTrouble }),
    });

  it("for want of memory is waited for and told at once in its own words", async () => {
    const said: string[] = [];
    const running = ingest("refusing-memory", 3_000, (message) => {
      if (message.includes("OOM command not allowed")) void redis.config("SET", "maxmemory", 0);
      said.push(message);
    });
    await whileWriting(suite.cluster, "refusing-memory");
    await redis.config("SET", "maxmemory", 1);
    const summary = await running;
    assert.deepEqual([summary.read, summary.failed], [3_000, 0]);
    assert.equal(summary.written + summary.skipped, 3_000);
    assert.ok(
      said.some((message) => /^Waiting for Redis: .*OOM command not allowed/.test(message)),
    );
  });

  it("for want of a right or a password stops the run at once in its own words", async () => {
    const running = ingest("refusing-right", 3_000);
    await whileWriting(suite.cluster, "refusing-right");
    await redis.call("ACL", "SETUSER", "default", "-evalsha", "-eval", "-hgetall");
    await assert.rejects(running, { code: "queue_refused", message: /NOPERM.*no permissions/i });
    await redis.call("ACL", "SETUSER", "default", "+@all");
    const locked = ingest("refusing-password", 3_000);
    await whileWriting(suite.cluster, "refusing-password");
    await redis.config("SET", "requirepass", "secret");
    await redis.call("CLIENT", "KILL", "SKIPME", "yes");
    await assert.rejects(locked, { code: "queue_refused", message: /NOAUTH/ });
  });

  it("from the start, too", async () => {
    await redis.config("SET", "maxmemory", 1);
    await assert.rejects(ingest("refusing-start", 1), {
      code: "queue_refused",
      message: /OOM command not allowed/,
    });
  });
});
