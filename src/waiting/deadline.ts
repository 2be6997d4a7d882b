/** Waiting with a bound for what has none itself, as Redis's client, which waits for a lost connection. */
import { CspladeError } from "../errors/csplade-error.js";

/** Waits at most `ms` milliseconds for an operation. @throws CspladeError `deadline_exceeded`. */
export async function withDeadline<T>(
  operation: Promise<T>,
  ms: number,
  doing: string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new CspladeError("deadline_exceeded", `${doing} took too long.`)),
      ms,
    );
  });
  // The loser of the race must not become an unhandled rejection.
  operation.catch(() => {});
  try {
    return await Promise.race([operation, late]);
  } finally {
    clearTimeout(timer);
  }
}
