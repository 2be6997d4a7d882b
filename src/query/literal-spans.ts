/**
 * Where the words behind a score stand in a text: highlights that need no second model and no
 * analyzer, because the text is cut into the same tokens that the model read.
 */
import type { Vocabulary } from "../sparse/vocabulary.js";
import { wordOf, type ExplainedTerm } from "./explanation.js";

/** A stretch of a text that is a literal term. */
export interface LiteralSpan {
  /** UTF-16 code units into the text. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** The term with the largest contribution that reads so. */
  readonly term: string;
  readonly contribution: number;
}

/** How far a token may stand behind the last one: tokenizers drop and replace characters. */
const REACH = 64;

/** A short token stands soon or not at all: further on, it would be another one. */
const REACH_PER_BYTE = 8;

const SPACE = 0x20;

/**
 * The spans of a hit's literal terms in one text, in order. A stretch that a tokenizer
 * normalized away has none.
 * @param tokens ids of the whole text, tokenized as the checkpoint does.
 * @param terms of the hit, largest contribution first; expansions have no span.
 */
export function literalSpans(
  text: string,
  tokens: Iterable<number>,
  terms: readonly ExplainedTerm[],
  vocabulary: Pick<Vocabulary, "term" | "bytes">,
): LiteralSpan[] {
  const words = new Map<string, ExplainedTerm>();
  for (const term of terms) {
    const word = wordOf(term.term);
    if (term.literal && !words.has(word)) words.set(word, term);
  }
  if (words.size === 0) return [];
  const folded = foldText(text);
  const spans: LiteralSpan[] = [];
  let at = 0;
  for (const id of tokens) {
    const place = placeOf(vocabulary.bytes(id), folded.bytes, at);
    if (place === undefined) continue;
    at = place.end;
    const term = words.get(wordOf(vocabulary.term(id)));
    if (term === undefined) continue;
    spans.push({
      start: folded.starts[place.start] ?? text.length,
      end: folded.ends[place.end - 1] ?? text.length,
      term: term.term,
      contribution: term.contribution,
    });
  }
  return spans;
}

/** Bytes of a token in the text at or soon after `from`, without its leading spaces. */
function placeOf(
  token: Uint8Array | undefined,
  text: Uint8Array,
  from: number,
): { start: number; end: number } | undefined {
  if (token === undefined) return undefined;
  const folded = foldBytes(token);
  const word = folded.findIndex((byte) => byte !== SPACE);
  if (word < 0) return undefined;
  const sought = folded.subarray(word);
  const reach = Math.min(REACH, REACH_PER_BYTE * sought.length);
  const limit = Math.min(text.length - sought.length, from + reach);
  for (let at = from; at <= limit; at++) {
    if (sought.every((byte, i) => text[at + i] === byte)) {
      return { start: at, end: at + sought.length };
    }
  }
  return undefined;
}

/** A text as bytes in the form in which it is compared, and where each byte comes from. */
interface FoldedText {
  readonly bytes: Uint8Array;
  /** UTF-16 offset of the character that a byte belongs to. */
  readonly starts: readonly number[];
  /** UTF-16 offset behind that character. */
  readonly ends: readonly number[];
}

const characters = new Intl.Segmenter("en", { granularity: "grapheme" });
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What tokenizers commonly make equal before they cut: case and compatibility forms. */
function fold(text: string): string {
  return text.normalize("NFKC").toLowerCase();
}

function foldText(text: string): FoldedText {
  const bytes: number[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  for (const { segment, index } of characters.segment(text)) {
    for (const byte of encoder.encode(fold(segment))) {
      bytes.push(byte);
      starts.push(index);
      ends.push(index + segment.length);
    }
  }
  return { bytes: Uint8Array.from(bytes), starts, ends };
}

function foldBytes(token: Uint8Array): Uint8Array {
  try {
    return encoder.encode(fold(decoder.decode(token)));
  } catch {
    return token; // part of a character
  }
}
