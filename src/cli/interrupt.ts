/** Ctrl-C and termination as an AbortSignal. */
import { CspladeError } from "../errors/csplade-error.js";

const endings = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Does `work` with a signal that is aborted when the process is asked to end;
 * a second Ctrl-C ends it at once, because the handlers are gone by then.
 * @throws CspladeError `aborted` for whatever fails after that: stopping is the reason.
 */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interruption = new AbortController();
  const interrupt = (): void => {
    detach();
    interruption.abort();
  };
  const detach = (): void => {
    for (const ending of endings) process.off(ending, interrupt);
  };
  for (const ending of endings) process.on(ending, interrupt);
  try {
    return await work(interruption.signal);
  } catch (thrown) {
    if (!interruption.signal.aborted) throw thrown;
    throw new CspladeError("aborted", "Interrupted.", { cause: thrown });
  } finally {
    detach();
  }
}
