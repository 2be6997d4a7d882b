import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../../../src/config/settings.js";
import { KNOWN_GOOD } from "../../../src/encoder/encoder-protocol.js";
import { firstPassage } from "../../../src/text/passages.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";
import { findFreePort } from "../../../src/servers/port.js";
import { environmentOf, runCsplade, startCsplade } from "../../support/csplade-command.js";
import { faultyDevice, type DeviceFault, type FaultyDevice } from "../../support/faulty-device.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { assertCopied, deadLettersOf, fill, testDocuments } from "../../support/reindexing.js";
import { startWorkerProcess } from "../../support/worker-process.js";

describe("a worker on a broken device", function () {
  this.timeout(240_000);
  let suite: ReindexSuite;
  let folder: string;
  let device: FaultyDevice;
  let started: Awaited<ReturnType<typeof startWorkerProcess>>[];

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-broken-"));
    suite = await openReindexSuite("broken-", {});
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    device = faultyDevice();
    started = [];
  });
  afterEach(() => {
    for (const worker of started) worker.kill("SIGKILL");
    device.remove();
  });

  /** A queue of this test's own, in small slices. */
  const configFor = (name: string): Config => ({
    ...suite.config,
    "redis.prefix": `${suite.config["redis.prefix"]}-${name}`,
    "reindex.slice_documents": 100,
  });

  async function hire(config: Config, env: Readonly<Record<string, string>> = {}) {
    const worker = await startWorkerProcess(config, { env });
    started.push(worker);
    return worker;
  }

  /**
   * Hires one worker after the other, each on the other of two cards, until `running` is over.
   * Returns how many it took, which must be fewer than `most`.
   */
  async function livesUntil(running: Promise<unknown>, config: Config, most: number) {
    const state = { over: false };
    void running.finally(() => (state.over = true)).catch(() => {});
    let lives = 0;
    while (!state.over) {
      device.mend("throw");
      const worker = await hire(config, { ...device.env, CSPLADE_DEVICE: String(lives % 2) });
      lives += 1;
      await Promise.race([once(worker, "exit"), running]);
      assert.ok(lives < most, `${lives} workers`);
    }
    return lives;
  }

  async function ingest(config: Config, index: string, count: number) {
    const file = path.join(folder, `${index}.ndjson`);
    const lines = testDocuments(count).map(({ id, ...body }) =>
      JSON.stringify({ _id: id, ...body }),
    );
    writeFileSync(file, lines.join("\n") + "\n");
    const args = ["ingest", file, "--index", index, "--no-workers", "--quiet", "--json"];
    const env = { ...environmentOf(config), CSPLADE_JOB_DOCUMENTS: "50" };
    return await runCsplade(folder, args, env);
  }

  /** A text with a token that no other text has. */
  function breaking(documents: readonly Readonly<Record<string, unknown>>[]) {
    const tokenizer = createTokenizer(
      readTokenizerFile(path.join(tinyCheckpoint("bi"), "tokenizer.json")),
    );
    const idsOf = (text: string) => firstPassage(text, tokenizer, 64).passages[0]?.ids ?? [];
    const others = new Set(
      [KNOWN_GOOD, ...documents.map(({ text }) => String(text))].flatMap(idsOf),
    );
    const culprit = ["zebras", "Ωμέγα", "ÿþ", "漢字"].find((word) =>
      idsOf(word).some((id) => !others.has(id)),
    );
    assert.ok(culprit !== undefined);
    const token = idsOf(culprit).find((id) => !others.has(id));
    assert.ok(token !== undefined);
    return { culprit, token };
  }

  for (const fault of ["throw-from", "die-from"] satisfies DeviceFault[]) {
    it(`beside a good one costs a reindexing no document (${fault} its fourth batch)`, async () => {
      const config = configFor(fault);
      const index = `broken-${fault}`;
      await fill(suite.cluster, index, testDocuments(2_000));
      device.break(fault, 5); // Its first batch is a text that is known to be good.
      const broken = await hire(config, device.env);
      const ended = once(broken, "exit");
      const running = suite.run(
        { from: [index], alias: `${index}-search` },
        { config, work: false },
      );
      if (fault === "die-from") {
        const [code] = (await ended) as [number];
        assert.equal(code, 4, "device_failed");
      }
      await hire(config);
      const summary = await running;
      assert.equal(summary.written, 2_000);
      assert.equal(summary.dead_letters, 0);
      assert.equal((await deadLettersOf(suite.cluster, summary.run)).size, 0);
      await assertCopied(suite.cluster, index, summary.target);
    });

    it(`beside a good one costs an ingest no document (${fault} its fourth batch)`, async () => {
      const config = configFor(`i-${fault}`);
      device.break(fault, 5);
      const broken = await hire(config, device.env);
      const ended = once(broken, "exit");
      const running = ingest(config, `broken-i-${fault}`, 600);
      if (fault === "die-from") assert.equal(((await ended) as [number])[0], 4);
      await hire(config);
      const { code, out, err } = await running;
      assert.equal(code, 0, out + err);
      const { written, failed } = JSON.parse(out) as { written: number; failed: number };
      assert.deepEqual({ written, failed }, { written: 600, failed: 0 });
    });
  }

  it("that a document breaks, each session of it, costs that document alone, in an ingest and a reindexing", async () => {
    const documents = testDocuments(300);
    const { culprit, token } = breaking(documents);
    device.break("text", token);
    const config = configFor("text");
    const all = [...documents, { id: "bad", text: culprit }];
    const file = path.join(folder, "breaks.ndjson");
    writeFileSync(
      file,
      all.map(({ id, ...body }) => JSON.stringify({ _id: id, ...body })).join("\n"),
    );
    const env = { ...environmentOf(config), CSPLADE_JOB_DOCUMENTS: "50", ...device.env };
    const args = ["ingest", file, "--index", "broken-text", "--quiet", "--json"];
    const { code, out, err } = await runCsplade(folder, args, env);
    assert.equal(code, 3, out + err);
    const { written, failures } = JSON.parse(out) as {
      written: number;
      failures: { code: string; count: number }[];
    };
    assert.equal(written, 300);
    assert.deepEqual(
      failures.map((each) => [each.code, each.count]),
      [["document_breaks_device", 1]],
    );
    await fill(suite.cluster, "broken-texts", [...documents, { id: "bad", text: culprit }]);
    await hire(config, device.env);
    const summary = await suite.run(
      { from: ["broken-texts"], alias: "broken-texts-search" },
      { config, work: false },
    );
    assert.deepEqual([summary.written, summary.dead_letters], [300, 1]);
    assert.deepEqual([...(await deadLettersOf(suite.cluster, summary.run)).keys()], ["bad"]);
  });

  it("with its process, each device of it, is blamed on the document only after two of them broke over it alone", async () => {
    const documents = testDocuments(60);
    const { culprit, token } = breaking(documents);
    const config = configFor("ends");
    const file = path.join(folder, "ends.ndjson");
    const all = [...documents, { id: "bad", text: culprit }];
    writeFileSync(
      file,
      all.map(({ id, ...body }) => JSON.stringify({ _id: id, ...body })).join("\n"),
    );
    const args = ["ingest", file, "--index", "broken-ends", "--no-workers", "--quiet", "--json"];
    const running = runCsplade(folder, args, environmentOf(config));
    device.break("text-ends", token);
    const lives = await livesUntil(running, config, 12);
    const { code, out, err } = await running;
    assert.equal(code, 3, out + err);
    const { written, failures } = JSON.parse(out) as {
      written: number;
      failures: { code: string; count: number }[];
    };
    assert.equal(written, 60);
    assert.deepEqual(
      failures.map((each) => [each.code, each.count]),
      [["document_breaks_device", 1]],
    );
    assert.ok(lives >= 5, `two over the job, two over the document, one that ends it: ${lives}`);
  });

  it("with its process, each device of it, costs a reindexing the document alone, after two of them broke over it", async function () {
    this.timeout(480_000); // a dozen workers, one after the other
    // One in a hundred may be a dead letter.
    const documents = testDocuments(150);
    const { culprit, token } = breaking(documents);
    const config = configFor("ends-slices");
    const index = "broken-ends-slices";
    await fill(suite.cluster, index, [...documents, { id: "bad", text: culprit }]);
    device.break("text-ends", token);
    const running = suite.run({ from: [index], alias: `${index}-search` }, { config, work: false });
    const lives = await livesUntil(running, config, 20);
    const summary = await running;
    assert.deepEqual([summary.written, summary.dead_letters], [150, 1]);
    assert.deepEqual([...(await deadLettersOf(suite.cluster, summary.run)).keys()], ["bad"]);
    assert.ok(lives > 2, `${lives} workers`);
  });

  it("ends a command that works by itself with device_failed, and buries nothing", async () => {
    device.break("die-from", 5);
    const config = configFor("alone");
    const file = path.join(folder, "alone.ndjson");
    const lines = testDocuments(400).map(({ id, ...body }) => JSON.stringify({ _id: id, ...body }));
    writeFileSync(file, lines.join("\n") + "\n");
    const args = ["ingest", file, "--index", "broken-alone", "--quiet", "--json"];
    const env = { ...environmentOf(config), CSPLADE_JOB_DOCUMENTS: "50" };
    const { code, out } = await runCsplade(folder, args, { ...env, ...device.env });
    assert.equal(code, 4, out);
    assert.equal((JSON.parse(out) as { error: { code: string } }).error.code, "device_failed");
    const again = await runCsplade(folder, args, env);
    assert.equal(again.code, 0, again.out + again.err);
    const { written, skipped } = JSON.parse(again.out) as { written: number; skipped: number };
    assert.equal(written + skipped, 400);
  });

  it("ends csplade follow with device_failed, and refuses no document", async () => {
    device.break("die-from", 3);
    await fill(suite.cluster, "broken-follow", testDocuments(300));
    const env = environmentOf(configFor("follow"));
    const args = ["follow", "broken-follow", "--once", "--json"];
    const first = await runCsplade(folder, args, { ...env, ...device.env });
    assert.equal(first.code, 4, first.out + first.err);
    const again = await runCsplade(folder, args, env);
    assert.equal(again.code, 0, again.out + again.err);
    assert.equal((JSON.parse(again.out) as { refused: number }).refused, 0);
  });
});

