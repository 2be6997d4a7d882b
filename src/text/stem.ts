/** Stems: the form in which the words of a text are compared. */
import porter2 from "wink-porter2-stemmer";

/** Only words of these letters are English enough for Porter2; others are their own stem. */
const PLAIN = /^[a-z]+$/;

/** Stems of words seen before: a few thousand words make up most of any text. */
const known = new Map<string, string>();
const MOST_KNOWN = 65_536;

/** The Porter2 ("english" in Snowball) stem of a word in lower case. */
export function stemOf(word: string): string {
  if (!PLAIN.test(word)) return word;
  const before = known.get(word);
  if (before !== undefined) return before;
  const stem = porter2(word);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(word, stem);
  return stem;
}
