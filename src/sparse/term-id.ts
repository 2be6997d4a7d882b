/**
 * Ids of terms that no row of a vocabulary stands for: hashes of their stems. They lie above
 * every row, so that both kinds fit into one vector, and within 32 bits.
 */

/** The smallest id that is a hash. */
const FIRST_HASHED_ID = 0x8000_0000;

/** The largest id there can be. */
export const LARGEST_ID = 0xffff_ffff;

/** Whether an id is a hash and no row of a vocabulary. */
export function isHashedId(id: number): boolean {
  return id >= FIRST_HASHED_ID;
}

const utf8 = new TextEncoder();

/** The id of a stem: the upper 31 bits of the FNV-1a hash of its UTF-8 bytes, above all rows. */
export function hashedId(stem: string): number {
  let hash = 0x811c9dc5;
  for (const byte of utf8.encode(stem)) hash = Math.imul(hash ^ byte, 0x01000193);
  return FIRST_HASHED_ID + (hash >>> 1);
}
