/**
 * A worker's hold on a slice: its record, and the only one who may change it. Whoever claims later
 * wins; the earlier one learns it at its next checkpoint and stops.
 */
import { randomUUID } from "node:crypto";
import { firstTruncated } from "../documents/document-path.js";
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
  checkpoint(
    position: number,
    counts: SliceCounts,
    truncated_ids?: readonly string[],
  ): Promise<void>;
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
    async checkpoint(position, counts, truncated_ids = []) {
      const sum = { ...held.record.counts };
      addCounts(sum, counts);
      // All is well so far: larger windows again.
      const careful = 2 * held.record.careful;
      held = await store.writeSlice(held, {
        ...held.record,
        position,
        counts: sum,
        truncated_ids: firstTruncated(held.record.truncated_ids, truncated_ids),
        careful: careful > 2 * CAREFUL_WINDOW ? 0 : careful,
        crashes: 0,
        broken_devices: [],
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
  const { state, crashes, careful } = before;
  return state === "running" ? afterCrash(before) : { crashes, careful };
}

/** Devices that must have broken at a document before it is taken for the cause. */
const FATAL_DEVICES = 2;

/** What a slice's record says after the device broke at its place. */
export function afterBrokenDevice(
  before: SliceRecord,
  device: string,
): Pick<SliceRecord, "crashes" | "careful" | "broken_devices"> {
  const devices = before.position === before.claimed_from ? before.broken_devices : [];
  const { crashes, careful } = afterCrash(before);
  return { crashes, careful, broken_devices: [...new Set([...devices, device])] };
}

function afterCrash({
  position,
  claimed_from,
  crashes,
  careful,
}: SliceRecord): Pick<SliceRecord, "crashes" | "careful"> {
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

/**
 * True if the next document of a slice ended workers all by itself; where devices broke, several of
 * them: one alone may be what is broken.
 */
export function isFatal({ crashes, careful, broken_devices: devices }: SliceRecord): boolean {
  const isDevice = devices.length > 0;
  return (
    careful === 1 && crashes >= FATAL_CRASHES && (!isDevice || devices.length >= FATAL_DEVICES)
  );
}
