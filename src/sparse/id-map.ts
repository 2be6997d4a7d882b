/**
 * Term ids renumbered for an index. OpenSearch's `sparse_vector` field keeps ids as signed
 * 16-bit numbers: an id from 32,768 on fails every query, or falls together with another one
 * (neural-search#1926). Vocabularies are larger, but the documents of an index use a part of
 * theirs; that part is numbered from 0 in the order of the ids.
 *
 * The map is kept with the index as text, in the shorter of two forms: a bitmap of the vocabulary
 * in base64, where a new number is the count of bits before it (8 KB for 49,152 ids, 21 KB for
 * 128,256); or, where hashed ids lie far beyond the vocabulary, `delta:` and the distance of each
 * id to the one before it, in base64 as variable-length numbers of 7 bits a byte (LEB128).
 */
import { CspladeError } from "../errors/csplade-error.js";
import { sparseVector, termsOf, type SparseVector } from "./sparse-vector.js";
import { LARGEST_ID } from "./term-id.js";

/** Most ids that a `sparse_vector` field tells apart. */
export const MOST_MAPPED_IDS = 32_768;

/** A numbering of some term ids. */
export interface IdMap {
  /** How many ids are numbered: the numbers are 0 to `size` - 1. */
  readonly size: number;
  /** The number of a term id; nothing for an id that has none. */
  number(id: number): number | undefined;
  /** The map as text, for the index to keep. */
  readonly text: string;
}

/** A vector in an index's own numbering. */
export interface MappedVector {
  readonly vector: SparseVector;
  /** Terms without a number, which are left out. */
  readonly dropped: number;
}

/**
 * Numbers ids.
 * @param ids at most 32,768 different ones.
 * @throws CspladeError `index_invalid` for more.
 */
export function idMap(ids: Iterable<number>): IdMap {
  const sorted = [...new Set(ids)].sort((a, b) => a - b);
  if (sorted.length > MOST_MAPPED_IDS) {
    throw new CspladeError(
      "index_invalid",
      `${sorted.length} term ids cannot be numbered: a sparse_vector field tells ${MOST_MAPPED_IDS} apart.`,
      { hint: "Leave out the rarest ones." },
    );
  }
  const last = sorted.at(-1) ?? -1;
  const deltas = DELTAS + writeDeltas(sorted).toString("base64");
  const text = base64Length((last + 1) / 8) <= deltas.length ? writeBitmap(sorted, last) : deltas;
  return { ...numbering(sorted), text };
}

/**
 * Reads a map back.
 * @throws CspladeError `index_invalid` for a text that {@link idMap} did not write.
 */
export function readIdMap(text: string): IdMap {
  const inDeltas = text.startsWith(DELTAS);
  const content = inDeltas ? text.slice(DELTAS.length) : text;
  const bytes = Buffer.from(content, "base64");
  const ids = inDeltas ? readDeltas(bytes) : readBitmap(bytes);
  const whole = bytes.toString("base64") === content;
  if (!whole || ids === undefined || ids.length > MOST_MAPPED_IDS) {
    throw new CspladeError("index_invalid", "The index's numbering of term ids is damaged.", {
      hint: "Make the index again: csplade ann.",
    });
  }
  return { ...numbering(ids), text };
}

/** Starts the text of a map in deltas; no base64 has a colon. */
const DELTAS = "delta:";

function base64Length(bytes: number): number {
  return 4 * Math.ceil(Math.ceil(bytes) / 3);
}

function writeBitmap(sorted: readonly number[], last: number): string {
  const bits = Buffer.alloc(Math.ceil((last + 1) / 8));
  for (const id of sorted) bits[id >> 3] = (bits[id >> 3] ?? 0) | (1 << (id & 7));
  return bits.toString("base64");
}

function readBitmap(bits: Buffer): number[] {
  const ids: number[] = [];
  for (const [byte, value] of bits.entries()) {
    for (let bit = 0; bit < 8; bit++) if ((value & (1 << bit)) !== 0) ids.push(byte * 8 + bit);
  }
  return ids;
}

function writeDeltas(sorted: readonly number[]): Buffer {
  const bytes: number[] = [];
  let before = 0;
  for (const id of sorted) {
    let delta = id - before;
    before = id;
    for (; delta > 0x7f; delta = Math.floor(delta / 0x80)) bytes.push((delta % 0x80) + 0x80);
    bytes.push(delta);
  }
  return Buffer.from(bytes);
}

/** Nothing for bytes that {@link writeDeltas} did not write. */
function readDeltas(bytes: Buffer): number[] | undefined {
  const ids: number[] = [];
  let [id, delta, unit] = [0, 0, 1];
  for (const byte of bytes) {
    delta += (byte % 0x80) * unit;
    unit *= 0x80;
    if (byte >= 0x80) {
      if (unit > LARGEST_ID) return undefined;
      continue;
    }
    const repeats = delta === 0 && ids.length > 0;
    id += delta;
    if (repeats || id > LARGEST_ID) return undefined;
    ids.push(id);
    [delta, unit] = [0, 1];
  }
  return unit === 1 ? ids : undefined;
}

function numbering(ids: readonly number[]): Omit<IdMap, "text"> {
  const numbers = new Map(ids.map((id, i) => [id, i]));
  return { size: ids.length, number: (id) => numbers.get(id) };
}

/** A vector in the numbering of an index, without the terms that no document of it may have. */
export function mapVector(vector: SparseVector, map: IdMap): MappedVector {
  const terms: [number, number][] = [];
  for (const [id, weight] of termsOf(vector)) {
    const number = map.number(id);
    if (number !== undefined) terms.push([number, weight]);
  }
  return { vector: sparseVector(terms), dropped: vector.ids.length - terms.length };
}
