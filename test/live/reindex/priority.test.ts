import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import type { Config } from "../../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { createWorkerMetrics } from "../../../src/observe/worker-metrics.js";
import { openRunStore, type RunStore } from "../../../src/reindex/run-store.js";
import { startReindexWorker } from "../../../src/reindex/slice-worker.js";
import { csplade } from "../../support/csplade-command.js";
import {
  assertCopied,
  discardIndices,
  fill,
  reindexConfig,
  reindexWith,
  testDocuments,
} from "../../support/reindexing.js";
import { startWorkerProcess } from "../../support/worker-process.js";

describe("live ingestion goes before reindexing:", function () {
  this.timeout(180_000);
  let cluster: Cluster;
  let config: Config;
  let encoder: Encoder;
  let store: RunStore;
  let folder: string;
  const signal = new AbortController().signal;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-priority-"));
    config = reindexConfig({ "reindex.concurrency": 1 });
    cluster = connectCluster(config);
    encoder = await openEncoder(config);
    store = openRunStore(cluster, { config, signal });
  });
  after(async () => {
    await discardIndices(cluster, "pr-");
    await encoder.close();
    await cluster.close();
    rmSync(folder, { recursive: true });
  });

  it("a window of a slice waits while there are ingest jobs, but not for ever", async () => {
    await fill(cluster, "pr-wait", testDocuments(400));
    const busy = { now: true };
    const worker = await startReindexWorker({
      config,
      cluster,
      encoder,
      metrics: createWorkerMetrics(),
      isBusyWithIngest: () => busy.now,
    });
    const seen = { run: "" };
    const running = reindexWith(
      { config, cluster, encoder },
      { from: ["pr-wait"], alias: "pr-wait-search" },
      { work: false, onProgress: ({ run }) => (seen.run = run.run) },
    );
    try {
      const claimed = async () =>
        seen.run !== "" && (await store.totals(seen.run)).slices.running > 0;
      while (!(await claimed())) await sleep(50);
      // The first of the windows (128, 256 and 16 documents) waits for five seconds.
      await sleep(2_000);
      assert.equal((await store.totals(seen.run)).counts.read, 0);
      await sleep(9_000);
      const late = (await store.totals(seen.run)).counts.read;
      assert.ok(late > 0 && late < 400, `${late} documents after 11 s of ingestion`);
      busy.now = false;
      assert.equal((await running).written, 400);
    } finally {
      busy.now = false;
      await worker.close(5_000);
    }
    await assertCopied(cluster, "pr-wait", "pr-wait-search-v1");
  });

  it("what is ingested while a worker reindexes is in its index before the reindexing ends", async () => {
    const own = { ...config, "redis.prefix": `${config["redis.prefix"]}-2` };
    await fill(cluster, "pr-batch", testDocuments(6_000));
    const file = path.join(folder, "live.ndjson");
    const lines = testDocuments(300).map(({ id, ...body }) => JSON.stringify({ _id: id, ...body }));
    writeFileSync(file, lines.join("\n"));
    const worker = await startWorkerProcess(own, { env: { CSPLADE_REINDEX_CONCURRENCY: "1" } });
    try {
      const seen = { copied: 0, done: false };
      const running = reindexWith(
        { config: own, cluster, encoder },
        { from: ["pr-batch"], alias: "pr-batch-search" },
        { work: false, onProgress: ({ totals }) => (seen.copied = totals.counts.read) },
      );
      void running.finally(() => (seen.done = true)).catch(() => {});
      while (seen.copied === 0) await sleep(100);
      const args = ["ingest", file, "--index", "pr-live", "--no-workers", "--quiet", "--json"];
      const ended = await csplade(args, {
        env: {
          CSPLADE_MODEL: own["model.path"],
          CSPLADE_REDIS_PREFIX: own["redis.prefix"],
          OPENSEARCH_URL: own["opensearch.url"],
          REDIS_URL: own["redis.url"],
        },
      });
      assert.equal(ended.status, 0, ended.output);
      assert.ok(!seen.done && seen.copied < 6_000, `${seen.copied} were copied meanwhile`);
      assert.equal((await running).written, 6_000);
    } finally {
      worker.kill("SIGKILL");
    }
  });
});