describe("the probes of a worker", function () {
  this.timeout(120_000);
  it("are open from the start of the process in the state loading, and ready only after an inference", async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "csplade-probes-"));
    const device = faultyDevice();
    // The first inference does not come to an end.
    device.break("hang");
    const port = await findFreePort();
    const worker = startCsplade(folder, ["worker"], {
      ...device.env,
      CSPLADE_METRICS_PORT: String(port),
      CSPLADE_LOAD_TIMEOUT_MS: "4000",
      CSPLADE_REDIS_PREFIX: "test-probes",
    });
    const ask = async (probe: string) => {
      const answer = await fetch(`http://127.0.0.1:${port}${probe}`);
      return { status: answer.status, ...((await answer.json()) as { state: string }) };
    };
    const until = async (state: string) => {
      while ((await ask("/readyz").catch(() => undefined))?.state !== state) await sleep(50);
    };
    try {
      const ended = once(worker, "exit");
      await until("loading");
      assert.deepEqual(await ask("/healthz"), { status: 200, state: "loading" });
      assert.equal((await ask("/readyz")).status, 503);
      assert.notEqual(((await ended) as [number])[0], 0);
      const next = startCsplade(folder, ["worker"], {
        CSPLADE_METRICS_PORT: String(port),
        CSPLADE_REDIS_PREFIX: "test-probes",
      });
      await until("ready");
      assert.equal((await ask("/readyz")).status, 200);
      next.kill("SIGKILL");
    } finally {
      worker.kill("SIGKILL");
      device.remove();
      rmSync(folder, { recursive: true });
    }
  });
});
