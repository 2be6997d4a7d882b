/** The thread that scans large bodies, so that the gateway's event loop never waits for one. */
import { parentPort } from "node:worker_threads";
import { CspladeError } from "../errors/csplade-error.js";
import { ClauseError } from "./csplade-clause.js";
import { scanSearches } from "./search-scan.js";
import type { ScanAnswer, ScanTask } from "./search-scanner.js";

parentPort?.on("message", ({ id, body, target, options }: ScanTask) => {
  let answer: ScanAnswer;
  try {
    answer = { id, scan: scanSearches(Buffer.from(body).toString("utf8"), target, options) };
  } catch (thrown) {
    // An unexpected error may quote the body.
    const { code, message, hint } =
      thrown instanceof CspladeError
        ? thrown
        : new CspladeError("query_invalid", "The search's body cannot be read.");
    answer = {
      id,
      error: {
        code,
        message,
        hint,
        ...(thrown instanceof ClauseError ? { offset: thrown.offset } : {}),
      },
    };
  }
  parentPort?.postMessage(answer);
});
