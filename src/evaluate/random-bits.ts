/** Random numbers that are the same for the same seed. */

/**
 * 32 random bits at a time: sfc32 (Doty-Humphrey's PractRand). A shift register alone would not do,
 * since each of its bits is a sum of earlier ones, and so the signs of many queries would depend on each other.
 */
export function randomBits(seed: number): () => number {
  let [a, b, c, counter] = [0x9e3779b9, 0x243f6a88, seed | 0, 1];
  const next = () => {
    const out = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + out) | 0;
    return out;
  };
  for (let warming = 0; warming < 16; warming++) next();
  return next;
}
