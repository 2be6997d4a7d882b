/**
 * The words of a text, and where they stand: runs of letters, digits and marks in NFKC and lower
 * case. Chinese and Japanese are written without spaces: there, two characters after each other
 * count as a word.
 */

/** A word. Offsets are UTF-16 code units into the text it was found in, `end` exclusive. */
export interface Word {
  /** In NFKC and lower case, a final sigma written as any other. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Longer runs, in code points, are encoded data and no words. */
const LONGEST_WORD = 64;

/** Nothing that is folded reaches over white space, so that stretches can be folded apart. */
const STRETCH = /[^ \t\n\r]+/g;
const RUN = /[\p{L}\p{N}\p{M}]+/gu;
/** The long vowel sign is common to both syllabaries and so of neither script. */
const IDEOGRAPH = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー]/u;
const IDEOGRAPHS = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー]+/gu;
// eslint-disable-next-line no-control-regex
const ASCII = /^[\x00-\x7f]*$/;
const ASCII_WORD = /[a-z0-9]+/g;

const characters = new Intl.Segmenter("en", { granularity: "grapheme" });

/** The words of a text, in order, without their places: much faster than {@link findWords}. */
export function wordTexts(text: string): string[] {
  if (ASCII.test(text)) return (text.toLowerCase().match(ASCII_WORD) ?? []).filter(isWord);
  const folded = fold(text);
  const words = IDEOGRAPH.test(folded)
    ? Array.from(wordsIn(folded), ([from, to]) => folded.slice(from, to))
    : (folded.match(RUN) ?? []);
  return words.filter(isWord);
}

/** The words of a text, in order. A character that stands for several words has them all. */
export function findWords(text: string): Word[] {
  const words: Word[] = [];
  if (ASCII.test(text)) {
    for (const { 0: word, index } of text.toLowerCase().matchAll(ASCII_WORD)) {
      if (isWord(word)) words.push({ text: word, start: index, end: index + word.length });
    }
    return words;
  }
  for (const { 0: stretch, index } of text.matchAll(STRETCH)) {
    const { folded, place } = foldStretch(stretch);
    for (const [from, to] of wordsIn(folded)) {
      const { start, end } = place(from, to);
      const word = folded.slice(from, to);
      if (isWord(word)) words.push({ text: word, start: index + start, end: index + end });
    }
  }
  return words;
}

function isWord(text: string): boolean {
  return text.length <= LONGEST_WORD || Array.from(text).length <= LONGEST_WORD;
}

/** Words of a folded text as pairs of offsets. */
function* wordsIn(folded: string): Generator<readonly [from: number, to: number]> {
  for (const { 0: run, index } of folded.matchAll(RUN)) {
    let at = 0;
    for (const { 0: signs, index: from } of run.matchAll(IDEOGRAPHS)) {
      if (from > at) yield [index + at, index + from];
      yield* bigramsIn(signs, index + from);
      at = from + signs.length;
    }
    if (at < run.length) yield [index + at, index + run.length];
  }
}

function* bigramsIn(signs: string, offset: number): Generator<readonly [from: number, to: number]> {
  const lengths = Array.from(signs, (sign) => sign.length);
  let from = offset;
  if (lengths.length === 1) yield [from, from + signs.length];
  for (let i = 0; i + 1 < lengths.length; i++) {
    const [first = 0, second = 0] = [lengths[i], lengths[i + 1]];
    yield [from, from + first + second];
    from += first;
  }
}

/** What is the same word whichever way it is written. */
function fold(text: string): string {
  const lower = text.normalize("NFKC").toLowerCase().replaceAll("ς", "σ");
  // Lower case can undo a composition.
  return lower.normalize("NFKC");
}

/** A stretch folded, and where a part of the folded text comes from. */
interface FoldedStretch {
  readonly folded: string;
  readonly place: (from: number, to: number) => { readonly start: number; readonly end: number };
}

function foldStretch(stretch: string): FoldedStretch {
  const folded = fold(stretch);
  // Most letters fold to one letter each; of those in NFKC only İ has a longer lower case.
  const oneToOne = stretch.normalize("NFKC") === stretch && !stretch.includes("İ");
  if (oneToOne && folded.length === stretch.length) {
    return { folded, place: (start, end) => ({ start, end }) };
  }
  const starts: number[] = [];
  const ends: number[] = [];
  for (const { segment, index } of characters.segment(stretch)) {
    const { length } = fold(segment);
    for (let i = 0; i < length; i++) {
      starts.push(index);
      ends.push(index + segment.length);
    }
  }
  // Should characters fold together across a grapheme's edge, the whole stretch is the place.
  const known = starts.length === folded.length;
  return {
    folded,
    place: (from, to) => ({
      start: (known ? starts[from] : undefined) ?? 0,
      end: (known ? ends[to - 1] : undefined) ?? stretch.length,
    }),
  };
}
