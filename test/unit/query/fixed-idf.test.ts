import assert from "node:assert/strict";
import fc from "fast-check";
import {
  codeOf,
  idfOf,
  NOT_FOUND,
  AS_MODEL,
  readFixedIdf,
  writeFixedIdf,
} from "../../../src/query/fixed-idf.js";
import type { IdfRange } from "../../../src/sparse/idf.js";

const RANGE: IdfRange = [0.02, 9];
const word = fc.record({
  id: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  term: fc.constant("w"),
  count: fc.nat(3),
  idf: fc.constant(1),
});
const question = fc.array(word, { minLength: 1, maxLength: 40 }).chain((words) =>
  fc.record({
    words: fc.constant(words),
    codes: fc
      .array(fc.integer({ min: 0, max: 0xffff }), {
        minLength: words.length,
        maxLength: words.length,
      })
      .map((codes) => Uint16Array.from(codes)),
  }),
);

describe("an idf that is carried from page to page", () => {
  it("is within 0.01 % of what it was, and has no code that means something else", () => {
    fc.assert(
      fc.property(fc.double({ min: 0.02, max: 9, noNaN: true }), (idf) => {
        const code = codeOf(idf, RANGE);
        assert.ok(code !== NOT_FOUND && code !== AS_MODEL);
        assert.ok(Math.abs(idfOf(code, RANGE) - idf) < 1e-4 * idf);
      }),
    );
  });

  it("comes back as it was written, for the questions it was written for", () => {
    fc.assert(
      fc.property(fc.array(question, { minLength: 1, maxLength: 4 }), (questions) => {
        const read = readFixedIdf(writeFixedIdf(questions));
        const last = questions.at(-1)!;
        assert.deepEqual(read?.of(last.words), last.codes);
        assert.equal(read.of([...last.words, { ...last.words[0]!, id: 77 }]), undefined);
      }),
    );
  });

  it("is nothing where a client sends something else back", () => {
    const text = writeFixedIdf([
      { words: [{ id: 1, term: "a", count: 1, idf: 1 }], codes: Uint16Array.of(5) },
    ]);
    assert.equal(readFixedIdf(text.slice(0, -3)), undefined);
    assert.equal(readFixedIdf("a value of the caller's own"), undefined);
    fc.assert(fc.property(fc.string(), (tail) => void readFixedIdf(text + tail)));
  });
});
