/**
 * A large corpus out of a small one that a model encoded: every document mixes two of the small
 * corpus, words and weights alike. Terms per document, weights and how often a term occurs stay
 * those of the model; what documents mean does not, so figures from it are about speed, and about
 * how much of the same index's plain ranking another way to search gives.
 */
import { sparseVector, termsOf, type SparseVector } from "../src/sparse/sparse-vector.js";

/** An encoded text of the small corpus. */
export interface BaseText {
  readonly text: string;
  readonly vector: SparseVector;
}

/** Share of terms and words taken from the first and from the second text. */
const FIRST = 0.75;
const SECOND = 0.25;

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

/** `count` documents, the same for the same seed. */
export function* resampled(
  bases: readonly BaseText[],
  count: number,
  seed: number,
): Generator<BaseText> {
  const random = randomNumbers(seed);
  const pick = () => bases[Math.floor(random() * bases.length)] as BaseText;
  for (let i = 0; i < count; i++) {
    const [first, second] = [pick(), pick()];
    const weights = new Map<number, number>();
    const words: string[] = [];
    for (const [base, share] of [
      [first, FIRST],
      [second, SECOND],
    ] as const) {
      for (const [id, weight] of termsOf(base.vector)) {
        if (random() >= share) continue;
        const jittered = weight * (0.8 + 0.4 * random());
        weights.set(id, Math.max(jittered, weights.get(id) ?? 0));
      }
      words.push(...base.text.split(/\s+/).filter(() => random() < share));
    }
    yield { text: words.join(" "), vector: sparseVector(weights) };
  }
}
