/**
 * The vocabulary: token id → term that people can read, and back.
 *
 * A causal language model's pieces are bytes, written in the vocabulary either through
 * GPT-2's byte ↔ character table ("Ġcat" is " cat") or in SentencePiece's way ("▁cat",
 * with `<0x0A>` for single bytes). BERT's are text, in WordPiece's way: "cat" starts a word
 * and stands for " cat", "##cat" continues one and stands for "cat". All are turned into
 * bytes, and bytes are shown so:
 *
 * - `cat`: " cat", a piece that starts a word. The space goes without saying.
 * - `·cat`: "cat" without the space (inside a word or at the start of a text), where " cat"
 *   is a piece as well; a piece that has no such twin needs no mark (`ization`).
 * - `␠␠x`: spaces that do not merely start a word.
 * - `<0xE2 0x80>`: bytes that are not UTF-8 on their own.
 * - `\n`, `\u{200b}`: control, format and other invisible characters; `\\` a backslash.
 *
 * Distinct ids always have distinct terms, so a term can be turned back into its id.
 */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";

/** Pieces by id as Unigram's files have them: in order, each with the logarithm of its frequency. */
const unigramPieces = z
  .array(z.tuple([z.string(), z.number()]))
  .transform((pieces) => Object.fromEntries(pieces.map(([piece], id) => [piece, id])));

/** The ids of pieces, whichever way a tokenizer's kind of model writes them. */
const piecesSchema = z.union([z.record(z.string(), z.number().int().min(0)), unigramPieces]);

/** What is read of a `tokenizer.json`. */
const tokenizerSchema = z.object({
  model: z.object({
    type: z.string().nullish(),
    continuing_subword_prefix: z.string().nullish(),
    vocab: piecesSchema,
  }),
  added_tokens: z.array(z.object({ id: z.number().int().min(0), content: z.string() })).default([]),
});

/** Terms of one checkpoint. */
export interface Vocabulary {
  /** One more than the largest id. */
  readonly size: number;
  /** The readable term of an id; `#123` for an id that the vocabulary lacks. */
  term(id: number): string;
  /** The id of a readable term, exactly as {@link term} writes it. */
  id(term: string): number | undefined;
  /**
   * The UTF-8 bytes that an id stands for in a text, its leading space included. WordPiece's are
   * those of the text as the tokenizer normalized it, often in lower case and without accents.
   */
  bytes(id: number): Uint8Array | undefined;
}

/**
 * Reads the vocabulary of a parsed `tokenizer.json`.
 * @throws CspladeError `model_invalid` when it is not one with `model.vocab`, or when two
 * pieces share an id.
 */
export function readVocabulary(tokenizer: unknown): Vocabulary {
  const parsed = tokenizerSchema.safeParse(tokenizer);
  if (!parsed.success) {
    throw new CspladeError(
      "model_invalid",
      `tokenizer.json cannot be read as a vocabulary: ${z.prettifyError(parsed.error)}`,
    );
  }
  const { model, added_tokens: added } = parsed.data;
  const addedIds = new Set(added.map((token) => token.id));
  const pieces = Object.entries(model.vocab).filter(([, id]) => !addedIds.has(id));
  const bytesOf = spellingOf(
    model,
    pieces.map(([piece]) => piece),
  );

  const bytes = new Map<number, Uint8Array>();
  const texts = new Map<number, PieceText>();
  for (const [piece, id] of pieces) {
    if (texts.has(id)) {
      throw new CspladeError("model_invalid", `tokenizer.json gives the id ${id} to two pieces.`);
    }
    bytes.set(id, bytesOf(piece));
    texts.set(id, pieceText(bytesOf(piece)));
  }
  for (const { id, content } of added) {
    bytes.set(id, new TextEncoder().encode(content));
    texts.set(id, { text: content, startsWord: false });
  }
  return { ...nameTerms(texts, addedIds), bytes: (id) => bytes.get(id) };
}

/** How the vocabulary writes the bytes of its pieces. */
function spellingOf(
  { type, continuing_subword_prefix: prefix }: z.infer<typeof tokenizerSchema>["model"],
  pieces: readonly string[],
): (piece: string) => Uint8Array {
  if (type === "WordPiece") return (piece) => wordPieceBytes(piece, prefix ?? "##");
  return pieces.every(isByteLevel) ? byteLevelBytes : sentencePieceBytes;
}

