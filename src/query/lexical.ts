/**
 * Searching an index that was never encoded: the question's own words by BM25, and beside them the
 * words that the model adds to it, each through the field's own analyzer. The index needs no vectors,
 * and nothing is written (the query's side of uniCOIL and DeepImpact; semi-parametric retrieval).
 *
 *     score(d) = BM25(question, d) + expansion Σ m(t) u / √idf(t) BM25(t, d)
 *
 * m is the model's weight of an added word t, and u and idf are those of its lexical part: a
 * document with vectors holds u √idf(t) for a word where BM25 holds idf(t).
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { LexicalWord } from "../sparse/literals.js";
import { termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { isHashedId } from "../sparse/term-id.js";
import type { Vocabulary } from "../sparse/vocabulary.js";

/** Options of mode `lexical`. */
export interface LexicalOptions {
  /** Factor of the added words, 0 (plain BM25) to 10; 0.5 without it. */
  readonly expansion: number;
  /** Text fields to search, which share one analyzer; those of the mapping without it. */
  readonly text_fields?: readonly string[] | undefined;
}

/** A word that a model adds to a question. */
export interface AddedWord {
  /** As it stands in texts: the field's analyzer makes a term of it. */
  readonly word: string;
  /** What it weighs beside a word of the question, > 0. */
  readonly boost: number;
}

/** Named queries of added words begin so, to tell them from the caller's. */
export const ADDED_WORD = "csplade added word: ";

const DEFAULT_EXPANSION = 0.5;

/** √idf of a word that the lexicon does not count: that of one in a thousand texts, about. */
const USUAL_ROOT_IDF = 2.5;

/** Pieces of words and signs are no words to an analyzer. */
const WHOLE_WORD = /^[\p{L}\p{M}]{2,}$/u;

/**
 * The words that a model adds to a question, heaviest first.
 * @param words the question's own, whose weight in the vector is not the model's alone.
 * @param unit of the model's lexical part.
 */
export function addedWords(
  vector: SparseVector,
  words: readonly LexicalWord[],
  vocabulary: Pick<Vocabulary, "term">,
  unit: number,
): AddedWord[] {
  const known = new Map(words.map((word) => [word.id, word]));
  const added: AddedWord[] = [];
  for (const [id, weight] of termsOf(vector)) {
    const own = known.get(id);
    if (isHashedId(id) || (own !== undefined && own.count > 0)) continue;
    // The mark says that the word stands without a space before it.
    const word = vocabulary.term(id).replace(/^·/, "");
    const root = own === undefined ? USUAL_ROOT_IDF : Math.sqrt(own.idf);
    if (WHOLE_WORD.test(word)) added.push({ word, boost: (weight * unit) / root });
  }
  return added.sort((a, b) => b.boost - a.boost);
}

/** The factor of the added words. @throws CspladeError `query_invalid` for one that is none. */
export function expansionOf({
  expansion = DEFAULT_EXPANSION,
}: Partial<LexicalOptions> = {}): number {
  if (expansion >= 0 && expansion <= 10) return expansion;
  throw new CspladeError(
    "query_invalid",
    `lexical.expansion is ${expansion}; it is a factor from 0 (only the question's own words) to 10.`,
  );
}
