/**
 * What a job of an ingest remembers of devices that broke over it, so that a document that breaks each
 * of them is found, and a device that is broken itself is not taken for one.
 */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";

/** Schema of what is remembered. */
export const jobCareSchema = z.object({
  /** Devices that broke over the job. */
  devices: z.array(z.string()).readonly(),
  /** Devices that broke over a line of its file alone, by the line's number. */
  suspects: z.record(z.string(), z.array(z.string()).readonly()),
});

/** What is remembered; nothing where no device broke. */
export type JobCare = z.infer<typeof jobCareSchema>;

/** Different devices that must have broken: over a job to encode its documents alone, over one of them to blame it. */
const DEVICES = 2;

/** The device broke while a line's document was encoded alone. */
export class BrokenOverLineError extends CspladeError {
  constructor(
    readonly line: number,
    cause: CspladeError,
  ) {
    super(cause.code, cause.message, { cause });
  }
}

/** What is remembered after `device` broke as `thrown` says. */
export function careAfter(care: JobCare | undefined, device: string, thrown: unknown): JobCare {
  const devices = withOne(care?.devices, device);
  const suspects = { ...care?.suspects };
  if (thrown instanceof BrokenOverLineError) {
    suspects[thrown.line] = withOne(suspects[thrown.line], device);
  }
  return { devices, suspects };
}

/** Whether documents are to be encoded one at a time. */
export function isCareful(care: JobCare | undefined): care is JobCare {
  return care !== undefined && care.devices.length >= DEVICES;
}

/** The devices that broke over a line's document, if they are enough to blame it. */
export function blamedBy(care: JobCare, line: number): readonly string[] | undefined {
  const devices = care.suspects[line] ?? [];
  return devices.length >= DEVICES ? devices : undefined;
}

function withOne(devices: readonly string[] | undefined, device: string): string[] {
  return [...new Set([...(devices ?? []), device])];
}
