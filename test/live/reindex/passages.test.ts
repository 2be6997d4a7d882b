import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { assertCopied, contentOf, fill, testDocuments } from "../../support/reindexing.js";
import { openRunStore } from "../../../src/reindex/run-store.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

/** A text of several passages, and the same document with a text of one. */
const LONG = { id: "long", title: "A long one", text: "many words of a story ".repeat(120) };
const SHORT = { ...LONG, text: "only some words" };

describe("reindexing of long documents", function () {
  this.timeout(180_000);
  let suite: ReindexSuite;

  before(async () => {
    suite = await openReindexSuite("pa-");
  });
  after(() => suite.close());

  /** Copies a source, changes it while it is followed, and tells when the target has followed. */
  async function follow(
    passages: "nested" | "documents",
    check: (target: string, changed: boolean) => Promise<void>,
  ): Promise<void> {
    const source = `pa-${passages}`;
    await fill(suite.cluster, source, [...testDocuments(40), LONG, { ...LONG, id: "gone" }]);
    const stop = new AbortController();
    const seen = { state: "" };
    const own = { ...suite.config, "ingest.passages": passages, "redis.prefix": `${source}-queue` };
    const running = suite.run(
      { from: [source], alias: `${source}-search` },
      {
        config: own,
        follow: true,
        signal: stop.signal,
        onProgress: ({ run }) => (seen.state = run.state),
      },
    );
    running.catch((thrown: unknown) => {
      if (!stop.signal.aborted) seen.state = `failed: ${String(thrown)}`;
    });
    try {
      while (seen.state !== "following") {
        assert.ok(!seen.state.startsWith("failed"), seen.state);
        await sleep(200);
      }
      await check(`${source}-search-v1`, false);
      await fill(suite.cluster, source, [SHORT]);
      await suite.cluster.demand({ method: "DELETE", path: `/${source}/_doc/gone` }, "Deleting");
      const deadline = performance.now() + 60_000;
      for (;;) {
        try {
          await check(`${source}-search-v1`, true);
          break;
        } catch (thrown) {
          if (performance.now() > deadline) throw thrown;
          await sleep(500);
        }
      }
    } finally {
      stop.abort();
      await running.catch(() => {});
    }
    const store = openRunStore(suite.cluster, { ...suite.patience, config: own });
    const [run] = await store.listRuns({ alias: `${source}-search` });
    assert.deepEqual(run?.verification?.problems, []);
  }

  it("keeps all passages of a document in it, in `nested` mode", async () => {
    await follow("nested", async (target, changed) => {
      const found = await contentOf(suite.cluster, target, { vectors: true });
      const passages = found.get("long")?.csplade_passages as { start: number; csplade: object }[];
      if (changed) assert.equal(passages.length, 1);
      else assert.ok(passages.length > 1);
      assert.ok(passages.every(({ csplade }) => Object.keys(csplade).length > 0));
      await assertCopied(suite.cluster, "pa-nested", target);
    });
  });

  it("keeps a document per passage and none too many, in `documents` mode", async () => {
    await follow("documents", async (target, changed) => {
      const found = await contentOf(suite.cluster, target, { vectors: true });
      const parents = new Map<string, string[]>();
      for (const [id, { csplade_parent: parent }] of found) {
        const ids = parents.get(parent as string) ?? [];
        parents.set(parent as string, [...ids, id]);
      }
      const source = await contentOf(suite.cluster, "pa-documents");
      assert.deepEqual([...parents.keys()].sort(), [...source.keys()].sort());
      for (const [parent, ids] of parents) {
        assert.equal(ids.length, found.get(`${parent}#0`)?.csplade_passage_count, parent);
      }
      const passages = parents.get("long")?.length ?? 0;
      if (changed) assert.equal(passages, 1);
      else assert.ok(passages > 1);
      assert.equal(parents.has("gone"), !changed);
    });
  });

  it("refuses an index of passages as a source, because the whole texts are not in it", async () => {
    await assert.rejects(
      suite.run({ from: ["pa-documents-search-v1"], alias: "pa-again" }),
      (error: Error & { code?: string }) =>
        error.code === "index_invalid" && error.message.includes("whole texts are not in it"),
    );
  });
});
