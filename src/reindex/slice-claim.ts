/**
 * A worker's hold on a slice: its record, and the only one who may change it. Whoever claims later
 * wins; the earlier one learns it at its next checkpoint and stops.
 */
import { randomUUID } from "node:crypto";
import { addCounts, withoutMessage, type SliceCounts, type SliceRecord } from "./run-record.js";
import type { RunStore, Stored } from "./run-store.js";

/** Documents taken in small windows after a worker died over a slice. */
const CAREFUL_DOCUMENTS = 2_000;

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
  // A claim that ended well left the state "open": the worker before us died, or was cut off.
  const crashed = found.record.state === "running";
  const before = withoutMessage(found.record);
  let held = await store.writeSlice(found, {
    ...before,
    state: "running",
    worker,
    claim: randomUUID(),
    claims: before.claims + 1,
    crashes: crashed ? before.crashes + 1 : before.crashes,
    careful: crashed && before.crashes >= 1 ? CAREFUL_DOCUMENTS : before.careful,
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
      const careful = Math.max(0, held.record.careful - counts.read);
      held = await store.writeSlice(held, {
        ...held.record,
        position,
        counts: sum,
        careful,
        // In small windows only deaths at the very same place go on counting.
        crashes: careful === 0 ? 0 : Math.min(held.record.crashes, 3),
        updated_at: new Date().toISOString(),
      });
    },
    async end(state, message) {
      const record = withoutMessage(held.record);
      held = await store.writeSlice(held, {
        ...record,
        state,
        crashes: 0,
        careful: state === "open" ? record.careful : 0,
        ...(message === undefined ? {} : { message: message.slice(0, 2_000) }),
        updated_at: new Date().toISOString(),
      });
    },
  };
}

/** How many documents go through a slice's encoder at once after workers died over it. */
export function carefulWindow({ crashes, careful }: SliceRecord): number {
  if (careful === 0) return Number.POSITIVE_INFINITY;
  return crashes <= 2 ? 32 : 1;
}

/** Deaths at one and the same document after which it is taken for the cause. */
export const FATAL_CRASHES = 6;
