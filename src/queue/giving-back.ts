/** Jobs that a worker cannot do, through no fault of theirs: they go back to the queue unblamed. */
import os from "node:os";
import { DelayedError, type Job, type Worker } from "bullmq";
import type { Config } from "../config/settings.js";
import { onAbort } from "../waiting/on-abort.js";

/** Who takes jobs. */
export interface JobTaker {
  /** Fingerprint of its model. */
  readonly fingerprint: string;
  /** Its device, which tells it from others ({@link deviceName}). */
  readonly device: string;
  /** Aborted when it can encode nothing more: then it takes no further job. */
  readonly broken: AbortSignal;
  /** Told what it survived. */
  readonly onError: (error: Error) => void;
}

/**
 * The device of a process: its host's name and the number of the card there, or the server that encodes,
 * which is one device for all that use it: documents are blamed where several broke.
 */
export function deviceName(config: Pick<Config, "model.device" | "model.remote">): string {
  const remote = config["model.remote"];
  if (remote !== undefined) return new URL(remote).origin;
  return `${os.hostname()}/${config["model.device"]}`;
}

/** Pause before a job that was given back is taken again, milliseconds. */
export const GIVEN_BACK_MS = 1_000;

/** The same for a job of another model, which the others should find first. */
export const OTHERS_MS = 5_000;

/**
 * Gives a job back: it is taken again after a pause, by anybody, and has lost no attempt.
 * @throws DelayedError always: that is how BullMQ learns of it.
 */
export async function giveBack(
  job: Job,
  token: string | undefined,
  pauseMs: number,
): Promise<never> {
  await job.moveToDelayed(Date.now() + pauseMs, token);
  throw new DelayedError();
}

/** A worker takes no further job once the signal is aborted: failing is fast, and would take most. */
export function takeNothingAfter(worker: Worker, broken: AbortSignal): void {
  const stop = (): void => void worker.pause(true).catch(() => {});
  if (broken.aborted) stop();
  // The signal is the encoder's, which may see many workers come and go.
  else worker.once("closed", onAbort(broken, stop));
}
