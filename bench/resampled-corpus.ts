/**
 * A large corpus out of a small one that a model encoded: every document mixes several texts of
 * the small corpus, words and weights alike, as the passages of a longer document are merged.
 * Weights and how often a term occurs stay those of the model; what documents mean does not, so
 * figures from it are about speed, and about how much of the same index's plain ranking another
 * way to search gives.
 */
import { sparseVector, termsOf, type SparseVector } from "../src/sparse/sparse-vector.js";

/** An encoded text of the small corpus. */
export interface BaseText {
  readonly text: string;
  readonly vector: SparseVector;
}

/** Share of the terms and words that a document takes from each of its texts. */
const SHARE = 0.7;

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

/**
 * `count` documents, the same for the same seed.
 * @param mixed texts of the small corpus in each document.
 */
export function* resampled(
  bases: readonly BaseText[],
  count: number,
  mixed: number,
  seed: number,
): Generator<BaseText> {
  const random = randomNumbers(seed);
  for (let i = 0; i < count; i++) {
    const weights = new Map<number, number>();
    const words: string[] = [];
    for (let part = 0; part < mixed; part++) {
      const { text, vector } = bases[Math.floor(random() * bases.length)] as BaseText;
      for (const [id, weight] of termsOf(vector)) {
        if (random() >= SHARE) continue;
        const jittered = weight * (0.8 + 0.4 * random());
        weights.set(id, Math.max(jittered, weights.get(id) ?? 0));
      }
      words.push(...text.split(/\s+/).filter(() => random() < SHARE));
    }
    yield { text: words.join(" "), vector: sparseVector(weights) };
  }
}
