import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue } from "bullmq";
import { pathOf } from "../../../src/cluster/request.js";
import { rollBack } from "../../../src/reindex/rollback.js";
import { verifyRun } from "../../../src/reindex/verify-run.js";
import { csplade } from "../../support/csplade-command.js";
import {
  assertCopied,
  behind,
  contentOf,
  deadLettersOf,
  fill,
  testDocuments,
} from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

describe("a reindexing run", function () {
  this.timeout(300_000);
  let suite: ReindexSuite;

  before(async () => {
    suite = await openReindexSuite("fo-");
  });
  after(() => suite.close());

  it("copies what is changed, added and deleted while it runs, and what follows the swap", async () => {
    await fill(suite.cluster, "fo-live", testDocuments(1_000));
    const stop = new AbortController();
    const seen = { state: "" };
    const running = suite.run(
      { from: ["fo-live"], alias: "fo-live-search", documents_per_second: 200 },
      {
        follow: true,
        signal: stop.signal,
        onProgress: (now) => (seen.state = now.run.state),
      },
    );
    running.catch(() => {});
    await sleep(1_500);
    await fill(suite.cluster, "fo-live", testDocuments(200, 1, 900));
    await suite.cluster.demand({ method: "DELETE", path: "/fo-live/_doc/d17" }, "Deleting");
    while (seen.state !== "following") await sleep(200);
    assert.deepEqual(await behind(suite.cluster, "fo-live-search"), ["fo-live-search-v1"]);
    await assertCopied(suite.cluster, "fo-live", "fo-live-search-v1");

    await fill(suite.cluster, "fo-live", testDocuments(10, 2, 40));
    await suite.cluster.demand({ method: "DELETE", path: "/fo-live/_doc/d18" }, "Deleting");
    // A document that loses its text leaves no older version behind.
    await fill(suite.cluster, "fo-live", [{ id: "d60", title: "", round: 3 }]);
    for (let i = 0; i < 60; i++) {
      await sleep(500);
      const content = await contentOf(suite.cluster, "fo-live-search-v1");
      if (!content.has("d18") && !content.has("d60") && content.get("d45")?.round === 2) break;
    }
    await assertCopied(suite.cluster, "fo-live", "fo-live-search-v1", ["d60"]);
    stop.abort();
    await assert.rejects(running);
    const [record] = await suite.store.listRuns({ alias: "fo-live-search" });
    assert.deepEqual([...(await deadLettersOf(suite.cluster, record?.run ?? "")).keys()], ["d60"]);
    assert.equal(record?.verification?.ok, true, JSON.stringify(record?.verification));
  });

  it("is taken up where it stopped, by the same command again", async () => {
    await fill(suite.cluster, "fo-resume", testDocuments(1_500));
    const stop = new AbortController();
    const what = { from: ["fo-resume"], alias: "fo-resume-search", documents_per_second: 300 };
    const first = suite.run(what, { signal: stop.signal });
    setTimeout(() => stop.abort(), 3_000);
    await assert.rejects(first);
    const [stopped] = await suite.store.listRuns({ alias: "fo-resume-search" });
    const before = await suite.store.totals(stopped?.run ?? "");
    assert.ok(before.counts.written > 0 && before.counts.written < 1_500, "stopped half-way");
    await suite.store.updateRun(stopped?.run ?? "", (now) => ({
      ...now,
      control: { ...now.control, documents_per_second: null },
    }));
    const second = await suite.run(what);
    assert.equal(second.run, stopped?.run);
    assert.deepEqual([second.state, second.read, second.written], ["done", 1_500, 1_500]);
    await assertCopied(suite.cluster, "fo-resume", second.target);
  });

  it("waits while paused, and goes on", async () => {
    await fill(suite.cluster, "fo-pause", testDocuments(1_500));
    const what = { from: ["fo-pause"], alias: "fo-pause-search", documents_per_second: 300 };
    const seen = { run: "" };
    const running = suite.run(what, { onProgress: (now) => (seen.run = now.run.run) });
    running.catch(() => {});
    while (seen.run === "") await sleep(50);
    const control = { documents_per_second: null, concurrency: null };
    await suite.store.updateRun(seen.run, (now) => ({
      ...now,
      control: { paused: true, ...control },
    }));
    // Workers hear of it within two seconds and stop after the window they are at.
    await sleep(5_000);
    const paused = await suite.store.totals(seen.run);
    await sleep(2_000);
    assert.equal((await suite.store.totals(seen.run)).counts.read, paused.counts.read);
    assert.equal(paused.slices.running, 0, "no slice is held");
    await suite.store.updateRun(seen.run, (now) => ({
      ...now,
      control: { paused: false, ...control },
    }));
    const summary = await running;
    assert.deepEqual([summary.state, summary.read], ["done", 1_500]);
  });

  it("obeys csplade steer while it runs, and leaves no limit to the next run", async () => {
    await fill(suite.cluster, "fo-steer", testDocuments(1_200));
    const seen = { run: "", running: 0, copied: 0 };
    const running = suite.run(
      { from: ["fo-steer"], alias: "fo-steer-search", documents_per_second: 100 },
      {
        config: { ...suite.config, "reindex.slice_documents": 100, "reindex.concurrency": 4 },
        onProgress({ run: { run: name }, totals }) {
          seen.run = name;
          seen.running = totals.slices.running;
          seen.copied = totals.counts.written;
        },
      },
    );
    running.catch(() => {});
    while (seen.running < 4) await sleep(100);
    const {
      "opensearch.url": opensearchUrl,
      "redis.url": redisUrl,
      "redis.prefix": prefix,
    } = suite.config;
    const steer = (...args: string[]) =>
      csplade(
        [
          ...["steer", "fo-steer-search", ...args, "--json"],
          ...["--opensearch-url", opensearchUrl, "--redis-url", redisUrl],
        ],
        { env: { CSPLADE_REDIS_PREFIX: prefix } },
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
    const queue = new Queue("reindex", { connection: { url: redisUrl }, prefix });
    const left = await queue.getGlobalConcurrency();
    await queue.close();
    assert.equal(left, null);
  });

  it("does not move the alias to an index that lacks documents or has other vectors", async () => {
    await fill(suite.cluster, "fo-verify", testDocuments(150));
    const summary = await suite.run({ from: ["fo-verify"], alias: "fo-verify-search" });
    assert.ok(summary.verification !== null);
    assert.deepEqual(summary.verification.problems, []);
    assert.equal(summary.verification.sampled, 150);
    assert.ok((summary.verification.found_new ?? 0) > 0);
    const { record } = await suite.store.readRun(summary.run);
    const context = { ...suite, sample: 200 };
    for (const id of ["d1", "d2", "d3"]) {
      await suite.cluster.demand(
        { method: "DELETE", path: pathOf(summary.target, "_doc", id) },
        "Losing",
      );
    }
    const lacking = await verifyRun(context, record);
    assert.equal(lacking.ok, false);
    assert.ok(lacking.problems.some((problem) => problem.startsWith("3 documents")));
    for (const id of ["d4", "d5", "d6", "d7"]) {
      await suite.cluster.demand(
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
    const lean = { ...suite.config, "document.store_vectors": false };
    await fill(suite.cluster, "fo-lean", testDocuments(60));
    const what = { from: ["fo-lean"], alias: "fo-lean-search" };
    const summary = await suite.run(what, { config: lean });
    assert.ok(summary.verification !== null);
    assert.deepEqual(summary.verification.problems, []);
    assert.deepEqual([summary.verification.sampled, summary.verification.differing], [60, 0]);
    const { record } = await suite.store.readRun(summary.run);
    const context = { ...suite, sample: 100 };
    const vectors = { d4: { "7": 3 }, d5: {}, d6: { "7": 1, "8": 1 }, d7: { "9": 20 } };
    for (const [id, csplade] of Object.entries(vectors)) {
      const read = await suite.cluster.demand(
        { method: "GET", path: pathOf(summary.target, "_source", id) },
        "Reading",
      );
      assert.ok(!Object.hasOwn(read as object, "csplade"));
      const body = { ...(read as object), csplade, csplade_seal: { lat: 0, lon: 0 } };
      await suite.cluster.demand(
        { method: "PUT", path: pathOf(summary.target, "_doc", id), body },
        "Damaging",
      );
    }
    const damaged = await verifyRun(context, record);
    assert.equal(damaged.differing, 4);
    const second = await suite.run(what, { config: lean });
    assert.deepEqual([second.encoded, second.reused], [60, 0]);
  });

  it("passes the verification although documents are deleted from the source meanwhile", async () => {
    await fill(suite.cluster, "fo-shrink", testDocuments(50));
    const summary = await suite.run({ from: ["fo-shrink"], alias: "fo-shrink-search" });
    const { record } = await suite.store.readRun(summary.run);
    const context = { ...suite, sample: 10 };
    await suite.cluster.demand({ method: "DELETE", path: "/fo-shrink/_doc/d3" }, "Deleting");
    assert.deepEqual((await verifyRun(context, record)).problems, []);
    // Documents that nobody deleted from the source were never there.
    const [own] = testDocuments(1, 0, 900);
    const writes = { version: 1, version_type: "external" };
    for (const id of ["e1", "e2"]) {
      const path = pathOf(summary.target, "_doc", id);
      const body = { ...own, csplade: { "7": 1 }, csplade_model: record.model.fingerprint };
      await suite.cluster.demand({ method: "PUT", path, query: writes, body }, "Adding");
    }
    const { problems } = await verifyRun(context, record);
    assert.ok(problems.some((problem) => problem.includes("that the source has not")));
  });

  it("is taken back by a rollback, once", async () => {
    await fill(suite.cluster, "fo-back", testDocuments(20));
    await suite.run({ from: ["fo-back"], alias: "fo-back-search" });
    await assert.rejects(rollBack(suite.cluster, suite.store, "fo-back-search"), {
      code: "index_not_found",
    });
    await suite.run({ from: ["fo-back"], alias: "fo-back-search" });
    const done = await rollBack(suite.cluster, suite.store, "fo-back-search");
    assert.deepEqual(done.to, ["fo-back-search-v1"]);
    assert.deepEqual(await behind(suite.cluster, "fo-back-search"), ["fo-back-search-v1"]);
    await assert.rejects(rollBack(suite.cluster, suite.store, "fo-back-search"));
  });

  it("says so when its source is deleted half-way, and keeps what it has", async () => {
    await fill(suite.cluster, "fo-gone", testDocuments(1_500));
    const running = suite.run({
      from: ["fo-gone"],
      alias: "fo-gone-search",
      documents_per_second: 300,
    });
    running.catch(() => {});
    await sleep(2_500);
    await suite.cluster.demand({ method: "DELETE", path: "/fo-gone" }, "Deleting the source");
    await assert.rejects(running, (error: Error) =>
      error.message.includes("fo-gone does not exist any more"),
    );
    const [record] = await suite.store.listRuns({ alias: "fo-gone-search" });
    assert.equal(record?.state, "failed");
    assert.ok((await contentOf(suite.cluster, "fo-gone-search-v1")).size > 0);
  });
});
