/** An ingest whose documents are encoded by another csplade gateway, which is killed meanwhile. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { startCsplade } from "../../support/csplade-command.js";
import { openEncoder } from "../../../src/encoder/encoder.js";
import { findFreePort } from "../../../src/servers/port.js";
import { contentOf } from "../../support/reindexing.js";
import {
  documents,
  openIngestSuite,
  whileWriting,
  type IngestSuite,
} from "../../support/ingesting.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

describe("an ingest with model.remote", function () {
  this.timeout(180_000);
  let suite: IngestSuite;
  before(async () => (suite = await openIngestSuite("remote-")));
  after(() => suite.close());

  it("loses and buries nothing when the gateway that encodes is killed and started again", async () => {
    const port = await findFreePort();
    const url = `http://127.0.0.1:${port}`;
    const start = () =>
      startCsplade(suite.folder, ["serve"], { CSPLADE_GATEWAY_PORT: String(port) });
    let gateway = start();
    const encoder = await openEncoder(testConfig({ "model.remote": url }));
    const input = suite.write("remote.ndjson", documents(600));
    const ingested = suite.ingest("remote-killed", [input], { encoder });
    await whileWriting(suite.cluster, "remote-killed");
    gateway.kill("SIGKILL");
    await once(gateway, "exit");
    gateway = start();
    try {
      const summary = await ingested;
      assert.deepEqual([summary.written, summary.failed], [600, 0]);
    } finally {
      await encoder.close();
      gateway.kill("SIGTERM");
      await once(gateway, "exit");
    }
    const local = suite.write("local.ndjson", documents(600));
    await suite.ingest("remote-local", [local]);
    const vectors = { vectors: true };
    const there = await contentOf(suite.cluster, "remote-killed", vectors);
    const here = await contentOf(suite.cluster, "remote-local", vectors);
    assert.equal(there.size, 600);
    for (const [id, body] of here) {
      assert.deepEqual(there.get(id)?.["csplade"], body["csplade"], id);
    }
  });
});
