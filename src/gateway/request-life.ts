/** When a request's work is not wanted any more. */
import type { ServerResponse } from "node:http";
import { CspladeError } from "../errors/csplade-error.js";

/** How long a request's work is wanted: until its deadline, or until its client leaves. */
export interface RequestLife {
  /**
   * Aborted when the deadline is over (reason: `deadline_exceeded`) or the client is gone
   * (reason: `aborted`). Made when it is first read: most requests end without, and an
   * `AbortController` costs as much as reading a small body.
   */
  readonly signal: AbortSignal;
  /**
   * Calls `listener` with the reason once it is over, at once if it is already; what is returned
   * stops that.
   */
  whenOver(listener: (reason: CspladeError) => void): () => void;
}

/** The life of a request, which keeps no process alive. */
export function requestLife(response: ServerResponse, timeoutMs: number): RequestLife {
  let over: CspladeError | undefined;
  let controller: AbortController | undefined;
  const listeners = new Set<(reason: CspladeError) => void>();

  function end(reason: CspladeError): void {
    if (over !== undefined) return;
    over = reason;
    controller?.abort(reason);
    for (const listener of listeners) listener(reason);
    listeners.clear();
  }

  const timer = setTimeout(() => {
    end(
      new CspladeError("deadline_exceeded", `The request took longer than ${timeoutMs} ms.`, {
        hint: "Send fewer texts at once, or raise gateway.request_timeout_ms.",
      }),
    );
  }, timeoutMs);
  timer.unref();
  response.once("close", () => {
    clearTimeout(timer);
    if (!response.writableFinished) {
      end(new CspladeError("aborted", "The client closed the connection."));
    }
  });

  return {
    get signal() {
      if (controller === undefined) {
        controller = new AbortController();
        if (over !== undefined) controller.abort(over);
      }
      return controller.signal;
    },
    whenOver(listener) {
      if (over === undefined) listeners.add(listener);
      else listener(over);
      return () => listeners.delete(listener);
    },
  };
}
