/**
 * The terms that stand in a text itself, and where: what highlights and "the model added this"
 * come from, without a second model and without an analyzer.
 */
import type { LiteralTerms } from "../sparse/literals.js";
import type { Vocabulary } from "../sparse/vocabulary.js";
import type { TermSpace } from "./term-space.js";

/** How far a token may stand behind the last one: tokenizers drop and replace characters. */
const REACH = 64;

/** A short token stands soon or not at all: further on, it would be another one. */
const REACH_PER_BYTE = 8;

const SPACE = 0x20;

/** The words of a text that count, for a model with a lexical part. */
export function literalWords(text: string, space: TermSpace): LiteralTerms {
  const words = space.words(text);
  return {
    ids: Uint32Array.from(words, ({ id }) => id),
    starts: Uint32Array.from(words, ({ start }) => start),
    ends: Uint32Array.from(words, ({ end }) => end),
  };
}

/**
 * The tokens of a text, for a model without one. A token that the tokenizer made of what cannot
 * be found in the text has no place.
 * @param tokens ids of the whole text, tokenized as the checkpoint does.
 */
export function literalTokens(
  text: string,
  tokens: readonly number[],
  vocabulary: Pick<Vocabulary, "bytes">,
): LiteralTerms {
  const folded = foldText(text);
  const starts = new Uint32Array(tokens.length);
  const ends = new Uint32Array(tokens.length);
  let at = 0;
  tokens.forEach((id, i) => {
    const place = placeOf(vocabulary.bytes(id), folded.bytes, at);
    if (place === undefined) return;
    at = place.end;
    starts[i] = folded.starts[place.start] ?? text.length;
    ends[i] = folded.ends[place.end - 1] ?? text.length;
  });
  return { ids: Uint32Array.from(tokens), starts, ends };
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

// eslint-disable-next-line no-control-regex
const ASCII = /^[\x00-\x7f]*$/;

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
  if (ASCII.test(text)) {
    const places = Array.from({ length: text.length + 1 }, (_, i) => i);
    return { bytes: encoder.encode(text.toLowerCase()), starts: places, ends: places.slice(1) };
  }
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
