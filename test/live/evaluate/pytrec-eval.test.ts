/** Our metrics and run files against pytrec_eval itself, in a Python that has it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { parseQrels } from "../../../src/evaluate/beir.js";
import { headlineMetrics, runMetrics, type MetricName } from "../../../src/evaluate/metrics.js";
import { formatRun } from "../../../src/evaluate/run-file.js";
import { pytrecEvalFigures, pytrecEvalPython } from "../../support/pytrec-eval.js";

const names: readonly MetricName[] = [
  ...headlineMetrics,
  "ndcg@1",
  "ndcg@100",
  "mrr@100",
  "map@10",
  "recall@1000",
  "precision@5",
];

/** Ids that sort differently as numbers, as UTF-16 and as bytes. */
const id = fc.oneof(
  fc.integer({ min: 1, max: 40 }).map((n) => `d${n}`),
  fc.constantFrom("é", "zebra", "\u{1f600}", "\uffee", "Z"),
);
/** Few different scores make ties; some differ only beyond float32. */
const score = fc.oneof(
  fc.integer({ min: 0, max: 4 }),
  fc.constantFrom(1.5, 1.50000001, 16777216, 16777217, 1e-9, -2.25),
);
const collection = fc.array(
  fc.record({
    grades: fc.dictionary(id, fc.integer({ min: -1, max: 3 }), { minKeys: 1 }),
    hits: fc.dictionary(id, score),
  }),
  { minLength: 150, maxLength: 150 },
);

describe("metrics and run files against pytrec_eval", function () {
  this.timeout(300_000);
  let python: string;

  before(function () {
    const found = pytrecEvalPython();
    if ("missing" in found) {
      process.stderr.write(`pytrec_eval SKIPPED, nothing was compared: ${found.missing}\n`);
      this.skip();
    }
    python = found.python;
  });

  it("agree to four decimals on random judgements and runs, written and read as files", () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "csplade-pytrec-"));
    try {
      for (const [round, queries] of fc.sample(collection, { numRuns: 4, seed: 20 }).entries()) {
        const run = new Map(
          queries.map(({ hits }, i) => [
            `q${i}`,
            Object.entries(hits).map(([document, value]) => ({ id: document, score: value })),
          ]),
        );
        const qrels = queries.flatMap(({ grades }, i) =>
          Object.entries(grades).map(([document, grade]) => `q${i}\t${document}\t${grade}\n`),
        );
        const [runFile, qrelsFile] = [path.join(folder, "run"), path.join(folder, "qrels.tsv")];
        writeFileSync(runFile, formatRun(run, "random"));
        writeFileSync(qrelsFile, qrels.join(""));
        const expected = pytrecEvalFigures(python, qrelsFile, runFile, names);
        const actual = runMetrics(run, parseQrels(qrels.join(""), qrelsFile), names);
        assert.equal(actual.size, Object.keys(expected).length);
        for (const [query, metrics] of actual) {
          for (const name of names) {
            const [ours = NaN, theirs = NaN] = [metrics[name], expected[query]?.[name]];
            assert.ok(
              Math.abs(ours - theirs) < 5e-6,
              `round ${round}, ${query}, ${name}: ${ours} ≠ ${theirs}`,
            );
          }
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
