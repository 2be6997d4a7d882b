/** The mean length of an index's texts, by which the words of each document weigh. */
import type { Encoder } from "../encoder/encoder.js";

/**
 * Estimates it from some of the texts.
 * @returns words that count for the model's lexical part, a whole number of at least 1; nothing for
 *   a model without one, or where no text has a word.
 */
export async function meanLength(
  encoder: Pick<Encoder, "lexicon" | "literals">,
  texts: readonly string[],
  signal: AbortSignal,
): Promise<number | undefined> {
  if (encoder.lexicon === undefined) return undefined;
  const literals = await encoder.literals(texts, { signal });
  const lengths = literals.map(({ ids }) => ids.length).filter((length) => length > 0);
  if (lengths.length === 0) return undefined;
  const sum = lengths.reduce((all, length) => all + length, 0);
  return Math.max(1, Math.round(sum / lengths.length));
}
