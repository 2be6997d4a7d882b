/**
 * Texts as long and as short as real ones, from WordNet: one gloss or several neighbouring ones
 * (neighbours are about similar things), so that lengths spread over an order of magnitude.
 */
import { wordNetDocuments, wordNetFolder } from "../src/demo/wordnet.js";
import { randomNumbers } from "./resampled-corpus.js";

/** Most glosses in one text. */
const LONGEST = 10;

/** `count` texts, the same for the same seed; how many glosses one has is log-uniform. */
export async function mixedTexts(count: number, seed: number): Promise<string[]> {
  const glosses: string[] = [];
  for await (const { title, text } of wordNetDocuments(wordNetFolder())) {
    glosses.push(`${title}: ${text}`);
  }
  const random = randomNumbers(seed);
  return Array.from({ length: count }, () => {
    const length = Math.floor((LONGEST + 1) ** random());
    const start = Math.floor(random() * (glosses.length - LONGEST));
    return glosses.slice(start, start + length).join(". ");
  });
}
