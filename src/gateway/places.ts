/** A limited number of places, and a queue before them that nobody waits in for ever. */
import { CspladeError } from "../errors/csplade-error.js";

/** Places to take. */
export interface Places {
  /**
   * Takes a place; what is returned gives it back.
   * @throws CspladeError `cluster_busy` if none became free in time.
   */
  take(): Promise<() => void>;
}

/** So many places; each is waited for at most `waitMs`. */
export function createPlaces(count: number, waitMs: number): Places {
  const waiting = new Set<() => void>();
  let free = count;

  function give(): () => void {
    free -= 1;
    let given = true;
    return () => {
      if (!given) return;
      given = false;
      free += 1;
      const [next] = waiting;
      next?.();
    };
  }

  return {
    take() {
      if (free > 0) return Promise.resolve(give());
      return new Promise((resolve, reject) => {
        const enter = (): void => {
          clearTimeout(timer);
          waiting.delete(enter);
          resolve(give());
        };
        const timer = setTimeout(() => {
          waiting.delete(enter);
          reject(
            new CspladeError(
              "cluster_busy",
              `All ${count} connections to the cluster are in use; none became free in ${waitMs} ms.`,
            ),
          );
        }, waitMs).unref();
        waiting.add(enter);
      });
    },
  };
}
