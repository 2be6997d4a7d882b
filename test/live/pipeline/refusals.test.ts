import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { pathOf } from "../../../src/cluster/request.js";
import { deleteIndex } from "../../../src/index/csplade-index.js";
import {
  documents,
  openIngestSuite,
  whileWriting,
  type IngestSuite,
} from "../../support/ingesting.js";
import { contentOf } from "../../support/reindexing.js";

describe("an ingest that the cluster refuses", function () {
  this.timeout(240_000);
  let suite: IngestSuite;
  before(async () => {
    suite = await openIngestSuite("refused-");
  });
  after(() => suite.close());

  it("buries nothing while the index takes no writes: it waits, and says so", async () => {
    const index = "refused-blocked";
    const block = (value: boolean | null) =>
      suite.cluster.demand(
        {
          method: "PUT",
          path: `${pathOf(index)}/_settings`,
          body: { index: { "blocks.write": value } },
        },
        "test",
      );
    const said: string[] = [];
    const running = suite.ingest(index, [suite.write("blocked.ndjson", documents(3_000))], {
      onTrouble: (message) => said.push(message),
    });
    await whileWriting(suite.cluster, index);
    await block(true);
    await sleep(3_000);
    await block(null);
    const summary = await running;
    assert.deepEqual([summary.read, summary.written, summary.failed], [3_000, 3_000, 0]);
    assert.ok(said.some((message) => message.includes("FORBIDDEN/8/index write")));
    assert.equal((await contentOf(suite.cluster, index)).size, 3_000);
  });

  it("loses nothing when the guard pipeline is deleted: our writes pass no pipeline", async () => {
    const index = "refused-unguarded";
    const running = suite.ingest(index, [suite.write("unguarded.ndjson", documents(2_000))]);
    await whileWriting(suite.cluster, index);
    const guard = `csplade-guard-${suite.encoder.manifest.fingerprint}`;
    await suite.cluster.demand({ method: "DELETE", path: `/_ingest/pipeline/${guard}` }, "test");
    const summary = await running;
    assert.deepEqual([summary.written, summary.failed], [2_000, 0]);
    assert.equal(existsSync(suite.lettersOf(index)), false);
  });

  it("never makes a deleted index again: the run stops and says so", async () => {
    const index = "refused-deleted";
    const running = suite.ingest(index, [suite.write("deleted.ndjson", documents(3_000))]);
    await whileWriting(suite.cluster, index);
    await deleteIndex(suite.cluster, index);
    await assert.rejects(running, { code: "job_failed", message: /index_not_found/ });
    const answer = await suite.cluster.send({ method: "GET", path: `${pathOf(index)}*` });
    assert.deepEqual(answer.body, {});
  });

  it("refuses at once what no document could be written to, in a sentence", async () => {
    const file = suite.write("one.ndjson", documents(1));
    const put = (name: string, body: object) =>
      suite.cluster.demand({ method: "PUT", path: pathOf(name), body }, "test");
    await put("refused-routed", { mappings: { _routing: { required: true } } });
    await put("refused-unreadable", { settings: { "index.blocks.read": true } });
    await put("refused-both-1", { aliases: { "refused-both": {} } });
    await put("refused-both-2", { aliases: { "refused-both": {} } });
    const template = { index_patterns: ["refused-stream*"], data_stream: {} };
    await suite.cluster.demand(
      { method: "PUT", path: "/_index_template/refused-stream", body: template },
      "test",
    );
    await suite.cluster.demand({ method: "PUT", path: "/_data_stream/refused-stream" }, "test");
    const cases = [
      ["refused-routed", /routing/],
      ["refused-unreadable", /blocks\.read/],
      ["refused-both", /several indices \(refused-both-1, refused-both-2\)/],
      ["refused-stream", /data stream/],
    ] as const;
    for (const [index, message] of cases) {
      await assert.rejects(suite.ingest(index, [file]), { code: "index_invalid", message });
    }
    await suite.cluster.demand({ method: "DELETE", path: "/_data_stream/refused-stream" }, "test");
  });
});
