import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathOf } from "../../../src/cluster/request.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { whileWriting } from "../../support/ingesting.js";
import { assertCopied, fill, testDocuments } from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

describe("the records of runs", function () {
  this.timeout(180_000);
  let suite: ReindexSuite;
  let folder: string;
  before(async () => {
    suite = await openReindexSuite("rec-", { "reindex.slice_documents": 200 });
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-records-"));
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  const command = (...args: string[]) => runCsplade(folder, args, environmentOf(suite.config));

  it("stop a run that loses them, come back with their mapping alone, and everything works on", async () => {
    await fill(suite.cluster, "rec-source", testDocuments(4_000));
    const what = { from: ["rec-source"], alias: "rec-search", target: "rec-target" };
    const running = suite.run(what);
    // Said below, and not unhandled until then.
    running.catch(() => {});
    await whileWriting(suite.cluster, "rec-target");
    await suite.cluster.demand({ method: "DELETE", path: "/csplade-runs" }, "test");
    await assert.rejects(running, {
      code: "index_not_found",
      message: /csplade-runs is not there/,
    });
    // A point of progress that was under way would come now.
    await sleep(2_000);
    const gone = await suite.cluster.send({ method: "GET", path: "/csplade-runs" });
    assert.equal(gone.status, 404);
    const empty = await command("status", "--json");
    assert.equal(empty.code, 0, empty.out + empty.err);
    await suite.cluster.demand({ method: "DELETE", path: pathOf("rec-target") }, "test");
    const again = await suite.run({ ...what, new: true });
    assert.equal(again.state, "done");
    await assertCopied(suite.cluster, "rec-source", "rec-target");
    const mapping = (await suite.cluster.demand(
      { method: "GET", path: "/csplade-runs/_mapping" },
      "test",
    )) as { "csplade-runs": { mappings: { dynamic: string } } };
    assert.equal(mapping["csplade-runs"].mappings.dynamic, "false");
    const status = await command("status", "--json");
    assert.equal(status.code, 0, status.out + status.err);
    assert.ok(status.out.includes(again.run));
    const steer = await command("steer", again.run, "--rate", "10");
    assert.match(steer.err, /is over: there is nothing to steer/);
  });

  it("of an index that an older version made are written on", async () => {
    await suite.store.prepare();
    const alias = "csplade-runs.csplade-WRITE";
    await suite.cluster.demand(
      {
        method: "POST",
        path: "/_aliases",
        body: { actions: [{ remove: { index: "csplade-runs", alias } }] },
      },
      "test",
    );
    await fill(suite.cluster, "rec-old", testDocuments(20));
    const summary = await suite.run({ from: ["rec-old"], alias: "rec-old-search" });
    assert.deepEqual([summary.state, summary.written], ["done", 20]);
  });
});
