/**
 * A worker's hold on a slice: its record, and the only one who may change it. Whoever claims later
 * wins; the earlier one learns it at its next checkpoint and stops.
 */
import { randomUUID } from "node:crypto";
import { addCounts, withoutMessage, type SliceCounts, type SliceRecord } from "./run-record.js";
import type { RunStore, Stored } from "./run-store.js";

/** Largest bound of a window while a slice is taken with care. */
const CAREFUL_WINDOW = 128;

/** Deaths of workers at one place after which the document there is taken for the cause. */
export const FATAL_CRASHES = 8;

/** A held slice. */
export interface SliceClaim {
  /** As it was last written. */
  readonly record: SliceRecord;
  /** Records that everything before `position` is done. @throws SliceLostError. */
  checkpoint(position: number, counts: SliceCounts): Promise<void>;
  /** Ends the hold. @throws SliceLostError. */
  end(state: "open" | "done" | "failed", message?: string): Promise<void>;
}

/** Takes a slice. */
export async function claimSlice(
  store: RunStore,
  found: Stored<SliceRecord>,
  worker: string,
): Promise<SliceClaim> {
  const now = new Date().toISOString();
  const before = withoutMessage(found.record);
  let held = await store.writeSlice(found, {
    ...before,
    state: "running",
    worker,
    claim: randomUUID(),
    claims: before.claims + 1,
    claimed_from: before.position,
    ...careOf(before),
    started_at: before.started_at ?? now,
    updated_at: now,
  });
  return {
    get record() {
      return held.record;
    },
    async checkpoint(position, counts) {
      const sum = { ...held.record.counts };
      addCounts(sum, counts);
      // All is well so far: larger windows again.
      const careful = 2 * held.record.careful;
      held = await store.writeSlice(held, {
        ...held.record,
        position,
        counts: sum,
        careful: careful > 2 * CAREFUL_WINDOW ? 0 : careful,
        crashes: 0,
        updated_at: new Date().toISOString(),
      });
    },
    async end(state, message) {
      const record = withoutMessage(held.record);
      held = await store.writeSlice(held, {
        ...record,
        state,
        crashes: 0,
        ...(message === undefined ? {} : { message: message.slice(0, 2_000) }),
        updated_at: new Date().toISOString(),
      });
    },
  };
}

/**
 * How to go on with a slice. One that ended well is "open"; one that is still "running" lost its
 * worker. If that happens again and again at one place, ever smaller windows find the document.
 */
function careOf(before: SliceRecord): Pick<SliceRecord, "crashes" | "careful"> {
  const { state, position, claimed_from, crashes, careful } = before;
  if (state !== "running") return { crashes, careful };
  if (position !== claimed_from) return { crashes: 1, careful };
  if (crashes === 0) return { crashes: 1, careful };
  return {
    crashes: crashes + 1,
    careful: Math.max(1, Math.floor((careful === 0 ? CAREFUL_WINDOW : careful) / 4)),
  };
}

/** Most documents that may go through the encoder at once. */
export function carefulWindow({ careful }: SliceRecord): number {
  return careful === 0 ? Number.POSITIVE_INFINITY : careful;
}

/** True if the next document of a slice killed workers all by itself. */
export function isFatal({ crashes, careful }: SliceRecord): boolean {
  return careful === 1 && crashes >= FATAL_CRASHES;
}
