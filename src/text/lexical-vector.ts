/**
 * The lexical part of a vector: stemmed whole words with BM25's weights, added to the model's own
 * weights in one space of terms. A small language model's pieces are no words ("deadlocks" is
 * "dead", "l", "ocks"), and rare words are where BM25 wins against it.
 *
 *     document  w(t) = u √idf (k1 + 1) tf / (tf + k1 (1 - b + b len / length)) + a_d m(t)
 *     query     w(t) = count √idf / u                                          + a_q m(t)
 *
 * `length` is the mean length of the index's texts, and no less than the lexicon's.
 * m(t) is the largest weight that the model gives to any row that is a form of t. The dot product
 * of the first summands is BM25, with the idf of the texts that the model was made from.
 * A lexicon may keep the model's terms apart: then the summands are terms of their own, which meet
 * only their like, and those of a document have length a_d together.
 * A query keeps its own words, however much of it the model read. Of the terms that the model adds
 * to them only the heaviest stay: the weaker a guess, the more often it is wrong, and each costs the
 * search a clause. Where a lexicon bounds the terms of a query, one of many words gets fewer guesses, and
 * one of very many keeps the heaviest of its words.
 */
import type { LexicalWord } from "../sparse/literals.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { idfOf } from "./lexicon.js";
import type { TermSpace } from "./term-space.js";

/** A text's vector of both parts, and the terms that were weighed. */
export interface LexicalVector {
  readonly vector: SparseVector;
  /** In order of their first appearance; of a query, behind them, the terms that the model added. */
  readonly words: readonly LexicalWord[];
}

/** The words of a text that count, and how many they are. */
export interface CountedWords {
  readonly words: readonly LexicalWord[];
  readonly length: number;
}

/** A passage of a document: its words, and the model's weights by row of its vocabulary. */
export interface ReadPassage {
  readonly counted: CountedWords;
  readonly rows: SparseVector;
}

/**
 * How many times the lexicon's length a text may have before its words weigh no less for it, where
 * the mean length of the index's texts is not known: long texts may be its ordinary ones.
 */
const LONGEST = 4;

/** Most own words of a query, the heaviest: it must fit into one search. */
const MOST_OWN_WORDS = 256;

/** Terms of the model that a query has room for, where a lexicon bounds its terms, however many words it has. */
const FEWEST_ADDED = 12;

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
  const { unit, model_weight, expansions, query_terms } = space.lexicon;
  const weights = new Map<number, number>();
  for (const { id, count, idf } of words) {
    weights.set(id, (weights.get(id) ?? 0) + (count * Math.sqrt(idf)) / unit);
  }
  const own = new Set(weights.keys());
  addShare(weights, byTerm(rows, space), model_weight.query);
  const all = query_terms ?? Infinity;
  const mostOwn = Math.min(MOST_OWN_WORDS, Math.max(1, all - FEWEST_ADDED));
  const most = Math.min(topK, expansions?.query ?? topK, all - Math.min(own.size, mostOwn));
  const kept: (readonly [number, number])[] = [];
  const added: LexicalWord[] = [];
  let foreign = 0;
  for (const term of termsOf(sparseVector(weights))) {
    const isOwn = own.has(term[0]);
    if (isOwn ? kept.length - foreign === mostOwn : foreign === most) continue;
    kept.push(term);
    if (!isOwn) foreign += 1;
    // Terms apart have no idf of the index: what the model says of them stands.
    if (!isOwn && space.lexicon.model_terms === "shared") added.push(addedTerm(term[0], space));
  }
  return { vector: sparseVector(kept), words: [...words, ...added] };
}

/**
 * The vector of a document, or of a passage that is found by itself.
 * @param topK terms that stay, the heaviest.
 * @param mean mean length of the index's texts, in words that count.
 */
export function documentVector(
  { counted, rows }: ReadPassage,
  topK: number,
  space: TermSpace,
  mean?: number,
): LexicalVector {
  if (space.lexicon.model_terms === "apart") {
    const [vector] = vectorsApart([{ counted, rows }], topK, space, mean);
    return vector as LexicalVector;
  }
  const weights = wordWeights(counted, counted.length, mean, space);
  addShare(weights, byTerm(rows, space), space.lexicon.model_weight.document);
  return { vector: heaviest(weights, topK), words: counted.words };
}

/**
 * The vectors of a document's passages, which become one by their maximum (`maxMerge`). Words weigh by
 * their number in the document and by its length, as BM25 would have it. Of the model's terms those of
 * the mean over the passages count, of terms that are no words of the document no more than a
 * passage has: a maximum over many passages would favour long documents. The first passage carries them.
 * @param mean as for {@link documentVector}; without it the model's terms are those of each passage, as in
 *   indices of earlier versions.
 */
