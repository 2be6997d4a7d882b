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
 * A query keeps its own words, however much of it the model read. Of the terms that the model adds
 * to them only the heaviest stay: the weaker a guess, the more often it is wrong, and each costs the
 * search a clause.
 */
import type { LiteralWord } from "../sparse/literals.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { idfOf } from "./lexicon.js";
import type { TermSpace } from "./term-space.js";

/** A text's vector of both parts, and the terms that were weighed. */
export interface LexicalVector {
  readonly vector: SparseVector;
  /** In order of their first appearance; of a query, behind them, the terms that the model added. */
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

/** Most own words of a query, the heaviest: it must fit into one search. */
const MOST_OWN_WORDS = 256;

/**
 * A query's vector.
 * @param rows the model's weights by row of its vocabulary.
 * @param topK most terms that the model may add; a lexicon's `expansions` may allow fewer.
 */
export function queryVector(
  { words }: CountedWords,
  rows: SparseVector,
  topK: number,
  space: TermSpace,
): LexicalVector {
  const { unit, model_weight, expansions } = space.lexicon;
  const weights = new Map<number, number>();
  for (const { id, count, idf } of words) {
    weights.set(id, (weights.get(id) ?? 0) + (count * Math.sqrt(idf)) / unit);
  }
  const own = new Set(weights.keys());
  addModel(weights, rows, model_weight.query, space);
  const most = Math.min(topK, expansions?.query ?? topK);
  const kept: (readonly [number, number])[] = [];
  const added: LiteralWord[] = [];
  for (const term of termsOf(sparseVector(weights))) {
    const isOwn = own.has(term[0]);
    if (isOwn ? kept.length - added.length === MOST_OWN_WORDS : added.length === most) continue;
    kept.push(term);
    if (!isOwn) added.push(addedTerm(term[0], space));
  }
  return { vector: sparseVector(kept), words: [...words, ...added] };
}

/**
 * A document's vector.
 * @param rows the model's weights by row of its vocabulary.
 * @param topK terms that stay, the heaviest.
 * @param whole of a passage: its document, where the passages' vectors become one. Words then weigh
 *   by their number in the document and by its length, as BM25 would have it.
 */
export function documentVector(
  { words, length }: CountedWords,
  rows: SparseVector,
  topK: number,
  space: TermSpace,
  whole?: WholeDocument,
): LexicalVector {
  const weights = new Map<number, number>();
  for (const word of words) {
    const count = whole?.counts.get(word.id) ?? word.count;
    const weight = documentWeight(count, word.idf, whole?.length ?? length, space);
    weights.set(word.id, (weights.get(word.id) ?? 0) + weight);
  }
  addModel(weights, rows, space.lexicon.model_weight.document, space);
  const { ids, weights: heaviest } = sparseVector(weights);
  return { vector: { ids: ids.slice(0, topK), weights: heaviest.slice(0, topK) }, words };
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

/** Adds the model's weights to those of the words. */
function addModel(
  weights: Map<number, number>,
  rows: SparseVector,
  share: number,
  space: TermSpace,
): void {
  for (const [id, weight] of byTerm(rows, space)) {
    weights.set(id, (weights.get(id) ?? 0) + share * weight);
  }
}

function addedTerm(id: number, space: TermSpace): LiteralWord {
  const term = space.stemOfId(id) ?? "";
  return { id, term, count: 0, idf: idfOf(term, space.lexicon) };
}

function documentWeight(
  count: number,
  idf: number,
  words: number,
  { lexicon: { unit, k1, b, length } }: TermSpace,
): number {
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
