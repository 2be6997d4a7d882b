/**
 * The states of an encoder thread, and the one place that changes them. Whatever happens to a
 * thread is a transition, and every transition is told to whoever logs and counts.
 */

/** Every state of an encoder thread. */
export const threadStates = [
  /** Its model is being loaded for the first time. */
  "starting",
  /** It waits for texts. */
  "idle",
  /** It works on texts. */
  "busy",
  /** It died, hangs, or its device cannot encode a text that is known to be good. */
  "failed",
  /** A new thread with a new session takes its place. */
  "restarting",
  /** Nothing helped: this process encodes nothing more. */
  "broken",
  /** Ended by its owner. */
  "closed",
] as const;

/** A state of an encoder thread. */
export type ThreadState = (typeof threadStates)[number];

const NEXT: Readonly<Record<ThreadState, readonly ThreadState[]>> = {
  starting: ["idle", "failed", "closed"],
  idle: ["busy", "failed", "closed"],
  busy: ["idle", "failed", "closed"],
  failed: ["restarting", "broken", "closed"],
  restarting: ["idle", "failed", "closed"],
  broken: ["closed"],
  closed: [],
};

/** A change of state. */
export interface ThreadTransition {
  /** Number of the thread, from 0 on. */
  readonly thread: number;
  readonly from: ThreadState;
  readonly to: ThreadState;
  /** Why, where it is no ordinary step. */
  readonly reason?: string;
}

/** The state of one thread. */
export interface ThreadStateMachine {
  readonly state: ThreadState;
  /** Changes the state and tells of it. @throws RangeError if `to` cannot follow the present one. */
  become(to: ThreadState, reason?: string): void;
}

/** A thread that is being started. */
export function threadStateMachine(
  thread: number,
  onTransition: (transition: ThreadTransition) => void,
): ThreadStateMachine {
  let state: ThreadState = "starting";
  return {
    get state() {
      return state;
    },
    become(to, reason) {
      if (!NEXT[state].includes(to)) {
        throw new RangeError(`An encoder thread that is ${state} cannot become ${to}.`);
      }
      const from = state;
      state = to;
      onTransition({ thread, from, to, ...(reason === undefined ? {} : { reason }) });
    },
  };
}
