/**
 * The terms of a model with a lexical part: stems of whole words. A row of the vocabulary that
 * is such a word (a space before it) is a form of its stem; pieces of words are no terms.
 */
import { hashedId } from "../sparse/term-id.js";
import type { Vocabulary } from "../sparse/vocabulary.js";
import type { Lexicon } from "./lexicon.js";
import { stemOf } from "./stem.js";
import { findWords, wordTexts, type Word } from "./words.js";

/** A word of a text that counts, and its term. */
export interface CountedWord extends Word {
  readonly stem: string;
  readonly id: number;
}

/** The terms of a checkpoint. */
export interface TermSpace {
  readonly lexicon: Lexicon;
  /**
   * The id of a stem: the smallest row that is a form of it, else its hash. Where the model's terms
   * are kept apart, always its hash.
   */
  id(stem: string): number;
  /** The id of the term that a row is a form of; nothing for rows that are no whole words. */
  idOfRow(row: number): number | undefined;
  /** The stem of a term that a row is a form of. */
  stemOfId(id: number): string | undefined;
  /** The words of a text that count, in order: stop words only where there is nothing else. */
  words(text: string): CountedWord[];
  /** Their stems alone, which is much faster. */
  stems(text: string): string[];
}

const SPACE = 0x20;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The terms of a vocabulary and a lexicon. */
export function termSpace(
  lexicon: Lexicon,
  vocabulary: Pick<Vocabulary, "size" | "bytes">,
): TermSpace {
  const { stop_words, model_terms } = lexicon;
  const ids = new Map<string, number>();
  const rows = new Map<number, number>();
  const stems = new Map<number, string>();
  for (let row = 0; row < vocabulary.size; row++) {
    const word = wholeWord(vocabulary.bytes(row));
    if (word === undefined || stop_words.has(word)) continue;
    const stem = stemOf(word);
    const id = ids.get(stem) ?? row;
    ids.set(stem, id);
    stems.set(id, stem);
    rows.set(row, id);
  }
  const idOfStem = (stem: string): number =>
    (model_terms === "apart" ? undefined : ids.get(stem)) ?? hashedId(stem);
  return {
    lexicon,
    id: idOfStem,
    idOfRow: (row) => rows.get(row),
    stemOfId: (id) => stems.get(id),
    words(text) {
      const found = findWords(text);
      const telling = found.filter((word) => !stop_words.has(word.text));
      return (telling.length === 0 ? found : telling).map((word) => {
        const stem = stemOf(word.text);
        return { ...word, stem, id: idOfStem(stem) };
      });
    },
    stems(text) {
      const found = wordTexts(text);
      const telling = found.filter((word) => !stop_words.has(word));
      return (telling.length === 0 ? found : telling).map(stemOf);
    },
  };
}

/** The word of at least two characters that a row consists of, behind its space, in lower case. */
function wholeWord(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined || bytes.length < 3 || bytes[0] !== SPACE) return undefined;
  let text: string;
  try {
    text = utf8.decode(bytes.subarray(1));
  } catch {
    return undefined;
  }
  const [word, ...others] = wordTexts(text);
  const isWhole = word !== undefined && others.length === 0 && word === text.toLowerCase();
  return isWhole && Array.from(word).length > 1 ? word : undefined;
}
