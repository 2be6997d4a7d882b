import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { readVocabulary, type Vocabulary } from "../../../src/sparse/vocabulary.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";
import { WORD_PIECES, wordPieceFile } from "../../support/word-piece.js";

/** GPT-2's table, written down independently of the code under test. */
function pieceOf(bytes: Uint8Array): string {
  const printable = [...Array(256).keys()].filter(
    (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte < 173) || byte > 173,
  );
  const others = [...Array(256).keys()].filter((byte) => !printable.includes(byte));
  return [...bytes]
    .map((byte) =>
      String.fromCharCode(printable.includes(byte) ? byte : 256 + others.indexOf(byte)),
    )
    .join("");
}

function byteLevel(texts: readonly (string | Uint8Array)[]): Vocabulary {
  const pieces = texts.map((text) =>
    pieceOf(typeof text === "string" ? new TextEncoder().encode(text) : text),
  );
  return readVocabulary({
    model: { vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])) },
  });
}

function wordPiece(
  pieces: readonly string[],
  { prefix, added = [] }: { prefix?: string; added?: readonly string[] } = {},
): Vocabulary {
  return readVocabulary({
    model: {
      type: "WordPiece",
      continuing_subword_prefix: prefix,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    },
    added_tokens: added.map((content, i) => ({ id: pieces.length + i, content })),
  });
}

function demandDistinct(vocabulary: Vocabulary): void {
  const terms = termsOf(vocabulary);
  assert.equal(new Set(terms).size, terms.length);
  terms.forEach((term, id) => assert.equal(vocabulary.id(term), id));
}

function termsOf(vocabulary: Vocabulary): string[] {
  return [...Array(vocabulary.size).keys()].map((id) => vocabulary.term(id));
}

