import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { hashedId } from "../../../src/sparse/term-id.js";
import { readVocabulary } from "../../../src/sparse/vocabulary.js";
import { readLexicon } from "../../../src/text/lexicon.js";
import { stemOf } from "../../../src/text/stem.js";
import { termSpace } from "../../../src/text/term-space.js";
import { findWords, wordTexts } from "../../../src/text/words.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const folder = tinyCheckpoint("lexical");

/** What `training/csplade_train/lexicon.py` makes of the same texts. */
const expected = JSON.parse(readFileSync(path.join(folder, "words.json"), "utf8")) as {
  readonly words: readonly {
    readonly text: string;
    readonly words: readonly string[];
    readonly stems: readonly string[];
    readonly ids: readonly number[];
  }[];
  readonly hashes: Readonly<Record<string, number>>;
  readonly stems: Readonly<Record<string, string>>;
};

const vocabulary = readVocabulary(
  JSON.parse(readFileSync(path.join(folder, "tokenizer.json"), "utf8")),
);
const space = termSpace(readLexicon(path.join(folder, "lexicon.json")), vocabulary);

/** Texts of many scripts, with the characters that fold to several, to none, or together. */
const text = fc
  .array(
    fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 8 }),
      fc.string({ unit: "binary", maxLength: 8 }),
      fc.constantFrom(
        ...[
          "ΣΑΣ",
          "Σ",
          "ﬁ",
          "½",
          "㎏",
          "İ",
          "ẞ",
          "コーヒー",
          "ﾎﾟ",
          "日本語text",
          "e\u0301",
          "한국",
        ],
        ...[" ", "\n", "_", "'", "\u0338", "\u0308", "\u200d", "=", "x".repeat(70)],
      ),
    ),
    { maxLength: 20 },
  )
  .map((parts) => parts.join(""));

const folded = (part: string) =>
  part.normalize("NFKC").toLowerCase().replaceAll("ς", "σ").normalize("NFKC");

describe("words", () => {
  it("are those that Python finds, whatever the script", () => {
    for (const each of expected.words) {
      const found = findWords(each.text).map((word) => word.text);
      assert.deepEqual(found, each.words, JSON.stringify(each.text));
    }
  });

  it("stand where their offsets say, in order", () => {
    fc.assert(
      fc.property(text, (whole) => {
        let before = 0;
        for (const word of findWords(whole)) {
          assert.ok(word.start >= before && word.end > word.start && word.end <= whole.length);
          before = word.start;
          const slice = folded(whole.slice(word.start, word.end));
          assert.ok(slice.includes(word.text), JSON.stringify([whole, word, slice]));
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it("are the same with and without their places", () => {
    fc.assert(
      fc.property(text, (whole) => {
        const placed = findWords(whole).map((word) => word.text);
        assert.deepEqual(wordTexts(whole), placed);
        assert.deepEqual(
          space.stems(whole),
          space.words(whole).map(({ stem }) => stem),
        );
      }),
      { numRuns: 1_000 },
    );
  });

  it("are the same in a text that is folded already", () => {
    fc.assert(
      fc.property(text, (whole) => {
        const once = findWords(whole).map((word) => word.text);
        const again = findWords(folded(whole)).map((word) => word.text);
        assert.deepEqual(again, once);
      }),
      { numRuns: 1_000 },
    );
  });

  it("do not depend on what stands before and after them", () => {
    fc.assert(
      fc.property(text, text, (left, right) => {
        const apart = [...findWords(left), ...findWords(right)].map((word) => word.text);
        const together = findWords(`${left} ${right}`).map((word) => word.text);
        assert.deepEqual(together, apart);
      }),
    );
  });
});

describe("terms of words", () => {
  it("are the stems and ids that Python gives, stop words only where there is nothing else", () => {
    for (const each of expected.words) {
      const words = space.words(each.text);
      assert.deepEqual(
        words.map(({ stem }) => stem),
        each.stems,
        JSON.stringify(each.text),
      );
      assert.deepEqual(
        words.map(({ id }) => id),
        each.ids,
        JSON.stringify(each.text),
      );
    }
    assert.deepEqual(
      space.words("the who").map((word) => word.text),
      ["the", "who"],
    );
  });

  it("are stemmed by Porter2 if they are of plain letters", () => {
    for (const [word, stem] of Object.entries(expected.stems)) assert.equal(stemOf(word), stem);
  });

  it("have ids that are a row of theirs, or a hash beyond all rows", () => {
    for (const [stem, id] of Object.entries(expected.hashes)) assert.equal(hashedId(stem), id);
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (stem) => {
        const id = hashedId(stem);
        assert.ok(Number.isInteger(id) && id >= 0x8000_0000 && id <= 0xffff_ffff);
      }),
    );
    let rows = 0;
    for (let row = 0; row < vocabulary.size; row++) {
      const id = space.idOfRow(row);
      if (id === undefined) continue;
      rows += 1;
      assert.ok(id <= row);
      assert.equal(space.idOfRow(id), id, "the smallest row is a form of its own term");
      const [word] = space.words(vocabulary.term(row));
      assert.equal(word?.id, id, vocabulary.term(row));
    }
    assert.ok(rows > 300, `${rows} rows are words`);
  });
});
