import assert from "node:assert/strict";
import path from "node:path";
import fc from "fast-check";
import { firstPassage, splitPassages } from "../../../src/text/passages.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const tokenizer = createTokenizer(
  readTokenizerFile(path.join(tinyCheckpoint("bi"), "tokenizer.json")),
);
const limits = { max_tokens: 16, max_passages: 1_000 };

describe("passages of long documents", () => {
  it("cover the text without gaps or overlaps, within the token limit", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.lorem({ maxCount: 30 }), fc.string({ unit: "grapheme" }))),
        (parts) => {
          const text = parts.join(" ");
          const { passages, truncated } = splitPassages(text, tokenizer, limits);
          assert.equal(truncated, false);
          let at = 0;
          for (const passage of passages) {
            assert.ok(
              text.slice(at, passage.start).trim() === "",
              "nothing but white space between",
            );
            assert.ok(passage.end > passage.start);
            assert.ok(passage.ids.length <= limits.max_tokens);
            at = passage.end;
          }
          assert.ok(text.slice(at).trim() === "", "nothing but white space after the last one");
        },
      ),
      { numRuns: 300 },
    );
  });

  it("end at sentence ends where a sentence fits", () => {
    const text = "The first sentence is here. The second one follows it. And a third one ends it.";
    const { passages } = splitPassages(text, tokenizer, { ...limits, max_tokens: 20 });
    assert.ok(passages.length > 1);
    for (const { start, end } of passages) assert.match(text.slice(start, end).trim(), /\.$/);
  });

  it("never split a surrogate pair", () => {
    const text = "😀".repeat(3_000);
    for (const { start, end } of splitPassages(text, tokenizer, {
      max_tokens: 7,
      max_passages: 9_999,
    }).passages) {
      assert.ok(text.slice(start, end).isWellFormed());
    }
  });

  it("stop at max_passages and say that the text was truncated", () => {
    const text = "One more sentence for the pile. ".repeat(50);
    const cut = splitPassages(text, tokenizer, { max_tokens: 16, max_passages: 3 });
    assert.equal(cut.passages.length, 3);
    assert.equal(cut.truncated, true);
  });

  it("take a megabyte without a single space in bounded time", () => {
    const text = "x".repeat(1_000_000);
    const cut = splitPassages(text, tokenizer, { max_tokens: 16, max_passages: 5 });
    assert.equal(cut.passages.length, 5);
    assert.equal(cut.truncated, true);
  });

  it("are none for a blank text", () => {
    assert.deepEqual(splitPassages(" \n\t ", tokenizer, limits), {
      passages: [],
      truncated: false,
    });
  });
});

describe("queries", () => {
  it("are cut at the limit, which is reported", () => {
    const cut = firstPassage("word ".repeat(100_000), tokenizer, 8);
    assert.equal(cut.passages[0]?.ids.length, 8);
    assert.equal(cut.truncated, true);
  });

  it("within the limit are whole", () => {
    assert.equal(firstPassage("  a short question ", tokenizer, 16).truncated, false);
  });
});
