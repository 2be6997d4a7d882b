/**
 * A large corpus out of a small one that a model encoded: every document mixes several texts of
 * the small corpus, words and weights alike, an equal share of each, so that it has as many words
 * and terms as one of them.
 * Weights and how often a term occurs stay those of the model; what documents mean does not, so
 * figures from it are about speed, and about how much of plain scoring's quality another way to
 * search keeps.
 */
import { sparseVector, termsOf, type SparseVector } from "../src/sparse/sparse-vector.js";

/** An encoded text of the small corpus. */
export interface BaseText {
  readonly text: string;
  readonly vector: SparseVector;
}

/** A document, and the places of the texts it was made of. */
export interface ResampledText extends BaseText {
  readonly parts: readonly number[];
}

/** How documents are made. */
export interface Resampling {
  /** Texts of the small corpus in each document. */
  readonly mixed: number;
  /**
   * Texts of a document lie within so many places of each other: neighbours are about similar
   * things, and so are the parts of a real document.
   */
  readonly neighbourhood: number;
  /** The same seed gives the same documents. */
  readonly seed: number;
}

/** A reproducible source of numbers in [0, 1) (xorshift32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** `count` documents in random order. */
export function* resampled(
  bases: readonly BaseText[],
  count: number,
  { mixed, neighbourhood, seed }: Resampling,
): Generator<ResampledText> {
  const random = randomNumbers(seed);
  const span = Math.min(neighbourhood, bases.length);
  const share = 1 / mixed;
  for (let i = 0; i < count; i++) {
    const start = Math.floor(random() * (bases.length - span + 1));
    const weights = new Map<number, number>();
    const words: string[] = [];
    const parts: number[] = [];
    for (let part = 0; part < mixed; part++) {
      const place = start + Math.floor(random() * span);
      const { text, vector } = bases[place] as BaseText;
      for (const [id, weight] of termsOf(vector)) {
        if (random() >= share) continue;
        const jittered = weight * (0.8 + 0.4 * random());
        weights.set(id, Math.max(jittered, weights.get(id) ?? 0));
      }
      words.push(...text.split(/\s+/).filter(() => random() < share));
      parts.push(place);
    }
    yield { text: words.join(" "), vector: sparseVector(weights), parts };
  }
}
