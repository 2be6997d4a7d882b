import assert from "node:assert/strict";
import { connectCluster } from "../../../src/cluster/cluster.js";
import { faultKinds, runChaos, type FaultKind } from "../../support/chaos.js";
import { discardIndices, reindexConfig } from "../../support/reindexing.js";
import { testServers } from "../../support/servers.js";

const what: Record<FaultKind, string> = {
  "kill-worker": "a worker is killed",
  "kill-redis": "Redis is killed and comes back",
  "kill-opensearch": "OpenSearch is killed and comes back",
  storm: "OpenSearch answers 429, 503 and late",
  "read-only": "a full disk makes the index read-only",
  partition: "the network cuts a worker off Redis, so that its slice runs twice",
  "session-throws": "a worker's sessions throw, also rebuilt ones",
  "thread-killed": "an encoder thread is killed",
  "run-hangs": "an inference hangs",
  "memory-exhausted": "memory runs out for larger batches",
};

describe("reindexing loses nothing, doubles nothing and leaves nothing stale when", function () {
  this.timeout(600_000);
  const documents = Number(process.env.CSPLADE_CHAOS_DOCUMENTS ?? 2_000);

  after(async () => {
    const cluster = connectCluster(reindexConfig());
    await discardIndices(cluster, "chaos-");
    await cluster.close();
  });

  for (const kind of faultKinds) {
    it(what[kind], async () => {
      const report = await runChaos(
        { kind, documents, rounds: 1, servers: testServers(), config: reindexConfig() },
        "chaos-",
      );
      const { injected, lost, extra, stale, wrong_vector, unaccounted } = report;
      assert.deepEqual(
        { injected, lost, extra, stale, wrong_vector, unaccounted },
        { injected: 1, lost: 0, extra: 0, stale: 0, wrong_vector: 0, unaccounted: 0 },
      );
      assert.ok(report.dead_letters > 0, "documents without text became dead letters");
      assert.ok(report.changed > 0, "documents changed meanwhile");
      if (kind === "partition") assert.ok(report.taken_up_again > 0, "a slice ran twice");
    });
  }
});
