/** The mean length of an index's texts: estimated once, kept in the index, and used by whoever writes. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { readIndexModel } from "../../../src/index/csplade-index.js";
import { ingestFiles } from "../../../src/pipeline/ingest-files.js";
import { toFeatures } from "../../../src/sparse/features.js";
import { maxMerge } from "../../../src/sparse/sparse-vector.js";
import { contentOf } from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const LONG = "zebras walk to the sea and drink ".repeat(20);
const SHORT = "zebras drink";

describe("the mean length of an index's texts", function () {
  this.timeout(240_000);
  let folder: string;
  let suite: ReindexSuite;

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-mean-"));
    suite = await openReindexSuite("ml-", {
      "model.path": tinyCheckpoint("lexical"),
      "document.quantize_bits": 9,
    });
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  async function ingest(index: string, texts: readonly string[], first = 0): Promise<void> {
    const file = path.join(folder, "texts.ndjson");
    const lines = texts.map((text, i) => `${JSON.stringify({ _id: `${first + i}`, text })}\n`);
    writeFileSync(file, lines.join(""));
    const { failed } = await ingestFiles({
      ...suite,
      inputs: [file],
      index,
      deadLetters: path.join(folder, "dead-letters.ndjson"),
      signal: new AbortController().signal,
    });
    assert.equal(failed, 0);
  }

  const meanOf = async (index: string) => (await readIndexModel(suite.cluster, index)).mean_length;

  async function assertWeighedBy(index: string, mean_length: number | undefined): Promise<void> {
    const contents = await contentOf(suite.cluster, index, { vectors: true });
    for (const { text, csplade } of contents.values()) {
      const [encoded] = await suite.encoder.encodeDocuments([String(text)], {
        merged: true,
        mean_length,
      });
      const wanted = toFeatures(maxMerge(encoded!.passages.map(({ vector }) => vector)));
      const stored = csplade as Record<string, number>;
      assert.deepEqual(new Set(Object.keys(stored)), new Set(Object.keys(wanted)));
      for (const [term, weight] of Object.entries(wanted)) {
        assert.ok(Math.abs(stored[term]! - weight) < 0.01 * weight, `${term} of ${String(text)}`);
      }
    }
  }

  it("is that of the first documents of an ingest, and stays when others come", async () => {
    await ingest("ml-long", [LONG, LONG, LONG]);
    const mean = await meanOf("ml-long");
    assert.ok(mean !== undefined && mean >= 80 && mean <= 140, String(mean));
    await ingest("ml-long", Array(20).fill(SHORT), 3);
    assert.equal(await meanOf("ml-long"), mean);
    await assertWeighedBy("ml-long", mean);
  });

  it("is not kept where passages are found by themselves", async () => {
    const config = { ...suite.config, "ingest.passages": "nested" as const };
    const file = path.join(folder, "nested.ndjson");
    writeFileSync(file, `${JSON.stringify({ _id: "1", text: LONG })}\n`);
    await ingestFiles({
      ...suite,
      config,
      inputs: [file],
      index: "ml-nested",
      deadLetters: path.join(folder, "dead-letters.ndjson"),
      signal: new AbortController().signal,
    });
    assert.equal(await meanOf("ml-nested"), undefined);
  });

  it("is that of a sample of a reindexing's source, and the next one takes it over with the vectors", async () => {
    await ingest("ml-source", [LONG, LONG, SHORT, SHORT]);
    const first = await suite.run({ from: ["ml-source"], alias: "ml-search" });
    assert.deepEqual([first.state, first.encoded, first.dead_letters], ["done", 4, 0]);
    const mean = await meanOf("ml-search-v1");
    assert.ok(mean !== undefined && mean >= 40 && mean <= 71, String(mean));
    await assertWeighedBy("ml-search-v1", mean);
    await ingest("ml-source", Array(20).fill(SHORT), 4);
    const second = await suite.run({ from: ["ml-source"], alias: "ml-search" });
    assert.deepEqual([second.state, second.encoded, second.reused], ["done", 20, 4]);
    assert.equal(await meanOf("ml-search-v2"), mean);
    await assertWeighedBy("ml-search-v2", mean);
  });
});
