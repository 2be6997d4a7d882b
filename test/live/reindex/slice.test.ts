import assert from "node:assert/strict";
import { Redis } from "ioredis";
import type { Config } from "../../../src/config/settings.js";
import { openSliceQueue } from "../../../src/queue/slice-queue.js";
import { passOf } from "../../../src/reindex/plan-run.js";
import { nextPass, noCounts } from "../../../src/reindex/run-record.js";
import { SliceLostError } from "../../../src/reindex/run-store.js";
import { createRunControls } from "../../../src/reindex/run-control.js";
import { claimSlice, FATAL_CRASHES } from "../../../src/reindex/slice-claim.js";
import { beginRun } from "../../../src/reindex/start-run.js";
import { cutShard, settledUpTo } from "../../../src/sources/index-source.js";
import { assertCopied, deadLettersOf, fill, testDocuments } from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

describe("a slice", function () {
  this.timeout(120_000);
  let suite: ReindexSuite;

  before(async () => {
    suite = await openReindexSuite("sl-");
  });
  after(() => suite.close());

  function begin(source: string) {
    const context = { ...suite, manifest: suite.encoder.manifest };
    return beginRun(context, suite.encoder, suite.store, {
      from: [source],
      alias: `${source}-search`,
    });
  }

  it("covers every document of its shard once, whatever gaps the sequence numbers have", async () => {
    await suite.cluster.demand(
      { method: "PUT", path: "/sl-cut", body: { settings: { index: { number_of_shards: 2 } } } },
      "Creating the source",
    );
    for (let round = 0; round < 4; round++) {
      await fill(suite.cluster, "sl-cut", testDocuments(300 - 60 * round, round, 17 * round));
    }
    const source = { index: "sl-cut", shards: 2 };
    const upTo = await settledUpTo(suite.cluster, source);
    let documents = 0;
    for (const [shard, last] of upTo.entries()) {
      const reader = { index: "sl-cut", shard, primaries: false };
      const range = { from: 0, to: last + 1, documents: 20 };
      const ranges = await cutShard(suite.cluster, reader, range);
      ranges.forEach(({ from, to }, i) => {
        assert.ok(from < to);
        if (i > 0) assert.equal(from, ranges[i - 1]?.to, "no number is between two ranges");
      });
      assert.equal(ranges.at(-1)?.to, last + 1);
      assert.ok(ranges.every((each) => each.documents <= 20));
      documents += ranges.reduce((sum, each) => sum + each.documents, 0);
    }
    assert.equal(documents, 300);
  });

  it("belongs to the worker that claimed it last; the one before cannot write its record", async () => {
    await fill(suite.cluster, "sl-claim", testDocuments(10));
    const { run } = await begin("sl-claim");
    const first = await claimSlice(suite.store, await suite.store.readSlice(run, 0), "first");
    await first.checkpoint(3, { ...noCounts(), read: 3, written: 3 });
    const second = await claimSlice(suite.store, await suite.store.readSlice(run, 0), "second");
    assert.equal(second.record.position, 3);
    await assert.rejects(
      first.checkpoint(5, { ...noCounts(), read: 2, written: 2 }),
      SliceLostError,
    );
    await second.checkpoint(10, { ...noCounts(), read: 7, written: 7 });
    const { record } = await suite.store.readSlice(run, 0);
    assert.deepEqual([record.position, record.counts.read], [10, 10]);
  });

  it("pays for what the slice before it took, where the rate is limited", async () => {
    await fill(suite.cluster, "sl-rate", testDocuments(10));
    const { run } = await begin("sl-rate");
    const control = { paused: false, documents_per_second: 100, concurrency: null };
    await suite.store.updateRun(run, (now) => ({ ...now, control }));
    const controls = createRunControls(suite.store);
    const leave = controls.join(run);
    await controls.admit(run, 100, suite.patience.signal);
    leave();
    controls.join(run);
    const started = performance.now();
    await controls.admit(run, 1, suite.patience.signal);
    const waited = performance.now() - started;
    assert.ok(waited > 500, `waited ${waited} ms of the second that 100 documents cost`);
  });

  it("buries the one document that kills workers again and again, and goes on after it", async () => {
    await fill(suite.cluster, "sl-poison", testDocuments(40));
    const { run } = await begin("sl-poison");
    const first = await claimSlice(suite.store, await suite.store.readSlice(run, 0), "dead");
    await first.checkpoint(7, { ...noCounts(), read: 7, written: 7 });
    // Workers that die leave the slice claimed, without a word.
    for (let deaths = 0; deaths < FATAL_CRASHES - 1; deaths++) {
      await claimSlice(suite.store, await suite.store.readSlice(run, 0), "dead");
    }
    const config = { ...suite.config, "reindex.max_dead_letters": 0.05 };
    const summary = await suite.run({ resume: run }, { verify: false, config });
    const letters = await deadLettersOf(suite.cluster, run);
    assert.deepEqual([...letters.keys()], ["d7"]);
    assert.match(letters.get("d7")?.reason ?? "", /The worker died \d+ times/);
    // The first seven were only claimed to be written.
    const first7 = testDocuments(7).map(({ id }) => id);
    await assertCopied(suite.cluster, "sl-poison", summary.target, [...first7, "d7"]);
  });

  it("is kept only as part of a sum once its pass is long over", async () => {
    await fill(suite.cluster, "sl-fold", testDocuments(30));
    const what = { from: ["sl-fold"], alias: "sl-fold-search" };
    const { run } = await suite.run(what, { verify: false });
    const [done] = await suite.store.listSlices(run, ["done"]);
    assert.ok(done !== undefined);
    // As if it had followed its source: passes of one slice, each with one document.
    const slices = Array.from({ length: 50 }, (_, i) => ({
      ...done,
      ...{ number: done.number + 1 + i, pass: 1 + i, documents: 1 },
      counts: { ...noCounts(), read: 1, written: 1, tokens: 5 },
    }));
    await suite.store.addSlices(slices);
    await suite.store.updateRun(run, (now) => ({
      ...now,
      passes: [
        ...now.passes,
        ...slices.map(({ pass }) => passOf(pass, "copy", [], [pass], "then")),
      ],
    }));
    const before = await suite.store.totals(run);
    assert.deepEqual([before.counts.read, before.slices.done], [80, 51]);
    for (const below of [20, 45]) {
      const folded = await suite.store.foldPasses(run, below);
      assert.equal(folded.passes[0]?.number, below);
      assert.equal(nextPass(folded), 51);
      assert.deepEqual(await suite.store.totals(run), before);
      assert.equal((await suite.store.listSlices(run, ["done"])).length, 51 - below);
    }
    // Nothing but the newest passes: what is needed to go on stays.
    const last = await suite.store.foldPasses(run, 51);
    assert.deepEqual(
      last.passes.map(({ up_to }) => up_to),
      [[49], [50]],
    );
    await suite.store.addSlices([{ ...done, number: 60, pass: 51, state: "open" }]);
    await assert.rejects(suite.store.foldPasses(run, 52), RangeError);
  });

  it("takes about a kilobyte of Redis, however many documents it has", async () => {
    const before = await usedBytes(suite.config);
    const queue = await openSliceQueue(suite.config, suite.encoder.manifest.fingerprint);
    const slices = 1_000;
    const run = "a-run-of-a-usual-name-20260101t1200-1a2b3c";
    await queue.add(
      Array.from({ length: slices }, (_, slice) => ({ format: 1 as const, run, slice })),
    );
    const bytes = ((await usedBytes(suite.config)) - before) / slices;
    await queue.close();
    // 40 slices of 25,000 documents are a million documents.
    process.stdout.write(
      `      ${bytes.toFixed(0)} bytes a slice, ${(40 * bytes).toFixed(0)} bytes per million documents\n`,
    );
    assert.ok(bytes < 1_500, `${bytes} bytes`);
  });
});

async function usedBytes(config: Config): Promise<number> {
  const redis = new Redis(config["redis.url"]);
  try {
    const info = await redis.info("memory");
    return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
  } finally {
    redis.disconnect();
  }
}
