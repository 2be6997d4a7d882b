/** Texts in which other words are common than in the world, and scores of their search by hand. */
import type { Encoder } from "../../src/encoder/encoder.js";
import { luceneStored } from "../../src/sparse/quantize.js";
import { termsOf, type SparseVector } from "../../src/sparse/sparse-vector.js";

/** To the tiny model "zebra" is rare and "sea" is not; here every document but two is about zebras. */
export const ZEBRA_TEXTS: readonly string[] = [
  ...Array.from({ length: 9 }, (_, i) => `zebra zebra zebra number ${i + 3}`),
  "a calm sea",
  "sea and shore",
  "zebra",
];

/** Asks for the word that is common there and for the one that is rare there. */
export const ZEBRA_QUESTION = "zebra sea";

/**
 * Document id → score of {@link ZEBRA_QUESTION}: BM25's idf of the index for the question's side,
 * stored weights for the documents'.
 * @param words gives the lexical part of questions alone (`query.encoder: table`).
 * @param documents vectors as indexed; their ids are their positions.
 */
export async function scoresByHand(
  words: Encoder,
  documents: readonly SparseVector[],
): Promise<Map<string, number>> {
  const [encoded] = await words.encodeQueries([ZEBRA_QUESTION]);
  const { unit = NaN } = words.lexicon ?? {};
  const query = new Map<number, number>();
  for (const { id, count, idf } of encoded?.passages[0]?.words ?? []) {
    const found = documents.filter(({ ids }) => ids.includes(id)).length;
    const here = Math.log(1 + (documents.length - found + 0.5) / (found + 0.5));
    query.set(id, (count * Math.min(9, Math.max(0.02, here))) / (unit * Math.sqrt(idf)));
  }
  const scores = new Map<string, number>();
  documents.forEach((vector, i) => {
    let score = 0;
    for (const [id, weight] of termsOf(vector))
      score += (query.get(id) ?? 0) * luceneStored(weight);
    if (score > 0) scores.set(String(i), score);
  });
  return scores;
}
