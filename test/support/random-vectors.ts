/** Reproducible random sparse vectors for tests that need many of them at once. */
import { sparseVector, type SparseVector } from "../../src/sparse/sparse-vector.js";

/** Draws a vector of at most `terms` terms with ids below `vocabulary`. */
export type DrawVector = (terms: number, vocabulary: number) => SparseVector;

/** A source of vectors that is the same for the same seed. Weights lie in (0, 3]. */
export function randomVectors(seed: number): DrawVector {
  let state = seed;
  const next = () => {
    // mulberry32: small, and good enough to spread test data.
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return (terms, vocabulary) => {
    const drawn = new Map<number, number>();
    for (let i = 0; i < terms; i++) drawn.set(Math.floor(next() * vocabulary), 3 * (1 - next()));
    return sparseVector(drawn);
  };
}
