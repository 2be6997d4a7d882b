import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { deleteIndex } from "../../../src/index/csplade-index.js";
import { openIngestQueue, type IngestQueue } from "../../../src/queue/ingest-queue.js";
import { runCsplade, startCsplade } from "../../support/csplade-command.js";
import { documents, openIngestSuite, type IngestSuite } from "../../support/ingesting.js";
import { contentOf } from "../../support/reindexing.js";
import { testConfig } from "../../support/tiny-checkpoints.js";
import { testServers } from "../../support/servers.js";
import { startWorkerProcess } from "../../support/worker-process.js";

const COUNT = 700;

describe("an ingest that was killed", function () {
  this.timeout(240_000);
  let suite: IngestSuite;
  let folder: string;
  before(async () => {
    suite = await openIngestSuite("fenced-");
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-fences-"));
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  /** The documents of a version, as a JSON array: a form that is spooled. */
  function version(name: string): string {
    const file = path.join(folder, `${name}.json`);
    const all = documents(COUNT).map((document) => ({ ...document, version: name }));
    writeFileSync(file, JSON.stringify(all));
    return file;
  }

  const configFor = (prefix: string) =>
    testConfig({
      "opensearch.url": testServers().opensearchUrl,
      "redis.url": testServers().redisUrl,
      "redis.prefix": prefix,
      "queue.lock_ms": 4_000,
    });

  const environment = (prefix: string) => ({
    CSPLADE_REDIS_PREFIX: prefix,
    CSPLADE_JOB_DOCUMENTS: "100",
    CSPLADE_LOCK_MS: "4000",
  });

  async function jobsOf(queue: IngestQueue, states: readonly string[]): Promise<number> {
    const counts = await queue.counts();
    return states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
  }

  async function until(condition: () => Promise<boolean>, seconds = 60): Promise<void> {
    for (const end = Date.now() + seconds * 1_000; ;) {
      if (await condition()) return;
      assert.ok(Date.now() < end, "waited too long");
      await sleep(100);
    }
  }

  async function versionsOf(index: string): Promise<Record<string, number>> {
    const found: Record<string, number> = {};
    for (const text of (await contentOf(suite.cluster, index)).values()) {
      const { version: name } = (typeof text === "string" ? JSON.parse(text) : text) as {
        version: string;
      };
      found[name] = (found[name] ?? 0) + 1;
    }
    return found;
  }

  const OPEN = ["waiting", "prioritized", "active", "delayed"];

  for (const isStopped of [false, true]) {
    const how = isStopped ? "by a worker that slept meanwhile" : "in its own process";
    it(`never writes over a newer run, with jobs worked on ${how}; nothing of it stays`, async () => {
      const index = `fenced-${isStopped ? "asleep" : "killed"}`;
      const config = configFor(index);
      const env = environment(index);
      const queue = await openIngestQueue(config, suite.encoder.manifest.fingerprint);
      const sleeper = isStopped ? await startWorkerProcess(config) : undefined;
      const own = isStopped ? ["--no-workers"] : [];
      const first = startCsplade(
        folder,
        ["ingest", version("v1"), "--index", index, "--quiet", ...own],
        env,
      );
      await until(async () => {
        if ((await jobsOf(queue, ["active"])) === 0) return false;
        // It may not come to an end of its jobs any more.
        sleeper?.kill("SIGSTOP");
        first.kill("SIGKILL");
        return true;
      });
      if (first.exitCode === null && first.signalCode === null) await once(first, "exit");
      assert.ok((await jobsOf(queue, OPEN)) > 0, "jobs of the killed run are open");
      const second = await runCsplade(
        folder,
        ["ingest", version("v2"), "--index", index, "--quiet"],
        env,
      );
      assert.equal(second.code, 0, second.out + second.err);
      sleeper?.kill("SIGCONT");
      const worker = sleeper ?? (await startWorkerProcess(config));
      await until(async () => (await jobsOf(queue, OPEN)) === 0);
      // A write that was under way would come now.
      await sleep(5_000);
      assert.deepEqual(await versionsOf(index), { v2: COUNT });
      assert.deepEqual(readdirSync(path.join(folder, "home", "spool")), []);
      worker.kill();
      await once(worker, "exit");
      assert.equal(await jobsOf(queue, [...OPEN, "failed"]), 0);
      await queue.close();
      await deleteIndex(suite.cluster, index);
    });
  }
});
