/** Scans NDJSON files into chunks, on a thread of its own. */
import { Worker } from "node:worker_threads";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import { onAbort } from "../waiting/on-abort.js";
import type { ScanReply, ScanRequest, ScannedChunk } from "./scan-protocol.js";

/**
 * Yields the chunks of the files in order. The thread is at most `ahead` chunks in
 * front of the reader, so memory stays bounded however large the files are.
 * @throws CspladeError `source_unreadable`; `aborted` through the signal.
 */
export async function* scan(
  request: ScanRequest,
  signal?: AbortSignal,
): AsyncGenerator<ScannedChunk> {
  signal?.throwIfAborted();
  const worker = new Worker(new URL("./scan-thread.js", import.meta.url), { workerData: request });
  const received: ScanReply[] = [];
  let wake = () => {};
  worker.on("message", (message: ScanReply) => {
    received.push(message);
    wake();
  });
  const fail = (message: string) => {
    received.push({ type: "error", code: "source_unreadable", message });
    wake();
  };
  worker.on("error", (error) => fail(`The scan stopped: ${messageOf(error)}`));
  worker.on("exit", () => fail("The scan ended early."));
  const stopListening = onAbort(signal, () => {
    received.unshift({ type: "error", code: "aborted", message: "The scan was cancelled." });
    wake();
  });
  try {
    for (;;) {
      const message = received.shift();
      if (message === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
      } else if (message.type === "error") {
        throw new CspladeError(message.code as ErrorCode, message.message);
      } else if (message.type === "end") {
        return;
      } else {
        worker.postMessage("next");
        yield message.scanned;
      }
    }
  } finally {
    stopListening();
    await worker.terminate();
  }
}
