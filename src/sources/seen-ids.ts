/** Remembers which ids a run has seen, to name duplicates with the line that came first. */
import { createHash } from "node:crypto";

/** A set of ids in about 100 bytes each. */
export interface SeenIds {
  /** Notes an id; returns the place that had it before, if any. */
  note(id: string, place: number): number | undefined;
}

/** One `Map` holds at most 2²⁴ entries in V8, so ids are spread over 256. */
const SHARDS = 256;

/** Creates an empty set. Ids are kept as 128-bit hashes: equal ones mean equal ids. */
export function createSeenIds(): SeenIds {
  const shards = Array.from({ length: SHARDS }, () => new Map<string, number>());
  return {
    note(id, place) {
      const hash = createHash("sha256").update(id).digest();
      const shard = shards[hash[0] as number] as Map<string, number>;
      const key = hash.toString("latin1", 1, 17);
      const before = shard.get(key);
      if (before === undefined) shard.set(key, place);
      return before;
    },
  };
}
