/**
 * One process at a time works on a folder: a lock that a crashed holder loses.
 */
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { lock } from "proper-lockfile";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** How {@link withFolderLock} waits. */
export interface FolderLockOptions {
  /** Milliseconds to wait for another holder. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Called once when somebody else holds it. */
  readonly onWait?: () => void;
}

/** A holder that stopped refreshing its lock for this long is gone. */
const staleMs = 20_000;

/**
 * Does `work` while no other process holds the folder's lock.
 * @throws CspladeError `deadline_exceeded` when another process held it all the time, `aborted`.
 */
export async function withFolderLock<T>(
  folder: string,
  options: FolderLockOptions,
  work: () => Promise<T>,
): Promise<T> {
  const release = await acquire(folder, options);
  try {
    return await work();
  } finally {
    // A lock that was taken from us (the machine slept) is no longer ours to release.
    await release().catch(() => undefined);
  }
}

async function acquire(folder: string, options: FolderLockOptions): Promise<() => Promise<void>> {
  const until = Date.now() + options.waitMs;
  let told = false;
  for (;;) {
    if (options.signal?.aborted === true) {
      throw new CspladeError("aborted", `Waiting for the lock of ${folder} was cancelled.`);
    }
    try {
      return await lock(folder, {
        lockfilePath: path.join(folder, ".lock"),
        stale: staleMs,
        update: staleMs / 4,
        // Losing the lock means this process stood still for long; its steps are atomic renames.
        onCompromised: () => undefined,
      });
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ELOCKED") {
        throw new CspladeError(
          "server_failed",
          `The lock of ${folder} cannot be taken: ${messageOf(thrown)}.`,
          { cause: thrown },
        );
      }
    }
    if (Date.now() >= until) {
      throw new CspladeError(
        "deadline_exceeded",
        `Another csplade process kept ${folder} locked for ${Math.round(options.waitMs / 1000)} s.`,
        { hint: "Wait for it to end, or stop it, and try again." },
      );
    }
    if (!told) options.onWait?.();
    told = true;
    await sleep(200);
  }
}
