import assert from "node:assert/strict";
import {
  MOST_TURNS,
  readTurns,
  TURN_CHARACTERS,
  withHistory,
} from "../../../src/query/conversation.js";
import { sparseVector, termsOf } from "../../../src/sparse/sparse-vector.js";

const worded = (...terms: [number, number][]) => ({
  vector: sparseVector(terms),
  words: terms.map(([id]) => ({ id, term: `w${id}`, count: 1, idf: 2 })),
});

describe("a question with its conversation", () => {
  it("keeps the question's own terms at full weight and fades turns the longer ago they were", () => {
    const merged = withHistory(worded([1, 2]), [worded([3, 4]), worded([1, 3], [2, 2])], 0.5);
    assert.deepEqual(
      [...termsOf(merged.vector)],
      [
        [1, 2],
        [2, 1],
        [3, 1],
      ],
    );
    const counts = Object.fromEntries((merged.words ?? []).map(({ id, count }) => [id, count]));
    assert.deepEqual(counts, { 1: 1, 2: 0.5, 3: 0.25 });
  });

  it("is the question itself without turns or with decay 0, and refuses a decay outside 0 to 1", () => {
    const question = worded([1, 2]);
    assert.equal(withHistory(question, [], 0.5), question);
    assert.equal(withHistory(question, [worded([2, 2])], 0), question);
    for (const decay of [-0.1, 1.1, Number.NaN]) {
      assert.throws(() => withHistory(question, [], decay), { code: "query_invalid" });
    }
  });

  it("reads the latest turns, each up to its limit, and no blank ones", () => {
    const turns = readTurns([...Array.from({ length: 20 }, (_, i) => `turn ${i}`), " "]);
    assert.equal(turns.length, MOST_TURNS);
    assert.equal(turns.at(-1), "turn 19");
    assert.equal(readTurns(["x".repeat(9_000)])[0]?.length, TURN_CHARACTERS);
  });
});
