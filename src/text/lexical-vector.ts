/**
 * The lexical part of a vector: stemmed whole words with BM25's weights, added to the model's own
 * weights in one space of terms. A small language model's pieces are no words ("deadlocks" is
 * "dead", "l", "ocks"), and rare words are where BM25 wins against it.
 *
 *     document  w(t) = u √idf (k1 + 1) tf / (tf + k1 (1 - b + b len / length)) + a_d m(t)
 *     query     w(t) = count √idf / u                                          + a_q m(t)
 *
 * m(t) is the largest weight that the model gives to any row that is a form of t. The dot product
 * of the first summands is BM25, with the idf of the texts that the model was made from.
 * Of the terms that the model adds to a query's own words only the heaviest stay: the weaker a
 * guess, the more often it is wrong, and each costs the search a clause.
 */
import type { LiteralWord } from "../sparse/literals.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { idfOf, type TextRole } from "./lexicon.js";
import type { TermSpace } from "./term-space.js";

/** A text's vector of both parts, and the words of the lexical one. */
export interface LexicalVector {
  readonly vector: SparseVector;
  /** In order of their first appearance. */
  readonly words: readonly LiteralWord[];
}

/** The words of a text that count, and how many they are. */
export interface CountedWords {
  readonly words: readonly LiteralWord[];
  readonly length: number;
}

/** What is known of the document that a passage is part of. */
export interface WholeDocument {
  /** Term id → how often its word stands in the document. */
  readonly counts: ReadonlyMap<number, number>;
  readonly length: number;
}

/** How many times the ordinary length a text may have before its words weigh no less for it. */
const LONGEST = 4;

/**
 * Adds the lexical part of a text to what the model made of it.
 * @param rows the model's weights by row of its vocabulary.
 * @param topK terms that stay, the heaviest.
 * @param whole of a passage: its document, where the passages' vectors become one. Words then weigh
 *   by their number in the document and by its length, as BM25 would have it.
 */
export function lexicalVector(
  { words, length }: CountedWords,
  rows: SparseVector,
  role: TextRole,
  topK: number,
  space: TermSpace,
  whole?: WholeDocument,
): LexicalVector {
  const weights = new Map<number, number>();
  for (const word of words) {
    const count = whole?.counts.get(word.id) ?? word.count;
    const weight = lexicalWeight(count, word.idf, whole?.length ?? length, role, space);
    weights.set(word.id, (weights.get(word.id) ?? 0) + weight);
  }
  const share = space.lexicon.model_weight[role];
  for (const [id, weight] of byTerm(rows, space)) {
    weights.set(id, (weights.get(id) ?? 0) + share * weight);
  }
  const most = role === "query" ? space.lexicon.expansions?.query : undefined;
  return { vector: heaviest(sparseVector(weights), topK, words, most), words };
}

/** The `topK` heaviest terms, of those that are none of the words at most `expansions`. */
function heaviest(
  vector: SparseVector,
  topK: number,
  words: readonly LiteralWord[],
  expansions: number | undefined,
): SparseVector {
  const { ids, weights } = vector;
  if (expansions === undefined) return { ids: ids.slice(0, topK), weights: weights.slice(0, topK) };
  const own = new Set(words.map((word) => word.id));
  const kept: (readonly [number, number])[] = [];
  let added = 0;
  for (const term of termsOf(vector)) {
    if (kept.length === topK) break;
    if (own.has(term[0]) || ++added <= expansions) kept.push(term);
  }
  return sparseVector(kept);
}

/** A document's words, those of its passages added up. */
export function wholeOf(passages: readonly CountedWords[]): WholeDocument {
  const counts = new Map<number, number>();
  let length = 0;
  for (const passage of passages) {
    length += passage.length;
    for (const { id, count } of passage.words) counts.set(id, (counts.get(id) ?? 0) + count);
  }
  return { counts, length };
}

/** The words of a text that count. */
export function countWords(text: string, space: TermSpace): CountedWords {
  const counts = new Map<string, number>();
  const found = space.stems(text);
  for (const stem of found) counts.set(stem, (counts.get(stem) ?? 0) + 1);
  const words = Array.from(counts, ([term, count]) => ({
    id: space.id(term),
    term,
    count,
    idf: idfOf(term, space.lexicon),
  }));
  return { words, length: found.length };
}

function lexicalWeight(
  count: number,
  idf: number,
  words: number,
  role: TextRole,
  { lexicon }: TermSpace,
): number {
  const { unit, k1, b, length } = lexicon;
  if (role === "query") return (count * Math.sqrt(idf)) / unit;
  const norm = k1 * (1 - b + b * Math.min(words / length, LONGEST));
  return (unit * Math.sqrt(idf) * (k1 + 1) * count) / (count + norm);
}

/** The model's weights by term: the largest among its forms. */
function byTerm(rows: SparseVector, space: TermSpace): Map<number, number> {
  const best = new Map<number, number>();
  for (const [row, weight] of termsOf(rows)) {
    const id = space.idOfRow(row);
    if (id !== undefined && weight > (best.get(id) ?? 0)) best.set(id, weight);
  }
  return best;
}
