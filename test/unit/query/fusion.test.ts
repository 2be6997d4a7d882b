import assert from "node:assert/strict";
import fc from "fast-check";
import { minMax, reciprocalRank, type Ranked } from "../../../src/query/fusion.js";

/** Rankings of documents 0 to 19, best first. */
const ranking: fc.Arbitrary<Ranked[]> = fc
  .uniqueArray(
    fc.record({ key: fc.nat(19).map(String), score: fc.double({ min: 0.1, max: 50 }) }),
    {
      selector: ({ key }) => key,
      maxLength: 20,
    },
  )
  .map((hits) => hits.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score));

describe("fusion of rankings", () => {
  it("has every document once, best first, its score the sum of its shares", () => {
    fc.assert(
      fc.property(fc.tuple(ranking, ranking), (rankings) => {
        for (const fused of [reciprocalRank(rankings, 60), minMax(rankings, [0.3, 0.7])]) {
          const keys = new Set(rankings.flat().map(({ key }) => key));
          assert.deepEqual(new Set(fused.map(({ key }) => key)), keys);
          assert.equal(fused.length, keys.size);
          for (const [i, { score, parts, key }] of fused.entries()) {
            assert.ok(i === 0 || score <= (fused[i - 1] as Ranked).score);
            const shares = parts.map((part) => part?.share ?? 0);
            assert.ok(Math.abs(score - shares.reduce((sum, share) => sum + share, 0)) < 1e-12);
            for (const [which, part] of parts.entries()) {
              const place = rankings[which]?.findIndex((hit) => hit.key === key) ?? -1;
              assert.equal(part?.rank, place < 0 ? undefined : place + 1);
            }
          }
        }
      }),
    );
  });

  it("by reciprocal rank is 1 / (rank_constant + rank), summed", () => {
    const first = [
      { key: "a", score: 9 },
      { key: "b", score: 1 },
    ];
    const [top, next] = reciprocalRank([first, [{ key: "b", score: 3 }]], 60);
    assert.deepEqual([top?.key, next?.key], ["b", "a"]);
    assert.equal(top?.score, 1 / 62 + 1 / 61);
  });

  it("by normalized sum gives the last hit more than a miss, and equal scores all 1", () => {
    const first = [
      { key: "a", score: 9 },
      { key: "b", score: 5 },
      { key: "c", score: 1 },
    ];
    const scores = new Map(minMax([first, []], [0.5, 0.5]).map(({ key, score }) => [key, score]));
    assert.deepEqual([scores.get("a"), scores.get("b"), scores.get("c")], [0.5, 0.25, 0.0005]);
    const equal = [
      { key: "a", score: 2 },
      { key: "b", score: 2 },
    ];
    assert.deepEqual(
      minMax([equal], [1]).map(({ score }) => score),
      [1, 1],
    );
  });
});
