import assert from "node:assert/strict";
import { createTokenizer } from "../../../src/text/tokenizer.js";
import { WORD_PIECES, wordPieceFile } from "../../support/word-piece.js";

const tokenizer = createTokenizer(wordPieceFile);

function piecesOf(text: string): string[] {
  return tokenizer.encode(text).map((id) => WORD_PIECES[id] ?? `no piece ${id}`);
}

function demandAll(expected: Readonly<Record<string, string>>): void {
  for (const [text, pieces] of Object.entries(expected)) {
    assert.equal(piecesOf(text).join(" "), pieces, JSON.stringify(text));
  }
}

/**
 * What is expected here, unless a title says otherwise, is what Python's `tokenizers` 0.23.3 gives:
 * `Tokenizer.from_str(json).encode(text, add_special_tokens=False).tokens`.
 */
describe("a WordPiece tokenizer", () => {
  it("cuts words in lower case and without accents into pieces", () => {
    demandAll({
      "The CAFÉ": "the cafe",
      "cafe\u0301": "cafe",
      "naïve Über": "naive uber",
      "Deadlocks, LOCKS!": "deadlocks , lock ##s !",
      unaffable: "un ##affable",
      wordwords: "word ##words",
      "a-b[a]'b": "a - b [ a ] ' b",
      "don't": "don ' t",
      "I İ K": "i i k",
      "ẞ ß": "ß ß",
      한: "ᄒ ##ᅡ ##ᆫ",
    });
  });

  it("gives the unknown token for a whole word that cannot be made of pieces", () => {
    demandAll({
      zebra: "[UNK]",
      "the zebras, the": "the [UNK] , the",
      wordz: "[UNK]",
      "ﬁ ½ 1２": "ﬁ ½ [UNK]",
      "∞": "[UNK]",
    });
  });

  it("splits Chinese characters", () => {
    demandAll({ 日本: "日 本", 日本語: "日 本 [UNK]", a日b: "a 日 b", "𠀀": "𠀀" });
  });

  it("keeps emoji in one word, and drops what joins them", () => {
    demandAll({ "😀": "😀", "a😀b": "a ##😀 ##b", "👩\u200d🚀": "👩 ##🚀" });
  });

  it("drops control and format characters, and cuts at any white space", () => {
    for (const none of [
      "\0",
      "\ufffd",
      "\u00ad",
      "\u200b",
      "\ufeff",
      "\u0085",
      "\u0001",
      "\ue000",
    ]) {
      demandAll({ [`a${none}b`]: "a ##b", [none]: "" });
    }
    for (const space of [" ", "\t", "\n", "\r", "\u00a0", "\u3000", "\u2028"]) {
      demandAll({ [`a${space}b`]: "a b", [space]: "" });
    }
    // Python takes no lone surrogates; here they are U+FFFD, which is dropped.
    demandAll({ "a\ud83db": "a ##b" });
  });

  it("takes words of more than 100 characters, by code point, for unknown", () => {
    demandAll({
      ["x".repeat(100)]: ["x", ...Array<string>(99).fill("##x")].join(" "),
      ["x".repeat(101)]: "[UNK]",
      ["😀".repeat(100)]: ["😀", ...Array<string>(99).fill("##😀")].join(" "),
      ["😀".repeat(101)]: "[UNK]",
    });
  });

  it("knows its special tokens where they stand in a text, but adds none", () => {
    demandAll({
      "": "",
      a: "a",
      "[CLS] a [SEP]": "[CLS] a [SEP]",
      "a[PAD]b": "a [PAD] b",
      "[cls]": "[ [UNK] ]",
      "[unused1]": "[ [UNK] ]",
    });
  });

  it("differs from Python's in two known places", () => {
    // A sigma at a word's end: Python lowers each character alone and gives σ ##α ##σ.
    assert.equal(piecesOf("ΣΑΣ").join(" "), "σ ##α ##ς");
    // Chinese characters from U+20000 on stay in their word: Python gives a 𠀀 b.
    assert.equal(piecesOf("a𠀀b").join(" "), "a ##𠀀 ##b");
  });
});

describe("a Unigram tokenizer", () => {
  it("cuts words into the likeliest pieces, a mark for the space before each word", () => {
    const pieces = ["<unk>", "▁", "▁cat", "s", "c", "a", "t", "▁ca", "中"];
    const unigram = createTokenizer({
      added_tokens: [],
      normalizer: null,
      post_processor: null,
      decoder: null,
      model: {
        type: "Unigram",
        unk_id: 0,
        vocab: pieces.map((piece): [string, number] => [piece, -1]),
      },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "WhitespaceSplit" },
          { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
        ],
      },
    });
    const cut = unigram.encode("cats  中 cat").map((id) => pieces[id]);
    assert.deepEqual(cut, ["▁cat", "s", "▁", "中", "▁cat"]);
  });
});
