/**
 * The idf that a question was weighed by, small enough to travel with a page: whoever asks for the
 * next page brings it along, so that every page is weighed as the first one was, by whichever
 * gateway, whatever was written in between.
 */
import { createHash } from "node:crypto";
import type { IdfRange } from "../sparse/idf.js";
import type { LexicalWord } from "../sparse/literals.js";

/** What becomes of each of a question's words: two bytes a word, in their order. */
export type IdfCodes = Uint16Array;

/** No document has the word: it is left out. */
export const NOT_FOUND = 0;

/** The cluster could not say: the word weighs as the model has it. */
export const AS_MODEL = 0xffff;

const STEPS = 0xfffe;

/** The nearest idf that a code stands for; within 0.01 % of what it was. */
export function codeOf(idf: number, [least, greatest]: IdfRange): number {
  const share = Math.log(idf / least) / Math.log(greatest / least);
  return 1 + Math.round(Math.min(1, Math.max(0, share)) * (STEPS - 1));
}

/** The idf of a code that is neither {@link NOT_FOUND} nor {@link AS_MODEL}. */
export function idfOf(code: number, [least, greatest]: IdfRange): number {
  return least * (greatest / least) ** ((code - 1) / (STEPS - 1));
}

/** The idf of several questions. */
export interface FixedIdf {
  /** The codes of a question that were carried; undefined for another question. */
  of(words: readonly LexicalWord[]): IdfCodes | undefined;
}

const MARK = "csplade-idf:1:";

/** Longest text that is read. */
const LONGEST = 262_144;

const KEY_BYTES = 4;

/** Questions and their codes as a text, which {@link readFixedIdf} reads. */
export function writeFixedIdf(
  questions: readonly { readonly words: readonly LexicalWord[]; readonly codes: IdfCodes }[],
): string {
  const parts = questions.map(({ words, codes }) => {
    const part = Buffer.alloc(KEY_BYTES + 2 + 2 * codes.length);
    part.set(keyOf(words));
    part.writeUInt16LE(codes.length, KEY_BYTES);
    codes.forEach((code, i) => part.writeUInt16LE(code, KEY_BYTES + 2 + 2 * i));
    return part;
  });
  return MARK + Buffer.concat(parts).toString("base64url");
}

/** Reads what a client sends back; undefined for anything that is not whole. */
export function readFixedIdf(text: string): FixedIdf | undefined {
  if (!text.startsWith(MARK) || text.length > LONGEST) return undefined;
  const bytes = Buffer.from(text.slice(MARK.length), "base64url");
  const found = new Map<string, IdfCodes>();
  for (let at = 0; at < bytes.length;) {
    const start = at + KEY_BYTES + 2;
    if (start > bytes.length) return undefined;
    const count = bytes.readUInt16LE(at + KEY_BYTES);
    const end = start + 2 * count;
    if (end > bytes.length) return undefined;
    const codes = Uint16Array.from({ length: count }, (_, i) => bytes.readUInt16LE(start + 2 * i));
    found.set(bytes.subarray(at, at + KEY_BYTES).toString("hex"), codes);
    at = end;
  }
  return {
    of(words) {
      const codes = found.get(keyOf(words).toString("hex"));
      return codes?.length === words.length ? codes : undefined;
    },
  };
}

/** A field that no index has; names that begin so are csplade's. */
const SORT_FIELD = "csplade_idf";

/**
 * A sort key that sorts nothing: every hit has the same value, a text of {@link writeFixedIdf}, which
 * the cluster puts behind the sort values that the caller sends back for the next page.
 */
export function idfSortKey(idf: string): Readonly<Record<string, object>> {
  return { [SORT_FIELD]: { unmapped_type: "keyword", missing: idf } };
}

/** Whether a sort by these fields can be carried on: by the score alone the cluster gives no values. */
export function carriesIdf(fields: readonly string[]): boolean {
  return fields.length > 1 && fields.includes("_score");
}

function keyOf(words: readonly LexicalWord[]): Buffer {
  const ids = Uint32Array.from(words, ({ id }) => id);
  return createHash("sha256").update(Buffer.from(ids.buffer)).digest().subarray(0, KEY_BYTES);
}
