/** How the terms of a vector read, and which of them are the same word. */
import type { LexicalWord } from "./literals.js";
import { isHashedId } from "./term-id.js";
import type { Vocabulary } from "./vocabulary.js";

/** Names of terms. */
export interface TermNames {
  /** The readable term of an id; `#123` where it is not known. */
  term(id: number): string;
  /** The same for ids that are one word to people. */
  word(id: number): string | number;
}

/**
 * Names of a checkpoint's terms. Without a lexical part a word counts in any case and with or
 * without the space before it: for people "Cat" at the start of a text is the "cat" they asked
 * for, though it is another token. With one, every term is a word of its own.
 * @param words of the text or texts whose terms are named, where the model has a lexical part:
 * only they tell what a hashed id stands for.
 */
export function termNames(
  vocabulary: Pick<Vocabulary, "term">,
  words?: Iterable<Pick<LexicalWord, "id" | "term">>,
): TermNames {
  if (words === undefined) {
    return {
      term: (id) => vocabulary.term(id),
      word: (id) => wordOf(vocabulary.term(id)),
    };
  }
  const hashed = new Map<number, string>();
  for (const { id, term } of words) if (isHashedId(id)) hashed.set(id, term);
  return {
    term: (id) => (isHashedId(id) ? (hashed.get(id) ?? `#${id}`) : vocabulary.term(id)),
    word: (id) => id,
  };
}

function wordOf(term: string): string {
  return term.replace(/^·(?=.)/u, "").toLowerCase();
}