/** A piece's text without the space that starts a word, or the bytes that are no text. */
type PieceText =
  { readonly text: string; readonly startsWord: boolean } | { readonly bytes: Uint8Array };

function pieceText(bytes: Uint8Array): PieceText {
  const text = decodeUtf8(bytes);
  if (text === undefined) return { bytes };
  const startsWord = text.length > 1 && text.startsWith(" ") && !text.startsWith("  ");
  return { text: startsWord ? text.slice(1) : text, startsWord };
}

function nameTerms(
  texts: ReadonlyMap<number, PieceText>,
  unmarked: ReadonlySet<number>,
): Omit<Vocabulary, "bytes"> {
  const wordStarts = new Set<string>();
  for (const piece of texts.values()) {
    if ("text" in piece && piece.startsWord) wordStarts.add(piece.text);
  }
  const terms = new Map<number, string>();
  const ids = new Map<string, number>();
  for (const id of [...texts.keys()].sort((a, b) => a - b)) {
    const piece = texts.get(id) as PieceText;
    let term: string;
    if ("bytes" in piece) term = showBytes(piece.bytes);
    else {
      const twin = !piece.startsWord && !unmarked.has(id) && wordStarts.has(piece.text);
      term = (twin ? CONTINUES : "") + showText(piece.text);
    }
    // Two may have the same text (an added token and a piece, or pieces with spaces of their own):
    // the id then tells them apart.
    while (ids.has(term)) term += `\\#${id}`;
    terms.set(id, term);
    ids.set(term, id);
  }
  return {
    size: lastOf(texts.keys()) + 1,
    term: (id) => terms.get(id) ?? `#${id}`,
    id: (term) => ids.get(term),
  };
}

function lastOf(ids: Iterable<number>): number {
  let last = -1;
  for (const id of ids) last = Math.max(last, id);
  return last;
}

const CONTINUES = "·";
const SPACE_SIGN = "␠";

/** Characters that are written as escapes wherever they stand, except the plain space. */
const INVISIBLE = /[\p{C}\p{Z}\\␠]/u;

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  [" ", SPACE_SIGN],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\\", "\\\\"],
]);

function showText(text: string): string {
  let shown = "";
  for (const char of text) {
    shown += INVISIBLE.test(char) ? (SHORT_ESCAPES.get(char) ?? codePoint(char)) : char;
  }
  // What would read as one of our own signs, or as an accent on whatever stands before it.
  return /^(?:·|\p{M}|#\d+$|<0x)/u.test(shown) ? escapeFirst(shown) : shown;
}

function escapeFirst(shown: string): string {
  const [first = ""] = shown;
  return codePoint(first) + shown.slice(first.length);
}

function codePoint(char: string): string {
  return `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
}

function showBytes(bytes: Uint8Array): string {
  const hex = [...bytes].map((byte) => `0x${byte.toString(16).toUpperCase().padStart(2, "0")}`);
  return `<${hex.join(" ")}>`;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * GPT-2's table (Radford et al. 2019, `bytes_to_unicode`): printable Latin-1 bytes stand for
 * themselves, the other 68 are the characters from U+0100 on, in byte order.
 */
const BYTE_OF: ReadonlyMap<string, number> = byteTable();

function byteTable(): Map<string, number> {
  const table = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return table;
}

function isByteLevel(piece: string): boolean {
  for (const char of piece) if (!BYTE_OF.has(char)) return false;
  return true;
}

function byteLevelBytes(piece: string): Uint8Array {
  return Uint8Array.from(piece, (char) => BYTE_OF.get(char) as number);
}

function sentencePieceBytes(piece: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
  if (byte?.[1] !== undefined) return Uint8Array.of(parseInt(byte[1], 16));
  return new TextEncoder().encode(piece.replaceAll("▁", " "));
}

function wordPieceBytes(piece: string, prefix: string): Uint8Array {
  // The prefix alone continues nothing; without a prefix every piece may start a word.
  const continues = prefix !== "" && piece !== prefix && piece.startsWith(prefix);
  return new TextEncoder().encode(continues ? piece.slice(prefix.length) : ` ${piece}`);
}
