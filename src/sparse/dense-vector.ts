/** A text's dense vector as it is stored and asked for: a signed byte a dimension, of which the angle counts. */

/** Largest absolute value of a byte; -128 is left out, so that both signs reach as far. */
const LARGEST = 127;

/**
 * The direction of some vectors together, the passages of a text: the mean of their directions, spread over
 * the whole range of a byte.
 * @param vectors of one length, any norm. @returns undefined where none points anywhere.
 */
export function denseBytes(
  vectors: readonly (Float32Array | undefined)[],
): readonly number[] | undefined {
  const units = vectors.flatMap((vector) => {
    const norm = vector === undefined ? 0 : Math.hypot(...vector);
    return vector === undefined || !(norm > 0) || !Number.isFinite(norm) ? [] : [{ vector, norm }];
  });
  const [first] = units;
  if (first === undefined) return undefined;
  const mean = Array.from(first.vector, (_, i) =>
    units.reduce((sum, { vector, norm }) => sum + (vector[i] ?? 0) / norm, 0),
  );
  const largest = Math.max(...mean.map(Math.abs));
  if (!(largest > 0)) return undefined;
  // `+ 0` makes of -0 a 0, which JSON writes without a sign.
  const bytes = mean.map((value) => Math.round((value / largest) * LARGEST) + 0);
  return bytes;
}