describe("vocabulary", () => {
  it("shows words as words, and marks a piece without its space only beside its twin", () => {
    const vocabulary = byteLevel([" cat", "cat", "ization", " Über", " 日本", "é"]);
    assert.deepEqual(termsOf(vocabulary), ["cat", "·cat", "ization", "Über", "日本", "é"]);
  });

  it("shows spaces, control characters and invisible ones as signs", () => {
    const vocabulary = byteLevel([
      " ",
      "  ",
      "  if",
      "a b",
      "\n",
      "\t",
      "\u200b",
      "\0",
      "\\",
      "\u00a0",
    ]);
    assert.deepEqual(termsOf(vocabulary), [
      "␠",
      "␠␠",
      "␠␠if",
      "a␠b",
      "\\n",
      "\\t",
      "\\u{200b}",
      "\\u{0}",
      "\\\\",
      "\\u{a0}",
    ]);
  });

  it("shows text that looks like one of our signs apart from the sign", () => {
    const vocabulary = byteLevel([" cat", "cat", "·cat", "\ufeff", "\u0301", "\\n", "\n"]);
    assert.deepEqual(termsOf(vocabulary), [
      "cat",
      "·cat",
      "\\u{b7}cat",
      "\\u{feff}",
      "\\u{301}",
      "\\\\n",
      "\\n",
    ]);
  });

  it("shows bytes that are no UTF-8 as bytes, and text that looks like it as text", () => {
    const vocabulary = byteLevel([
      Uint8Array.of(0xe2, 0x80),
      Uint8Array.of(0x20, 0xf0, 0x9f),
      "<0xE2 0x80>",
    ]);
    assert.deepEqual(termsOf(vocabulary), ["<0xE2 0x80>", "<0x20 0xF0 0x9F>", "\\u{3c}0xE2␠0x80>"]);
  });

  it("reads SentencePiece's spelling", () => {
    const vocabulary = readVocabulary({
      model: { vocab: { "▁cat": 0, cat: 1, "<0x0A>": 2, "<0xE2>": 3, "▁": 4, 猫: 5 } },
      added_tokens: [{ id: 6, content: "</s>" }],
    });
    assert.deepEqual(termsOf(vocabulary), ["cat", "·cat", "\\n", "<0xE2>", "␠", "猫", "</s>"]);
  });

  it("reads WordPiece's spelling: pieces start words unless they have the prefix", () => {
    const vocabulary = readVocabulary(wordPieceFile);
    const term = (piece: string) => vocabulary.term(WORD_PIECES.indexOf(piece));
    const text = (piece: string) =>
      new TextDecoder().decode(vocabulary.bytes(WORD_PIECES.indexOf(piece)));
    const expected = {
      cafe: ["cafe", " cafe"],
      lock: ["lock", " lock"],
      "##lock": ["·lock", "lock"],
      "##affable": ["affable", "affable"],
      日: ["日", " 日"],
      "##本": ["·本", "本"],
      "·": ["\\u{b7}", " ·"],
      "##·": ["·\\u{b7}", "·"],
      "#": ["#", " #"],
      "###": ["·#", "#"],
      "##": ["##", " ##"],
      "[unused1]": ["[unused1]", " [unused1]"],
      "[CLS]": ["[CLS]", "[CLS]"],
    };
    for (const [piece, shown] of Object.entries(expected)) {
      assert.deepEqual([term(piece), text(piece)], shown, piece);
    }
    demandDistinct(vocabulary);
  });

  it("takes WordPiece's prefix from the file, whatever characters the pieces have", () => {
    const bytes = (vocabulary: Vocabulary) =>
      [...Array(vocabulary.size).keys()].map((id) =>
        new TextDecoder().decode(vocabulary.bytes(id)),
      );
    const pieces = ["cat", "@@s", "##s", "Ġcat", "▁cat", "<0x0A>"];
    const words = [" Ġcat", " ▁cat", " <0x0A>"];
    assert.deepEqual(bytes(wordPiece(pieces)), [" cat", " @@s", "s", ...words]);
    assert.deepEqual(bytes(wordPiece(pieces, { prefix: "@@" })), [" cat", "s", " ##s", ...words]);
    assert.deepEqual(bytes(wordPiece(["cat", "s"], { prefix: "" })), [" cat", " s"]);
  });

  it("finds each id of a WordPiece vocabulary again, whatever its pieces", () => {
    const chunk = fc.oneof(
      fc.constantFrom("##", "#", " ", "·", "cat", "#1", "<0xE2>", "\\#3", "\u0301", "␠", "Ġ", "▁"),
      fc.string({ unit: "binary", maxLength: 4 }),
    );
    const text = fc.array(chunk, { maxLength: 3 }).map((chunks) => chunks.join(""));
    const piece = fc.tuple(fc.constantFrom("", "##"), text).map((parts) => parts.join(""));
    fc.assert(
      fc.property(
        fc.uniqueArray(piece, { maxLength: 80 }),
        fc.array(text, { maxLength: 5 }),
        fc.constantFrom("##", "", "#"),
        (pieces, added, prefix) => demandDistinct(wordPiece(pieces, { prefix, added })),
      ),
    );
  });

  it("shows added tokens as they are, and apart from pieces of the same text", () => {
    const vocabulary = readVocabulary({
      model: { vocab: { "<|end|>": 0, Ġcat: 1 } },
      added_tokens: [
        { id: 0, content: "<|end|>" },
        { id: 2, content: "cat" },
      ],
    });
    assert.deepEqual(termsOf(vocabulary), ["<|end|>", "cat", "cat\\#2"]);
  });

  it("names an id that it lacks by its number, and never a piece so", () => {
    const vocabulary = byteLevel(["#7", "a"]);
    assert.equal(vocabulary.term(7), "#7");
    assert.equal(vocabulary.term(0), "\\u{23}7");
    assert.equal(vocabulary.id("#7"), undefined);
  });

  it("gives distinct terms to distinct pieces, and finds each id again", () => {
    const chunk = fc.oneof(
      fc.constantFrom(" ", "  ", "·", "cat", "#1", "<0xE2>", "\\u{b7}", "\u0301", "\ufeff", "␠"),
      fc.string({ unit: "binary", maxLength: 4 }),
    );
    const piece = fc.oneof(
      fc
        .array(chunk, { minLength: 1, maxLength: 3 })
        .map((chunks) => pieceOf(new TextEncoder().encode(chunks.join("")))),
      fc.uint8Array({ minLength: 1, maxLength: 6 }).map(pieceOf),
    );
    const added = fc.array(chunk, { maxLength: 5 });
    fc.assert(
      fc.property(fc.uniqueArray(piece, { maxLength: 80 }), added, (pieces, contents) => {
        const vocabulary = readVocabulary({
          model: { vocab: Object.fromEntries(pieces.map((text, id) => [text, id])) },
          added_tokens: contents.map((content, i) => ({ id: pieces.length + i, content })),
        });
        const terms = termsOf(vocabulary);
        assert.equal(new Set(terms).size, terms.length);
        terms.forEach((term, id) => assert.equal(vocabulary.id(term), id));
        assert.ok(terms.every((term) => !/[\p{Cc}\p{Z}]/u.test(term) || term.startsWith("<0x")));
      }),
    );
  });

  it("gives distinct, printable terms to every token of a real checkpoint", () => {
    const file = path.join(tinyCheckpoint("bi"), "tokenizer.json");
    const vocabulary = readVocabulary(JSON.parse(readFileSync(file, "utf8")));
    const terms = termsOf(vocabulary);
    assert.ok(terms.length >= 1000);
    assert.equal(new Set(terms).size, terms.length);
    terms.forEach((term, id) => assert.equal(vocabulary.id(term), id));
    assert.ok(terms.every((term) => !/[\p{Cc}\u0120\u010a]/u.test(term)));
  });

  it("refuses a file that is not a tokenizer, and two pieces with one id", () => {
    for (const wrong of [{}, null, { model: {} }, { model: { vocab: { a: "1" } } }]) {
      assert.throws(
        () => readVocabulary(wrong),
        (error) => error instanceof CspladeError && error.code === "model_invalid",
      );
    }
    assert.throws(() => readVocabulary({ model: { vocab: { a: 1, b: 1 } } }), /two pieces/);
  });
});

describe("the vocabulary of a Unigram model", () => {
  it("has its pieces in the order of a list, and their scores are no ids", () => {
    const pieces = ["<s>", "<unk>", "▁cat", "s", "cat", "▁", "中"];
    const vocabulary = readVocabulary({
      model: { type: "Unigram", unk_id: 1, vocab: pieces.map((piece, i) => [piece, -i]) },
      added_tokens: [{ id: 0, content: "<s>" }],
    });
    assert.equal(vocabulary.size, pieces.length);
    assert.deepEqual(
      [2, 3, 4, 6].map((id) => vocabulary.term(id)),
      ["cat", "s", "·cat", "中"],
    );
    demandDistinct(vocabulary);
  });
});
