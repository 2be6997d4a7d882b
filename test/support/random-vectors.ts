/** Reproducible random sparse vectors for tests that need many of them at once. */
import { sparseVector, type SparseVector } from "../../src/sparse/sparse-vector.js";
import { randomNumbers } from "./random-numbers.js";

/** Draws a vector of at most `terms` terms with ids below `vocabulary`. */
export type DrawVector = (terms: number, vocabulary: number) => SparseVector;

/** A source of vectors that is the same for the same seed. Weights lie in (0, 3]. */
export function randomVectors(seed: number): DrawVector {
  const next = randomNumbers(seed);
  return (terms, vocabulary) => {
    const drawn = new Map<number, number>();
    for (let i = 0; i < terms; i++) drawn.set(Math.floor(next() * vocabulary), 3 * (1 - next()));
    return sparseVector(drawn);
  };
}
