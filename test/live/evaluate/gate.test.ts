/** The gate of `csplade eval`: what is demanded of a result, on the real index it makes. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { runCsplade } from "../../support/csplade-command.js";

const qrels = [
  ["q1", "d1", 1],
  ["q2", "d2", 1],
  ["q3", "d3", 2],
] as const;

describe("the gate of csplade eval", function () {
  this.timeout(120_000);
  let folder: string;
  let data: string;

  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-gate-"));
    data = path.join(folder, "terms");
    mkdirSync(path.join(data, "qrels"), { recursive: true });
    const texts = ["a fear of a confined space", "an inability to sleep", "who studies the stars"];
    const lines = (name: string) =>
      texts.map((text, i) => `${JSON.stringify({ _id: `${name}${i + 1}`, text })}\n`).join("");
    writeFileSync(path.join(data, "corpus.jsonl"), lines("d"));
    writeFileSync(path.join(data, "queries.jsonl"), lines("q"));
    const rows = ["query-id\tcorpus-id\tscore", ...qrels.map((row) => row.join("\t")), ""];
    writeFileSync(path.join(data, "qrels", "test.tsv"), rows.join("\n"));
  });
  after(() => rmSync(folder, { recursive: true }));

  const run = (args: readonly string[]) => runCsplade(folder, args);

  it("ends with 5 and a sentence where a requirement is not met or a saved result is better", async () => {
    const base = ["eval", "--data", data, "--quiet"];
    const best = path.join(folder, "best.run");
    const all = qrels.map(([query, id, grade]) => `${query} Q0 ${id} 1 ${grade} ideal\n`);
    writeFileSync(best, all.join(""));
    const passed = await run([...base, "--require", "ndcg@10>=0.0,recall@5>=0", "--json"]);
    assert.equal(passed.code, 0, passed.err);
    const { gate } = JSON.parse(passed.out) as { gate: { passed: boolean; checks: object[] } };
    assert.deepEqual([gate.passed, gate.checks.length], [true, 2]);
    const failed = await run([...base, "--require", "precision@10>=0.5,recall@2>=0", "--json"]);
    assert.equal(failed.code, 5, failed.err);
    assert.match(failed.err, /precision@10 is 0\.\d{4}; at least 0\.5 is required/);
    JSON.parse(failed.out);
    // Three queries cannot tell a difference from chance: p is 0.25 at best.
    const compared = await run([...base, "--no-worse-than", best]);
    assert.equal(compared.code, 0, compared.err);
    assert.match(compared.out, /ndcg@10 is [01]\.\d{4} against 1\.0000 of .*best\.run.*\(p = \d/);
    const usage = await run([
      "eval",
      "--compare",
      best,
      best,
      "--data",
      data,
      "--require",
      "ndcg@10>=1",
    ]);
    assert.equal(usage.code, 2, usage.err);
  });
});
