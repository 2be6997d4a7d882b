/** When a request's work is not wanted any more. */
import type { ServerResponse } from "node:http";
import { CspladeError } from "../errors/csplade-error.js";

/**
 * A signal that is aborted when the deadline is over (reason: `deadline_exceeded`) or the
 * client is gone (reason: `aborted`), and that keeps no process alive.
 */
export function requestSignal(response: ServerResponse, timeoutMs: number): AbortSignal {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(
      new CspladeError("deadline_exceeded", `The request took longer than ${timeoutMs} ms.`, {
        hint: "Send fewer texts at once, or raise gateway.request_timeout_ms.",
      }),
    );
  }, timeoutMs);
  timer.unref();
  response.once("close", () => {
    clearTimeout(timer);
    if (!response.writableFinished) {
      controller.abort(new CspladeError("aborted", "The client closed the connection."));
    }
  });
  return controller.signal;
}
