/** Many waits on one AbortSignal, with one listener on it. */

const listening = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `listener` once when `signal` is aborted, unless what is returned is called before; never
 * without a signal, or with one that is aborted already. Node takes more than ten listeners on a
 * signal for a leak and warns; a command whose requests all share the signal of Ctrl-C has as many
 * at once as it has requests under way.
 */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (signal === undefined) return () => {};
  let listeners = listening.get(signal);
  if (listeners === undefined) {
    listeners = new Set();
    listening.set(signal, listeners);
  }
  if (listeners.size === 0) signal.addEventListener("abort", tellAll, { once: true });
  // Its own function: the same listener may wait twice.
  const entry = (): void => listener();
  listeners.add(entry);
  return () => {
    if (listeners.delete(entry) && listeners.size === 0) {
      signal.removeEventListener("abort", tellAll);
    }
  };
}

function tellAll(this: AbortSignal): void {
  const listeners = listening.get(this);
  if (listeners === undefined) return;
  // One that is told may stop another.
  for (const listener of [...listeners]) if (listeners.delete(listener)) listener();
}
