/** What keeps a job from writing when its run is over, or when nobody can tell whether it is. */
import { CspladeError } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";

/** The run of a job is over: nothing of it may be written any more. */
export class RunOverError extends CspladeError {
  constructor(run: string) {
    super("aborted", `The run ${run} is over.`);
  }
}

/** Redis was silent for so long that the run, or the lock of the job, may be over. */
export class UnconfirmedError extends CspladeError {
  constructor(run: string) {
    super("aborted", `Redis does not say whether the run ${run} still lives.`);
  }
}

/** Guards one job. */
export interface JobFence {
  /** Aborted when the work must stop: the run is over, the lock is lost, or the worker closes late. */
  readonly signal: AbortSignal;
  /** To be called before what cannot be undone. @throws the reason of {@link signal}. */
  demandLive(): Promise<void>;
}

/** How often a run is asked for while its job is worked on, milliseconds. */
const LOOK_MS = 1_000;

/** A fence and its end. */
export interface HeldFence extends JobFence {
  abort(reason: CspladeError): void;
  close(): void;
}

/**
 * Raises a fence.
 * @param silenceMs after so long without an answer the work stops; shorter than the job's lock lasts
 *   after its last renewal, so that nobody else can have the job by then.
 */
export function fenceJob(
  run: string,
  isLive: (run: string) => Promise<boolean>,
  silenceMs: number,
): HeldFence {
  const controller = new AbortController();
  const { signal } = controller;
  let confirmedAt = Date.now();
  let looking: Promise<void> | undefined;
  const look = async (): Promise<void> => {
    const asked = Date.now();
    if (await isLive(run)) confirmedAt = asked;
    else controller.abort(new RunOverError(run));
  };
  const lookOnce = (): Promise<void> => {
    looking ??= look().finally(() => (looking = undefined));
    return looking;
  };
  const checkSilence = (): void => {
    if (Date.now() - confirmedAt > silenceMs) controller.abort(new UnconfirmedError(run));
  };
  const timer = setInterval(() => {
    checkSilence();
    // One that fails is followed by another, or by silence.
    if (!signal.aborted) lookOnce().catch(() => {});
  }, LOOK_MS);
  return {
    signal,
    async demandLive() {
      signal.throwIfAborted();
      // One that was asked before proves nothing about now.
      await looking?.catch(() => {});
      await withDeadline(lookOnce(), silenceMs, "Asking for the run").catch(() =>
        controller.abort(new UnconfirmedError(run)),
      );
      signal.throwIfAborted();
    },
    abort: (reason) => controller.abort(reason),
    close: () => clearInterval(timer),
  };
}
