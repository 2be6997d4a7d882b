/** The words of a document's fields that its added terms came from: its text is encoded again without them. */
import type { OriginSpan } from "../sparse/literals.js";
import { termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { readableHtml } from "../text/html-text.js";
import { stemOf } from "../text/stem.js";
import { findWords } from "../text/words.js";
import type { EncodedText } from "./encoder-protocol.js";
import type { Encoder } from "./encoder.js";
import { termOrigins, type OriginWord, type TextWord } from "./occlusion.js";

/** A field whose text was encoded. */
export interface OriginField {
  readonly name: string;
  readonly text: string;
  /** It holds HTML, whose text was encoded. */
  readonly isHtml: boolean;
}

/** Of which document, and by which model. */
export interface OriginRequest {
  readonly fields: readonly OriginField[];
  /** Terms that the model added, those that matter most first. */
  readonly terms: readonly number[];
  /** The passage that they stand in, where each is kept by itself. */
  readonly passage?: number | undefined;
  readonly encoder: Pick<Encoder, "literals" | "lexicon">;
  /** Encodes documents as those of the index were. */
  readonly encode: (texts: readonly string[], most_passages: number) => Promise<EncodedText[]>;
  readonly signal?: AbortSignal | undefined;
}

/** Passages of a text that are looked at. */
const MOST_PASSAGES = 32;

/** Texts with words left out that are encoded for one document. */
const MOST_ENCODINGS = 64;

/** Fewer for a passage find nothing. */
const FEWEST_ENCODINGS = 8;

/** Texts that are encoded in one call: searches that wait for the same encoder come between. */
const CALL_TEXTS = 8;

/** Words with fewer letters or digits say too little alone. */
const SHORTEST_WORD = 2;

/**
 * Where each term came from, by its id; terms whose origin was not found are left out. It takes up to
 * {@link MOST_ENCODINGS} texts, and two more for each passage.
 * @throws CspladeError what encoding throws; the signal's reason.
 */
export async function fieldOrigins(
  request: OriginRequest,
): Promise<ReadonlyMap<number, readonly OriginSpan[]>> {
  const { terms, encode, signal } = request;
  const origins = new Map<number, readonly OriginSpan[]>();
  if (terms.length === 0) return origins;
  const { text, place } = joined(request.fields);
  const [whole] = await encode([text], MOST_PASSAGES);
  const passages = await readPassages(request, text, whole);
  let left = MOST_ENCODINGS;
  const inPassages = termsByPassage(terms, passages);
  for (const [i, [passage, weights]] of inPassages.entries()) {
    const encodings = Math.floor(left / (inPassages.length - i));
    if (encodings < FEWEST_ENCODINGS && i > 0) continue;
    signal?.throwIfAborted();
    const words = await wordsOf(request, passage.text);
    const own = new Set(words.map(({ key }) => key));
    const found = await termOrigins({
      text: passage.text,
      words,
      terms: weights,
      encodings,
      weigh: (texts) => weigh(request, texts, own),
    });
    left -= found.encodings;
    for (const [term, words] of found.words) {
      origins.set(
        term,
        words.flatMap((word) => place(word, passage.start)),
      );
    }
  }
  return origins;
}

/** Fields as one text, and where its stretches stand in them. */
function joined(fields: readonly OriginField[]): {
  readonly text: string;
  readonly place: (word: OriginWord, offset: number) => OriginSpan[];
} {
  const parts: (OriginField & { readonly from: number; readonly at: (i: number) => number })[] = [];
  let text = "";
  for (const field of fields) {
    const { readable, at } = field.isHtml ? withoutMarkup(field.text) : asItIs(field.text);
    if (readable.trim() === "") continue;
    if (text !== "") text += " ";
    parts.push({ ...field, from: text.length, at });
    text += readable;
  }
  return {
    text,
    place({ start, end, share }, offset) {
      const part = parts.findLast(({ from }) => from <= offset + start);
      if (part === undefined) return [];
      const { name: field, at } = part;
      const from = at(offset + start - part.from);
      const to = at(offset + end - part.from - 1) + 1;
      return [{ field, start: from, end: to, text: part.text.slice(from, to), share }];
    },
  };
}

/** A text that is read, and where each of its characters stands in the field. */
interface ReadableText {
  readonly readable: string;
  readonly at: (i: number) => number;
}

function asItIs(text: string): ReadableText {
  return { readable: text, at: (i) => i };
}

function withoutMarkup(html: string): ReadableText {
  const places: number[] = [];
  let readable = "";
  for (const { 0: run, index } of readableHtml(html).matchAll(/\S+|\s+/g)) {
    const kept = run.trim() === "" ? " " : run;
    readable += kept;
    for (let i = 0; i < kept.length; i++) places.push(index + i);
  }
  return { readable, at: (i) => places[i] ?? html.length };
}

/** A passage by itself. */
interface ReadPassage {
  readonly start: number;
  readonly text: string;
  readonly vector: SparseVector;
}

/** Passages that become one vector share their terms in it: here each is encoded alone. */
async function readPassages(
  { passage: asked, encode }: OriginRequest,
  text: string,
  whole: EncodedText | undefined,
): Promise<ReadPassage[]> {
  const all = whole?.passages ?? [];
  const passages = asked === undefined ? all : all.slice(asked, asked + 1);
  const read: ReadPassage[] = [];
  if (all.length <= 1) {
    return passages.map(({ start, end, vector }) => ({
      start,
      text: text.slice(start, end),
      vector,
    }));
  }
  for (let at = 0; at < passages.length; at += CALL_TEXTS) {
    const some = passages.slice(at, at + CALL_TEXTS);
    const texts = some.map(({ start, end }) => text.slice(start, end));
    const encoded = await encode(texts, 1);
    some.forEach(({ start }, i) => {
      const vector = encoded[i]?.passages[0]?.vector;
      if (vector !== undefined) read.push({ start, text: texts[i] ?? "", vector });
    });
  }
  return read;
}

/** The passage where each term weighs most; that of the first term comes first. */
function termsByPassage(
  terms: readonly number[],
  passages: readonly ReadPassage[],
): (readonly [ReadPassage, Map<number, number>])[] {
  const weights = passages.map(({ vector }) => new Map(termsOf(vector)));
  const found = new Map<ReadPassage, Map<number, number>>();
  for (const term of terms) {
    let best: readonly [ReadPassage, number] | undefined;
    for (const [i, passage] of passages.entries()) {
      const weight = weights[i]?.get(term) ?? 0;
      if (weight > (best?.[1] ?? 0)) best = [passage, weight];
    }
    if (best === undefined) continue;
    const [passage, weight] = best;
    const there = found.get(passage);
    if (there === undefined) found.set(passage, new Map([[term, weight]]));
    else there.set(term, weight);
  }
  return [...found];
}

/**
 * Weights in each text, which is one passage.
 * @param own terms that stand in it, where they have ids of their own.
 */
async function weigh(
  { encode, signal }: OriginRequest,
  texts: readonly string[],
  own: ReadonlySet<TextWord["key"]>,
): Promise<(((term: number) => number) | undefined)[]> {
  const weighed: (((term: number) => number) | undefined)[] = [];
  for (let at = 0; at < texts.length; at += CALL_TEXTS) {
    signal?.throwIfAborted();
    const encoded = await encode(texts.slice(at, at + CALL_TEXTS), 1);
    for (const { passages, failure } of encoded) {
      if (failure !== undefined) {
        weighed.push(undefined);
        continue;
      }
      const { vector } = passages[0] ?? {};
      const weights = new Map(vector === undefined ? [] : termsOf(vector));
      // A vector holds its heaviest terms, in their order: one that is missing may be the next.
      const lightest = vector?.ids.findLast((id) => !own.has(id));
      const rest = lightest === undefined ? 0 : (weights.get(lightest) ?? 0);
      weighed.push((term) => weights.get(term) ?? rest);
    }
  }
  return weighed;
}

/** Words that can be a term's origin: of a model with a lexicon those that count, so no stop words. */
async function wordsOf(
  { encoder, signal }: OriginRequest,
  text: string,
): Promise<readonly TextWord[]> {
  if (encoder.lexicon === undefined) {
    return findWords(text)
      .filter(({ text: word }) => word.length >= SHORTEST_WORD)
      .map(({ text: word, start, end }) => ({ key: stemOf(word), start, end }));
  }
  const [own] = await encoder.literals([text], signal === undefined ? {} : { signal });
  return Array.from(own?.ids ?? [], (key, i) => ({
    key,
    start: own?.starts[i] ?? 0,
    end: own?.ends[i] ?? 0,
  })).filter(({ start, end }) => end > start);
}