export function passageVectors(
  passages: readonly ReadPassage[],
  topK: number,
  space: TermSpace,
  mean?: number,
): LexicalVector[] {
  if (space.lexicon.model_terms === "apart") return vectorsApart(passages, topK, space, mean);
  const { counts, weigh } = wholeOf(passages, mean, space);
  const share = space.lexicon.model_weight.document;
  const models = passages.map(({ rows }) => byTerm(rows, space));
  const shared = mean === undefined ? undefined : meanOf(models);
  const most = Math.max(...models.map((model) => model.size));
  return passages.map(({ counted: { words } }, i) => {
    const weights = weigh(words);
    const own = new Set(weights.keys());
    const model = shared ?? models[i] ?? new Map<number, number>();
    addShare(weights, shared === undefined ? model : only(model, (id) => own.has(id)), share);
    const vector = heaviest(weights, topK);
    if (shared === undefined || i > 0) return { vector, words };
    const foreign = new Map<number, number>();
    addShare(
      foreign,
      only(shared, (id) => !counts.has(id)),
      share,
    );
    const added = heaviest(foreign, Math.min(most, topK));
    return { vector: sparseVector([...termsOf(vector), ...termsOf(added)]), words };
  });
}

/**
 * The vectors of a document's passages where the model's terms are apart: words weigh by the whole
 * document, and the first passage carries the model's terms of all, by their mean.
 */
function vectorsApart(
  passages: readonly ReadPassage[],
  topK: number,
  space: TermSpace,
  mean: number | undefined,
): LexicalVector[] {
  const { model_weight, expansions } = space.lexicon;
  const { weigh } = wholeOf(passages, mean, space);
  const models = meanOf(passages.map(({ rows }) => byTerm(rows, space)));
  const kept = heaviest(models, Math.min(topK, expansions?.document ?? topK));
  const norm = Math.hypot(...kept.weights);
  return passages.map(({ counted: { words } }, i) => {
    const own = heaviest(weigh(words), topK);
    if (i > 0 || norm === 0) return { vector: own, words };
    const terms = Array.from(
      termsOf(kept),
      ([id, weight]) => [id, (model_weight.document * weight) / norm] as const,
    );
    return { vector: sparseVector([...termsOf(own), ...terms]), words };
  });
}

/** How often each word stands in a document, and what a passage's words weigh by the whole of it. */
function wholeOf(
  passages: readonly ReadPassage[],
  mean: number | undefined,
  space: TermSpace,
): {
  counts: ReadonlyMap<number, number>;
  weigh: (words: readonly LexicalWord[]) => Map<number, number>;
} {
  const counts = new Map<number, number>();
  let length = 0;
  for (const { counted } of passages) {
    length += counted.length;
    for (const { id, count } of counted.words) counts.set(id, (counts.get(id) ?? 0) + count);
  }
  return {
    counts,
    weigh(words) {
      const inWhole = words.map((word) => ({ ...word, count: counts.get(word.id) ?? word.count }));
      return wordWeights({ words: inWhole }, length, mean, space);
    },
  };
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

/** A document's weights of its words. */
function wordWeights(
  { words }: Pick<CountedWords, "words">,
  length: number,
  mean: number | undefined,
  space: TermSpace,
): Map<number, number> {
  const weights = new Map<number, number>();
  for (const { id, count, idf } of words) {
    const weight = documentWeight(count, idf, length, mean, space);
    weights.set(id, (weights.get(id) ?? 0) + weight);
  }
  return weights;
}

/** Adds a share of the model's weights to those of the words. */
function addShare(
  weights: Map<number, number>,
  model: ReadonlyMap<number, number>,
  share: number,
): void {
  for (const [id, weight] of model) weights.set(id, (weights.get(id) ?? 0) + share * weight);
}

function meanOf(models: readonly ReadonlyMap<number, number>[]): Map<number, number> {
  const mean = new Map<number, number>();
  for (const model of models) {
    for (const [id, weight] of model) mean.set(id, (mean.get(id) ?? 0) + weight / models.length);
  }
  return mean;
}

function only(
  weights: ReadonlyMap<number, number>,
  isWanted: (id: number) => boolean,
): Map<number, number> {
  return new Map([...weights].filter(([id]) => isWanted(id)));
}

function heaviest(all: ReadonlyMap<number, number>, most: number): SparseVector {
  const { ids, weights } = sparseVector(all);
  return { ids: ids.slice(0, most), weights: weights.slice(0, most) };
}

function addedTerm(id: number, space: TermSpace): LexicalWord {
  const term = space.stemOfId(id) ?? "";
  return { id, term, count: 0, idf: idfOf(term, space.lexicon) };
}

function documentWeight(
  count: number,
  idf: number,
  words: number,
  mean: number | undefined,
  { lexicon: { unit, k1, b, length } }: TermSpace,
): number {
  const ratio =
    mean === undefined ? Math.min(words / length, LONGEST) : words / Math.max(length, mean);
  const norm = k1 * (1 - b + b * ratio);
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
