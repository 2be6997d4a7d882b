import assert from "node:assert/strict";
import path from "node:path";
import { readVocabulary } from "../../../src/sparse/vocabulary.js";
import { isHashedId } from "../../../src/sparse/term-id.js";
import { readLexicon } from "../../../src/text/lexicon.js";
import { literalTokens, literalWords } from "../../../src/text/literal-terms.js";
import { termSpace } from "../../../src/text/term-space.js";
import { createTokenizer } from "../../../src/text/tokenizer.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";
import { WORD_PIECES, wordPieceFile } from "../../support/word-piece.js";

const vocabulary = readVocabulary(wordPieceFile);
const space = termSpace(
  readLexicon(path.join(tinyCheckpoint("lexical"), "lexicon.json")),
  vocabulary,
);
const row = (piece: string) => WORD_PIECES.indexOf(piece);

describe("a term space over WordPiece", () => {
  it("has the rows that are whole words, and neither pieces of words nor special tokens", () => {
    const rows = WORD_PIECES.filter((_, id) => space.idOfRow(id) !== undefined);
    assert.deepEqual(rows, [
      ...["cafe", "dead", "lock", "un", "naive", "uber", "deadlock", "deadlocks", "running"],
      ...["ran", "word", "ss"],
    ]);
  });

  it("takes the forms of a word for one term, that of the first row", () => {
    assert.equal(space.idOfRow(row("deadlocks")), row("deadlock"));
    assert.equal(space.idOfRow(row("deadlock")), row("deadlock"));
    const ids = space.words("Deadlocks: a dead lock").map(({ id }) => id);
    assert.deepEqual(ids, [row("deadlock"), row("dead"), row("lock")]);
  });

  it("hashes words that no row stands for, those with accents among them", () => {
    assert.ok(space.words("zebra café").every(({ id }) => isHashedId(id)));
  });

  it("finds the words of a text where they stand, whatever the tokenizer makes of them", () => {
    const text = "The CAFÉ's Deadlocks";
    const { starts, ends } = literalWords(text, space);
    const found = Array.from(starts, (start, i) => text.slice(start, ends[i]));
    assert.deepEqual(found, ["CAFÉ", "Deadlocks"]);
  });
});

describe("the tokens of WordPiece in a text", () => {
  const tokenizer = createTokenizer(wordPieceFile);

  function placed(text: string): string[] {
    const { starts, ends } = literalTokens(text, tokenizer.encode(text), vocabulary);
    return Array.from(starts, (start, i) => text.slice(start, ends[i]));
  }

  it("are found in any case, pieces of words too", () => {
    assert.deepEqual(placed("The DeadLocks, UNAFFABLE a日b"), [
      ...["The", "DeadLocks", ",", "UN", "AFFABLE", "a", "日", "b"],
    ]);
  });

  it("have no place where an accent was stripped or a word is unknown, and go on behind it", () => {
    assert.deepEqual(placed("the café, a zebra in the lock"), [
      ...["the", "", ",", "a", "", "in", "the", "lock"],
    ]);
  });
});
