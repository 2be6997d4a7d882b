/**
 * Cuts a long text into passages a model can take, at sentence ends where it can,
 * else between words, else anywhere between two characters. Nothing is lost:
 * passages follow each other without gaps and cover the text.
 */
import type { Tokenizer } from "./tokenizer.js";

/** One passage: offsets are UTF-16 code units into the text, `end` exclusive. */
export interface Passage {
  readonly start: number;
  readonly end: number;
  /** Token ids of the passage, at most `max_tokens`. */
  readonly ids: readonly number[];
}

/** The passages of one text. */
export interface Passages {
  readonly passages: readonly Passage[];
  /** True if some of the text is in no passage (a limit was reached). */
  readonly truncated: boolean;
}

/** Limits of {@link splitPassages}. */
export interface PassageLimits {
  /** Most tokens in a passage. */
  readonly max_tokens: number;
  /** Most passages of a text. */
  readonly max_passages: number;
}

/**
 * A token of ordinary text has 3 to 5 characters, so a text this many times longer
 * than the limit is cut without tokenizing it whole first.
 */
const LONG_TEXT_CHARACTERS_PER_TOKEN = 16;

/** Longest stretch tokenized at once: merging one endless word grows faster than linearly. */
const LONGEST_UNIT = 2_000;

const sentences = new Intl.Segmenter("en", { granularity: "sentence" });

/**
 * Splits a text into passages within the limits. A blank text has no passages.
 * @param prefix is written before every passage and counts.
 */
export function splitPassages(
  text: string,
  tokenizer: Tokenizer,
  limits: PassageLimits,
  prefix = "",
): Passages {
  if (text.trim() === "") return { passages: [], truncated: false };
  if (text.length <= limits.max_tokens * LONG_TEXT_CHARACTERS_PER_TOKEN && !hasEndlessWord(text)) {
    const ids = tokenizer.encode(prefix + text);
    if (ids.length <= limits.max_tokens) {
      return { passages: [{ start: 0, end: text.length, ids }], truncated: false };
    }
  }
  return packUnits(text, tokenizer, limits, prefix);
}

/**
 * The first passage alone, for queries: what comes after the limit is cut off and reported.
 * @param prefix is written before the text and counts.
 */
export function firstPassage(
  text: string,
  bare: Tokenizer,
  max_tokens: number,
  prefix = "",
): Passages {
  if (text.trim() === "") return { passages: [], truncated: false };
  const tokenizer = { encode: (part: string) => bare.encode(prefix + part) };
  const reach = Math.min(max_tokens * LONG_TEXT_CHARACTERS_PER_TOKEN, 8 * LONGEST_UNIT);
  const start = text.length - text.trimStart().length;
  const read = text.slice(start, start + reach);
  const ids = tokenizer.encode(read);
  const cut = ids.length > max_tokens;
  const end = start + (cut ? lengthWithin(read, tokenizer, max_tokens) : read.length);
  return {
    passages: [{ start, end, ids: ids.slice(0, max_tokens) }],
    truncated: cut || read.length < text.trim().length,
  };
}

/** How much of a text, up to white space if possible, has at most so many tokens. */
function lengthWithin(text: string, tokenizer: Tokenizer, max_tokens: number): number {
  const fits = (end: number) => tokenizer.encode(text.slice(0, end)).length <= max_tokens;
  const spaces: number[] = [];
  for (let i = 1; i < text.length; i++) if (isSpace(text.charCodeAt(i))) spaces.push(i);
  const [first = text.length] = spaces;
  const ends = fits(first) ? spaces : Array.from({ length: first }, (_, i) => i);
  let [low, high] = [0, ends.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(ends[middle] as number)) low = middle;
    else high = middle;
  }
  return ends[low] ?? 0;
}

function packUnits(
  text: string,
  tokenizer: Tokenizer,
  limits: PassageLimits,
  prefix: string,
): Passages {
  const max_tokens = Math.max(1, limits.max_tokens - tokenizer.encode(prefix).length);
  const passages: Passage[] = [];
  let start = 0;
  let end = 0;
  let tokens = 0;
  const close = () => {
    const passage = text.slice(start, end);
    if (passage.trim() === "") return;
    // Joined units can cost a token more than apart (a merge across their seam undone).
    const ids = tokenizer.encode(prefix + passage).slice(0, limits.max_tokens);
    passages.push({ start, end, ids });
  };
  for (const unit of unitsOf(text, tokenizer, max_tokens)) {
    if (tokens > 0 && tokens + unit.tokens > max_tokens) {
      close();
      if (passages.length >= limits.max_passages) {
        return { passages, truncated: text.slice(end).trim() !== "" };
      }
      start = unit.start;
      tokens = 0;
    }
    end = unit.end;
    tokens += unit.tokens;
  }
  close();
  return { passages, truncated: false };
}

interface Unit {
  readonly start: number;
  readonly end: number;
  readonly tokens: number;
}

/** Sentences; those too long in halves between words, until they fit. In order, without gaps. */
function* unitsOf(text: string, tokenizer: Tokenizer, max_tokens: number): Generator<Unit> {
  // Segmenting a window at a time keeps memory and latency flat on texts of many megabytes.
  for (let start = 0; start < text.length;) {
    const windowEnd = boundaryBefore(text, Math.min(text.length, start + 10 * LONGEST_UNIT), start);
    for (const sentence of sentences.segment(text.slice(start, windowEnd))) {
      const from = start + sentence.index;
      yield* piecesOf(text, from, from + sentence.segment.length, tokenizer, max_tokens);
    }
    start = windowEnd;
  }
}

function* piecesOf(
  text: string,
  start: number,
  end: number,
  tokenizer: Tokenizer,
  max_tokens: number,
): Generator<Unit> {
  if (end - start <= LONGEST_UNIT) {
    const tokens = tokenizer.encode(text.slice(start, end)).length;
    if (tokens <= max_tokens) {
      yield { start, end, tokens };
      return;
    }
  }
  const middle = boundaryBefore(text, start + Math.ceil((end - start) / 2), start);
  if (middle <= start || middle >= end) {
    // One character of more tokens than a passage may have: a passage of its own.
    yield { start, end, tokens: max_tokens };
    return;
  }
  yield* piecesOf(text, start, middle, tokenizer, max_tokens);
  yield* piecesOf(text, middle, end, tokenizer, max_tokens);
}

/** The last white space in `(after, at]`, else `at` itself, never between the halves of a surrogate pair. */
function boundaryBefore(text: string, at: number, after: number): number {
  if (at >= text.length) return text.length;
  for (let i = at; i > after && i > at - LONGEST_UNIT; i--) {
    if (isSpace(text.charCodeAt(i))) return i;
  }
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff ? at + 1 : at;
}

function hasEndlessWord(text: string): boolean {
  let run = 0;
  for (let i = 0; i < text.length; i++) {
    run = isSpace(text.charCodeAt(i)) ? 0 : run + 1;
    if (run > LONGEST_UNIT) return true;
  }
  return false;
}

function isSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13) || code === 0xa0 || code === 0x3000;
}
