import assert from "node:assert/strict";
import fc from "fast-check";
import { rank } from "../../../src/evaluate/run.js";
import { formatRun, parseRun } from "../../../src/evaluate/run-file.js";

const word = fc.string({ minLength: 1, maxLength: 8 }).filter((text) => /^\S+$/.test(text));

describe("run file", () => {
  it("has trec_eval's six columns", () => {
    const run = new Map([
      [
        "q1",
        [
          { id: "d7", score: 0.5 },
          { id: "d3", score: 12.5 },
        ],
      ],
    ]);
    assert.equal(formatRun(run, "csplade"), "q1 Q0 d3 1 12.5 csplade\nq1 Q0 d7 2 0.5 csplade\n");
  });

  it("comes back as it was written", () => {
    const documents = fc.uniqueArray(
      fc.record({ id: word, score: fc.float({ noNaN: true, noDefaultInfinity: true }) }),
      { selector: ({ id }) => id, minLength: 1, maxLength: 10 },
    );
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(word, documents), { selector: ([id]) => id }),
        (entries) => {
          const run = new Map(entries.map(([query, hits]) => [query, rank(hits)]));
          const back = parseRun(formatRun(run, "t"), "run.txt");
          assert.deepEqual(
            [...back].map(([query, hits]) => [query, hits.map(({ id }) => id)]),
            [...run].map(([query, hits]) => [query, hits.map(({ id }) => id)]),
          );
        },
      ),
    );
  });

  it("names the line that is wrong", () => {
    const good = "q Q0 d 1 2 t\n";
    for (const [line, message] of [
      ["q Q0 d 1 2", /run.txt, line 2 has 5 columns/],
      ["q Q0 e 1 high t", /run.txt, line 2 has the score high/],
      ["q Q0 d 1 3 t", /run.txt, line 2 repeats document d for query q/],
    ] as const) {
      assert.throws(() => parseRun(good + line, "run.txt"), message);
    }
  });

  it("refuses an id that would shift its columns", () => {
    assert.throws(() => formatRun(new Map([["q", [{ id: "a b", score: 1 }]]]), "t"), /white space/);
  });
});
