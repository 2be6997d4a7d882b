import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { startIngestWorker } from "../../../src/queue/ingest-queue.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import {
  startRedisBehindAddress,
  startRedisBehindSentinel,
  startRedisCluster,
  type RedisServers,
} from "../../support/redis-servers.js";
import { assertCopied, fill, testDocuments } from "../../support/reindexing.js";
import { startWorkerProcess } from "../../support/worker-process.js";

describe("the queues on", function () {
  this.timeout(240_000);
  let suite: ReindexSuite;
  let folder: string;
  let redis: RedisServers | undefined;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-kinds-"));
    suite = await openReindexSuite("kinds-", { "reindex.slice_documents": 100 });
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });
  afterEach(async () => {
    await redis?.stop();
    redis = undefined;
  });

  function ingest(
    index: string,
    count: number,
    url: string,
    more: Readonly<Record<string, string>> = {},
  ) {
    const file = path.join(folder, `${index}.ndjson`);
    const lines = testDocuments(count).map(({ id, ...body }) =>
      JSON.stringify({ _id: id, ...body }),
    );
    writeFileSync(file, lines.join("\n") + "\n");
    const env = {
      ...environmentOf(suite.config),
      REDIS_URL: url,
      CSPLADE_JOB_DOCUMENTS: "20",
      CSPLADE_LOCK_MS: "2000",
      ...more,
    };
    // Whoever hangs says for what.
    return runCsplade(folder, ["ingest", file, "--index", index, "--json"], env, "", 110_000);
  }

  function assertWritten({ code, out, err }: Awaited<ReturnType<typeof ingest>>, count: number) {
    assert.equal(code, 0, out + err);
    const { written, skipped, failed } = JSON.parse(out) as Record<string, number>;
    assert.deepEqual(
      { there: (written ?? 0) + (skipped ?? 0), failed },
      { there: count, failed: 0 },
    );
  }

  it("a Cluster of three nodes ingest and reindex, under a hash tag by themselves", async () => {
    redis = await startRedisCluster();
    assertWritten(await ingest("kinds-cluster", 300, redis.url), 300);
    await fill(suite.cluster, "kinds-source", testDocuments(400));
    const summary = await suite.run(
      { from: ["kinds-source"], alias: "kinds-cluster-search" },
      { config: { ...suite.config, "redis.url": redis.url } },
    );
    assert.deepEqual([summary.written, summary.dead_letters], [400, 0]);
    await assertCopied(suite.cluster, "kinds-source", summary.target);
  });

  it("a node of a Cluster are refused with the URL that works", async () => {
    redis = await startRedisCluster();
    const node = `redis://127.0.0.1:${redis.ports[0]}`;
    const { code, out } = await ingest("kinds-node", 1, node);
    assert.equal(code, 1);
    const { error } = JSON.parse(out) as { error: { code: string; hint: string } };
    assert.equal(error.code, "queue_unsupported");
    assert.ok(error.hint.includes(`redis+cluster://127.0.0.1:${redis.ports[0]}`));
  });

  it("a primary behind a Sentinel lose nothing in a failover under load", async () => {
    redis = await startRedisBehindSentinel();
    const running = ingest("kinds-sentinel", 3_000, redis.url);
    await sleep(4_000);
    await redis.kill(redis.ports[0] ?? 0);
    assertWritten(await running, 3_000);
  });

  it("one address that leads to another primary lose nothing in a failover under load", async function () {
    this.timeout(400_000);
    const behind = await startRedisBehindAddress();
    redis = behind;
    const worker = await startWorkerProcess(
      { ...suite.config, "redis.url": behind.url },
      { env: { CSPLADE_LOCK_MS: "2000" } },
    );
    try {
      const running = ingest("kinds-address", 3_000, behind.url);
      await sleep(4_000);
      await behind.failOver();
      assertWritten(await running, 3_000);
      // The worker's own connections lead to the new primary too: it takes what comes now, alone.
      const late = ["ingest", path.join(folder, "kinds-address.ndjson"), "--index", "kinds-late"];
      const env = { ...environmentOf(suite.config), REDIS_URL: behind.url };
      const alone = await runCsplade(folder, [...late, "--no-workers", "--json"], env, "", 110_000);
      assertWritten(alone, 3_000);
    } finally {
      worker.kill("SIGKILL");
    }
  });

  for (const [name, start] of [
    ["a Cluster", startRedisCluster],
    ["a primary behind a Sentinel", startRedisBehindSentinel],
  ] as const) {
    it(`${name} with TLS are reached with their authority's certificate, and not without`, async () => {
      redis = await start({ tls: true });
      const index = `kinds-tls-${name.length}`;
      const ca = { NODE_EXTRA_CA_CERTS: redis.caFile ?? "" };
      assertWritten(await ingest(index, 60, redis.url, ca), 60);
      const doctor = await runCsplade(folder, ["doctor", "--json"], {
        ...environmentOf(suite.config),
        REDIS_URL: redis.url,
      });
      const { checks } = JSON.parse(doctor.out) as {
        checks: { name: string; ok: boolean; says: string; hint?: string }[];
      };
      const check = checks.find((each) => each.name === "redis");
      assert.equal(check?.ok, false);
      // A failover would be waited for, in vain: no wait mends a certificate.
      assert.match(check.says, /certificate of Redis at 127\.0\.0\.1:\d+ is not trusted/);
      assert.match(check.hint ?? "", /NODE_EXTRA_CA_CERTS/);
    });
  }

  it("a primary that has just died are waited for by a command that begins then", async () => {
    redis = await startRedisBehindSentinel();
    await redis.kill(redis.ports[0] ?? 0);
    assertWritten(await ingest("kinds-began-late", 30, redis.url), 30);
  });

  it("a server that evicts are refused with the command that mends it", async () => {
    redis = await startRedisBehindSentinel();
    const direct = new Redis(redis.ports[0] ?? 0, "127.0.0.1");
    await direct.config("SET", "maxmemory-policy", "allkeys-lru");
    const url = `redis://127.0.0.1:${redis.ports[0]}`;
    const { code, out } = await ingest("kinds-evicts", 1, url);
    direct.disconnect();
    assert.equal(code, 1);
    const { error } = JSON.parse(out) as { error: { code: string; hint: string } };
    assert.equal(error.code, "queue_unsupported");
    assert.match(error.hint, /CONFIG SET maxmemory-policy noeviction/);
  });

  it("a server hold no process once they are closed, also while a worker waits for a job", async () => {
    const timers = () =>
      process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    await sleep(1); // by then the timer of the test itself runs
    const before = timers();
    const broken = new AbortController().signal;
    const taker = { fingerprint: "nobody", device: "none", broken, onError: () => {} };
    const worker = await startIngestWorker(suite.config, taker, () =>
      Promise.reject(new Error("There are no jobs of this model.")),
    );
    await sleep(500);
    await worker.close(5_000);
    await sleep(100);
    assert.equal(timers(), before);
    assert.equal(getEventListeners(broken, "abort").length, 0);
  });
});
