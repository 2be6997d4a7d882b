import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { openQueueOverview } from "../../../src/queue/queue-overview.js";
import { activeRuns, backlogByModel } from "../../../src/reindex/run-numbers.js";
import { openRunStore } from "../../../src/reindex/run-store.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { fill, testDocuments } from "../../support/reindexing.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";
import { startWorkerProcess } from "../../support/worker-process.js";

describe("two models on one Redis", function () {
  this.timeout(240_000);
  let suite: ReindexSuite;
  let folder: string;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-models-"));
    suite = await openReindexSuite("models-", { "reindex.slice_documents": 100 });
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  function write(name: string, count: number): string {
    const file = path.join(folder, `${name}.ndjson`);
    const lines = testDocuments(count).map(({ id, ...body }) =>
      JSON.stringify({ _id: id, ...body }),
    );
    writeFileSync(file, lines.join("\n") + "\n");
    return file;
  }

  const ingest = (index: string, file: string, env: NodeJS.ProcessEnv, args: string[] = []) =>
    runCsplade(folder, ["ingest", file, "--index", index, "--quiet", "--json", ...args], {
      ...environmentOf(suite.config),
      CSPLADE_JOB_DOCUMENTS: "20",
      ...env,
    });

  it("take only their own jobs: ingests and a reindexing at once lose nothing to each other", async () => {
    await fill(suite.cluster, "models-source", testDocuments(1_000));
    const other = { CSPLADE_MODEL: tinyCheckpoint("echo") };
    const worker = await startWorkerProcess(suite.config, { env: other });
    try {
      const [a, b, run] = await Promise.all([
        ingest("models-a", write("a", 600), {}),
        ingest("models-b", write("b", 600), other),
        suite.run({ from: ["models-source"], alias: "models-search" }),
      ]);
      for (const { code, out, err } of [a, b]) {
        assert.equal(code, 0, out + err);
        const { written, failed } = JSON.parse(out) as { written: number; failed: number };
        assert.deepEqual({ written, failed }, { written: 600, failed: 0 });
      }
      assert.deepEqual([run.written, run.dead_letters], [1_000, 0]);
      const overview = await openQueueOverview(suite.config);
      const { ingest: left } = await overview.counts();
      await overview.close();
      assert.equal(left.failed ?? 0, 0);
    } finally {
      worker.kill("SIGKILL");
    }
  });

  it("say whom a reindexing waits for, and are counted by model and by the prefix of their Redis alone", async () => {
    const own = { ...suite.config, "redis.prefix": `${suite.config["redis.prefix"]}-mine` };
    const strangers = { ...own, "redis.prefix": `${own["redis.prefix"]}-not` };
    await fill(suite.cluster, "models-mine", testDocuments(300));
    const steps: string[] = [];
    const running = suite.run(
      { from: ["models-mine"], alias: "models-mine-search" },
      { config: own, work: false, onStep: (step) => steps.push(step) },
    );
    while (!steps.some((step) => /^Waiting for a worker: 3 slices wait/.test(step))) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const { fingerprint } = suite.encoder.manifest;
    assert.ok(steps.some((step) => step.includes(`(${fingerprint})`)));
    const backlogOf = async (config: typeof own) => {
      const store = openRunStore(suite.cluster, { ...suite.patience, config });
      const overview = await openQueueOverview(config);
      const backlog = backlogByModel(await activeRuns(store), await overview.openIngestJobs());
      await overview.close();
      return backlog;
    };
    const mine = await backlogOf(own);
    assert.deepEqual([mine.documents, mine.slices], [300, 3]);
    assert.deepEqual(Object.keys(mine.models), [fingerprint]);
    assert.equal(mine.models[fingerprint]?.tokens, mine.tokens);
    assert.deepEqual(await backlogOf(strangers), {
      ...{ tokens: 0, documents: 0, slices: 0, ingest_jobs: 0 },
      models: {},
    });
    const worker = await startWorkerProcess(own);
    try {
      assert.equal((await running).written, 300);
    } finally {
      worker.kill("SIGKILL");
    }
  });

  it("say what they wait for where no worker has the model, and go on once one comes", async () => {
    const own = { ...suite.config, "redis.prefix": `${suite.config["redis.prefix"]}-wait` };
    const file = write("waits", 40);
    const env = environmentOf(own);
    const running = ingest("models-waits", file, env, ["--no-workers"]);
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    const worker = await startWorkerProcess(own);
    try {
      const { code, out, err } = await running;
      assert.equal(code, 0, out + err);
      assert.match(err, /Waiting for a worker: 2 jobs wait, and none with the model [0-9a-f]{16}/);
    } finally {
      worker.kill("SIGKILL");
    }
  });

  it("let a short ingest go before the rest of a long one of the same model", async () => {
    const own = { ...suite.config, "redis.prefix": `${suite.config["redis.prefix"]}-fair` };
    const env = { ...environmentOf(own), CSPLADE_JOB_DOCUMENTS: "20" };
    const worker = await startWorkerProcess(own, { env: { CSPLADE_CONCURRENCY: "1" } });
    try {
      let ended = false;
      const long = ingest("models-long", write("long", 3_000), env, ["--no-workers"]).finally(
        () => (ended = true),
      );
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      const short = await ingest("models-short", write("short", 1), env, ["--no-workers"]);
      assert.equal(short.code, 0, short.out + short.err);
      assert.equal(ended, false, "the long one still has its backlog");
      assert.equal((await long).code, 0);
    } finally {
      worker.kill("SIGKILL");
    }
  });
});
