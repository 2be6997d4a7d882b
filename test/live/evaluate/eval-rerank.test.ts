/** `csplade eval --modes rerank`, with a real cross-encoder behind a real index. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { runCsplade } from "../../support/csplade-command.js";
import { SENTENCES } from "../../support/encoded-index.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

describe("csplade eval --modes rerank", function () {
  this.timeout(120_000);
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-eval-rerank-"));
    mkdirSync(path.join(folder, "qrels"));
    const lines = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).join("\n");
    const corpus = SENTENCES.map((text, i) => ({ _id: `d${i}`, title: "", text }));
    writeFileSync(path.join(folder, "corpus.jsonl"), lines(corpus));
    const queries = [
      { _id: "q0", text: "fear of a confined space" },
      { _id: "q1", text: "cannot sleep" },
    ];
    writeFileSync(path.join(folder, "queries.jsonl"), lines(queries));
    const qrels = ["query-id\tcorpus-id\tscore", "q0\td0\t1", "q1\td1\t1"];
    writeFileSync(path.join(folder, "qrels", "test.tsv"), qrels.join("\n"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("compares a reranker of the first hits with plain scoring", async () => {
    const { code, out, err } = await runCsplade(
      folder,
      ["eval", "--data", folder, "--quiet", "--json", "--modes", "rerank", "--rerank", "5"],
      { CSPLADE_RERANK_MODEL: tinyCheckpoint("cross-encoder") },
    );
    assert.equal(code, 0, err);
    const { modes } = JSON.parse(out) as {
      readonly modes: readonly { readonly name: string; readonly "ndcg@10": number }[];
    };
    assert.deepEqual(
      modes.map(({ name }) => name),
      ["bm25", "plain", "rerank 5"],
    );
    for (const mode of modes) assert.ok(mode["ndcg@10"] > 0);
  });
});
