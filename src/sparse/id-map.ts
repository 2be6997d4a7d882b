/**
 * Token ids renumbered for an index. OpenSearch's `sparse_vector` field keeps ids as signed
 * 16-bit numbers: an id from 32,768 on fails every query, or falls together with another one
 * (neural-search#1926). Vocabularies are larger, but the documents of an index use a part of
 * theirs; that part is numbered from 0 in the order of the ids.
 *
 * The map is kept with the index as a bitmap of the vocabulary in base64, so that a new number
 * is the count of bits before it: 8 KB for 49,152 ids, 21 KB for 128,256.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { sparseVector, termsOf, type SparseVector } from "./sparse-vector.js";

/** Most ids that a `sparse_vector` field tells apart. */
export const MOST_MAPPED_IDS = 32_768;

/** A numbering of some token ids. */
export interface IdMap {
  /** How many ids are numbered: the numbers are 0 to `size` - 1. */
  readonly size: number;
  /** The number of a token id; nothing for an id that has none. */
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
      `${sorted.length} token ids cannot be numbered: a sparse_vector field tells ${MOST_MAPPED_IDS} apart.`,
      { hint: "Leave out the rarest ones." },
    );
  }
  const bits = Buffer.alloc(Math.ceil(((sorted.at(-1) ?? -1) + 1) / 8));
  for (const id of sorted) bits[id >> 3] = (bits[id >> 3] ?? 0) | (1 << (id & 7));
  return { ...numbering(sorted), text: bits.toString("base64") };
}

/**
 * Reads a map back.
 * @throws CspladeError `index_invalid` for a text that {@link idMap} did not write.
 */
export function readIdMap(text: string): IdMap {
  const bits = Buffer.from(text, "base64");
  const ids: number[] = [];
  for (const [byte, value] of bits.entries()) {
    for (let bit = 0; bit < 8; bit++) if ((value & (1 << bit)) !== 0) ids.push(byte * 8 + bit);
  }
  if (bits.toString("base64") !== text || ids.length > MOST_MAPPED_IDS) {
    throw new CspladeError("index_invalid", "The index's numbering of token ids is damaged.", {
      hint: "Make the index again: csplade ann.",
    });
  }
  return { ...numbering(ids), text };
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
