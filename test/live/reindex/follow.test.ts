import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue } from "bullmq";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { pathOf } from "../../../src/cluster/request.js";
import type { Config } from "../../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import type { ReindexOptions } from "../../../src/reindex/reindex.js";
import { rollBack } from "../../../src/reindex/rollback.js";
import { openRunStore, type RunStore } from "../../../src/reindex/run-store.js";
import { verifyRun } from "../../../src/reindex/verify-run.js";
import { csplade } from "../../support/csplade-command.js";
import {
  assertCopied,
  behind,
  contentOf,
  deadLettersOf,
  discardIndices,
  fill,
  reindexConfig,
  reindexWith,
  testDocuments,
} from "../../support/reindexing.js";

describe("a reindexing run", function () {
  this.timeout(300_000);
  let config: Config;
  let cluster: Cluster;
  let encoder: Encoder;
  let store: RunStore;
  const patience = () => ({ config, signal: new AbortController().signal });

  before(async () => {
    config = reindexConfig();
    cluster = connectCluster(config);
    encoder = await openEncoder(config);
    store = openRunStore(cluster, patience());
  });
  after(async () => {
    await discardIndices(cluster, "fo-");
    await encoder.close();
    await cluster.close();
  });

  const run = (what: ReindexOptions["what"], more: Partial<ReindexOptions> = {}) =>
    reindexWith({ config, cluster, encoder }, what, more);

  it("copies what is changed, added and deleted while it runs, and what follows the swap", async () => {
    await fill(cluster, "fo-live", testDocuments(1_000));
    const stop = new AbortController();
    const seen = { state: "" };
    const running = run(
      { from: ["fo-live"], alias: "fo-live-search", documents_per_second: 200 },
      {
        follow: true,
        signal: stop.signal,
        onProgress: (now) => (seen.state = now.run.state),
      },
    );
    running.catch(() => {});
    await sleep(1_500);
    await fill(cluster, "fo-live", testDocuments(200, 1, 900));
    await cluster.demand({ method: "DELETE", path: "/fo-live/_doc/d17" }, "Deleting");
    while (seen.state !== "following") await sleep(200);
    assert.deepEqual(await behind(cluster, "fo-live-search"), ["fo-live-search-v1"]);
    await assertCopied(cluster, "fo-live", "fo-live-search-v1");

    await fill(cluster, "fo-live", testDocuments(10, 2, 40));
    await cluster.demand({ method: "DELETE", path: "/fo-live/_doc/d18" }, "Deleting");
    // A document that loses its text leaves no older version behind.
    await fill(cluster, "fo-live", [{ id: "d60", title: "", round: 3 }]);
    for (let i = 0; i < 60; i++) {
      await sleep(500);
      const content = await contentOf(cluster, "fo-live-search-v1");
      if (!content.has("d18") && !content.has("d60") && content.get("d45")?.round === 2) break;
    }
    await assertCopied(cluster, "fo-live", "fo-live-search-v1", ["d60"]);
    stop.abort();
    await assert.rejects(running);
    const [record] = await store.listRuns({ alias: "fo-live-search" });
    assert.deepEqual([...(await deadLettersOf(cluster, record?.run ?? "")).keys()], ["d60"]);
    assert.equal(record?.verification?.ok, true, JSON.stringify(record?.verification));
  });

  it("is taken up where it stopped, by the same command again", async () => {
    await fill(cluster, "fo-resume", testDocuments(1_500));
    const stop = new AbortController();
    const what = { from: ["fo-resume"], alias: "fo-resume-search", documents_per_second: 300 };
    const first = run(what, { signal: stop.signal });
    setTimeout(() => stop.abort(), 3_000);
    await assert.rejects(first);
    const [stopped] = await store.listRuns({ alias: "fo-resume-search" });
    const before = await store.totals(stopped?.run ?? "");
    assert.ok(before.counts.written > 0 && before.counts.written < 1_500, "stopped half-way");
    await store.updateRun(stopped?.run ?? "", (now) => ({
      ...now,
      control: { ...now.control, documents_per_second: null },
    }));
    const second = await run(what);
    assert.equal(second.run, stopped?.run);
    assert.deepEqual([second.state, second.read, second.written], ["done", 1_500, 1_500]);
    await assertCopied(cluster, "fo-resume", second.target);
  });

  it("waits while paused, and goes on", async () => {
    await fill(cluster, "fo-pause", testDocuments(1_500));
    const what = { from: ["fo-pause"], alias: "fo-pause-search", documents_per_second: 300 };
    const seen = { run: "" };
    const running = run(what, { onProgress: (now) => (seen.run = now.run.run) });
    running.catch(() => {});
    while (seen.run === "") await sleep(50);
    const control = { documents_per_second: null, concurrency: null };
    await store.updateRun(seen.run, (now) => ({ ...now, control: { paused: true, ...control } }));
    // Workers hear of it within two seconds and stop after the window they are at.
    await sleep(5_000);
    const paused = await store.totals(seen.run);
    await sleep(2_000);
    assert.equal((await store.totals(seen.run)).counts.read, paused.counts.read);
    assert.equal(paused.slices.running, 0, "no slice is held");
    await store.updateRun(seen.run, (now) => ({ ...now, control: { paused: false, ...control } }));
    const summary = await running;
    assert.deepEqual([summary.state, summary.read], ["done", 1_500]);
  });

  it("obeys csplade steer while it runs, and leaves no limit to the next run", async () => {
    await fill(cluster, "fo-steer", testDocuments(1_200));
    const seen = { run: "", running: 0, copied: 0 };
    const running = run(
      { from: ["fo-steer"], alias: "fo-steer-search", documents_per_second: 100 },
      {
        config: { ...config, "reindex.slice_documents": 100, "reindex.concurrency": 4 },
        onProgress({ run: { run: name }, totals }) {
          seen.run = name;
          seen.running = totals.slices.running;
          seen.copied = totals.counts.written;
        },
      },
    );
    running.catch(() => {});
    while (seen.running < 4) await sleep(100);
    const steer = (...args: string[]) =>
      csplade(
        [
          ...["steer", "fo-steer-search", ...args, "--json"],
          ...["--opensearch-url", config["opensearch.url"], "--redis-url", config["redis.url"]],
        ],
        { env: { CSPLADE_REDIS_PREFIX: config["redis.prefix"] } },
      );
    const slower = await steer("--concurrency", "1", "--rate", "400");
    assert.equal(slower.status, 0, slower.output);
    assert.deepEqual(JSON.parse(slower.output), {
      paused: false,
      documents_per_second: 400,
      concurrency: 1,
    });
    // The slices that were given out end; then there is one at a time.
    while (seen.running > 1) await sleep(100);
    const from = seen.copied;
    const most = { running: 0 };
    while (seen.copied < Math.min(from + 400, 1_100)) {
      most.running = Math.max(most.running, seen.running);
      await sleep(100);
    }
    assert.equal(most.running, 1);
    assert.equal((await running).written, 1_200);
    const queue = new Queue("reindex", {
      connection: { url: config["redis.url"] },
      prefix: config["redis.prefix"],
    });
    const left = await queue.getGlobalConcurrency();
    await queue.close();
    assert.equal(left, null);
  });

  it("does not move the alias to an index that lacks documents or has other vectors", async () => {
    await fill(cluster, "fo-verify", testDocuments(150));
    const summary = await run({ from: ["fo-verify"], alias: "fo-verify-search" });
    assert.ok(summary.verification !== null);
    assert.deepEqual(summary.verification.problems, []);
    assert.equal(summary.verification.sampled, 150);
    assert.ok((summary.verification.found_new ?? 0) > 0);
    const { record } = await store.readRun(summary.run);
    const context = { cluster, encoder, patience: patience(), sample: 200 };
    for (const id of ["d1", "d2", "d3"]) {
      await cluster.demand(
        { method: "DELETE", path: pathOf(summary.target, "_doc", id) },
        "Losing",
      );
    }
    const lacking = await verifyRun(context, record);
    assert.equal(lacking.ok, false);
    assert.ok(lacking.problems.some((problem) => problem.startsWith("3 documents")));
    for (const id of ["d4", "d5", "d6", "d7"]) {
      await cluster.demand(
        {
          method: "POST",
          path: pathOf(summary.target, "_update", id),
          body: { doc: { csplade: { "7": 3_000 } } },
        },
        "Damaging",
      );
    }
    const damaged = await verifyRun(context, record);
    assert.equal(damaged.differing, 4);
    assert.ok(damaged.problems.some((problem) => problem.includes("another vector")));
  });

  it("verifies by scores where _source has no vectors, and encodes everything the next time", async () => {
    const lean = { ...config, "document.store_vectors": false };
    await fill(cluster, "fo-lean", testDocuments(60));
    const what = { from: ["fo-lean"], alias: "fo-lean-search" };
    const summary = await reindexWith({ config: lean, cluster, encoder }, what);
    assert.ok(summary.verification !== null);
    assert.deepEqual(summary.verification.problems, []);
    assert.deepEqual([summary.verification.sampled, summary.verification.differing], [60, 0]);
    const { record } = await store.readRun(summary.run);
    const context = { cluster, encoder, patience: patience(), sample: 100 };
    const vectors = { d4: { "7": 3 }, d5: {}, d6: { "7": 1, "8": 1 }, d7: { "9": 20 } };
    for (const [id, csplade] of Object.entries(vectors)) {
      const read = await cluster.demand(
        { method: "GET", path: pathOf(summary.target, "_source", id) },
        "Reading",
      );
      assert.ok(!Object.hasOwn(read as object, "csplade"));
      const body = { ...(read as object), csplade, csplade_seal: { lat: 0, lon: 0 } };
      await cluster.demand(
        { method: "PUT", path: pathOf(summary.target, "_doc", id), body },
        "Damaging",
      );
    }
    const damaged = await verifyRun(context, record);
    assert.equal(damaged.differing, 4);
    const second = await reindexWith({ config: lean, cluster, encoder }, what);
    assert.deepEqual([second.encoded, second.reused], [60, 0]);
  });

  it("passes the verification although documents are deleted from the source meanwhile", async () => {
    await fill(cluster, "fo-shrink", testDocuments(50));
    const summary = await run({ from: ["fo-shrink"], alias: "fo-shrink-search" });
    const { record } = await store.readRun(summary.run);
    const context = { cluster, encoder, patience: patience(), sample: 10 };
    await cluster.demand({ method: "DELETE", path: "/fo-shrink/_doc/d3" }, "Deleting");
    assert.deepEqual((await verifyRun(context, record)).problems, []);
    // Documents that nobody deleted from the source were never there.
    const [own] = testDocuments(1, 0, 900);
    const writes = { version: 1, version_type: "external" };
    for (const id of ["e1", "e2"]) {
      const path = pathOf(summary.target, "_doc", id);
      const body = { ...own, csplade: { "7": 1 }, csplade_model: record.model.fingerprint };
      await cluster.demand({ method: "PUT", path, query: writes, body }, "Adding");
    }
    const { problems } = await verifyRun(context, record);
    assert.ok(problems.some((problem) => problem.includes("that the source has not")));
  });

  it("is taken back by a rollback, once", async () => {
    await fill(cluster, "fo-back", testDocuments(20));
    await run({ from: ["fo-back"], alias: "fo-back-search" });
    await assert.rejects(rollBack(cluster, store, "fo-back-search"), { code: "index_not_found" });
    await run({ from: ["fo-back"], alias: "fo-back-search" });
    const done = await rollBack(cluster, store, "fo-back-search");
    assert.deepEqual(done.to, ["fo-back-search-v1"]);
    assert.deepEqual(await behind(cluster, "fo-back-search"), ["fo-back-search-v1"]);
    await assert.rejects(rollBack(cluster, store, "fo-back-search"));
  });

  it("says so when its source is deleted half-way, and keeps what it has", async () => {
    await fill(cluster, "fo-gone", testDocuments(1_500));
    const running = run({
      from: ["fo-gone"],
      alias: "fo-gone-search",
      documents_per_second: 300,
    });
    running.catch(() => {});
    await sleep(2_500);
    await cluster.demand({ method: "DELETE", path: "/fo-gone" }, "Deleting the source");
    await assert.rejects(running, (error: Error) =>
      error.message.includes("fo-gone does not exist any more"),
    );
    const [record] = await store.listRuns({ alias: "fo-gone-search" });
    assert.equal(record?.state, "failed");
    assert.ok((await contentOf(cluster, "fo-gone-search-v1")).size > 0);
  });
});
