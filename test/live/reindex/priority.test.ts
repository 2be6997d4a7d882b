import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createWorkerMetrics } from "../../../src/observe/worker-metrics.js";
import { startReindexWorker } from "../../../src/reindex/slice-worker.js";
import { csplade, environmentOf } from "../../support/csplade-command.js";
import { assertCopied, fill, testDocuments } from "../../support/reindexing.js";
import { startWorkerProcess } from "../../support/worker-process.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

describe("live ingestion goes before reindexing:", function () {
  this.timeout(180_000);
  let suite: ReindexSuite;
  let folder: string;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-priority-"));
    suite = await openReindexSuite("pr-", { "reindex.concurrency": 1 });
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  it("a window of a slice waits while there are ingest jobs, but not for ever", async () => {
    await fill(suite.cluster, "pr-wait", testDocuments(400));
    const busy = { now: true };
    const { config, cluster, encoder } = suite;
    const worker = await startReindexWorker({
      config,
      cluster,
      encoder,
      metrics: createWorkerMetrics(),
      isBusyWithIngest: () => busy.now,
    });
    const seen = { run: "" };
    const running = suite.run(
      { from: ["pr-wait"], alias: "pr-wait-search" },
      { work: false, onProgress: ({ run }) => (seen.run = run.run) },
    );
    try {
      const claimed = async () =>
        seen.run !== "" && (await suite.store.totals(seen.run)).slices.running > 0;
      while (!(await claimed())) await sleep(50);
      // The first of the windows (128, 256 and 16 documents) waits for five seconds.
      await sleep(2_000);
      assert.equal((await suite.store.totals(seen.run)).counts.read, 0);
      await sleep(9_000);
      const late = (await suite.store.totals(seen.run)).counts.read;
      assert.ok(late > 0 && late < 400, `${late} documents after 11 s of ingestion`);
      busy.now = false;
      assert.equal((await running).written, 400);
    } finally {
      busy.now = false;
      await worker.close(5_000);
    }
    await assertCopied(suite.cluster, "pr-wait", "pr-wait-search-v1");
  });

  it("what is ingested while a worker reindexes is in its index before the reindexing ends", async () => {
    const own = { ...suite.config, "redis.prefix": `${suite.config["redis.prefix"]}-2` };
    await fill(suite.cluster, "pr-batch", testDocuments(6_000));
    const file = path.join(folder, "live.ndjson");
    const lines = testDocuments(300).map(({ id, ...body }) => JSON.stringify({ _id: id, ...body }));
    writeFileSync(file, lines.join("\n"));
    const worker = await startWorkerProcess(own, { env: { CSPLADE_REINDEX_CONCURRENCY: "1" } });
    try {
      const seen = { copied: 0, done: false };
      const running = suite.run(
        { from: ["pr-batch"], alias: "pr-batch-search" },
        {
          config: own,
          work: false,
          onProgress: ({ totals }) => (seen.copied = totals.counts.read),
        },
      );
      void running.finally(() => (seen.done = true)).catch(() => {});
      while (seen.copied === 0) await sleep(100);
      const args = ["ingest", file, "--index", "pr-live", "--no-workers", "--quiet", "--json"];
      const ended = await csplade(args, { env: environmentOf(own) });
      assert.equal(ended.status, 0, ended.output);
      assert.ok(!seen.done && seen.copied < 6_000, `${seen.copied} were copied meanwhile`);
      assert.equal((await running).written, 6_000);
    } finally {
      worker.kill("SIGKILL");
    }
  });
});
