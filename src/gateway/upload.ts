/** A request's body on its way to the cluster. */
import type { IncomingMessage } from "node:http";
import { Transform } from "node:stream";
import { CspladeError } from "../errors/csplade-error.js";

/** How long what is left of a body is read and thrown away after an early answer. */
const LINGER_MS = 30_000;

/**
 * The body as it comes, `first` before it. It fails where the client sends nothing for `idleMs`
 * although the cluster would take more. Destroying it leaves the request open: the cluster may
 * answer before it has read everything (413), and then the client must be able to read that.
 */
export function uploadOf(
  request: IncomingMessage,
  first: Buffer | undefined,
  idleMs: number,
): Transform {
  const upload = new Transform({
    // Between two chunks the loop looks at the cluster's side of the connection: an answer that is
    // there is read before a write into a closed connection would throw it away.
    transform(chunk: Buffer, _encoding, done) {
      setImmediate(() => done(null, chunk));
    },
  });
  let moved = false;
  const note = (): void => {
    moved = true;
  };
  const timer = setInterval(() => {
    if (!moved && !upload.writableNeedDrain) {
      upload.destroy(
        new CspladeError("deadline_exceeded", `The client sent nothing for ${idleMs} ms.`, {
          hint: "gateway.idle_timeout_ms is how long it may be silent.",
        }),
      );
    }
    moved = false;
  }, idleMs).unref();
  request.on("data", note);
  const gone = (): void => {
    if (!request.complete) upload.destroy(new CspladeError("aborted", "The client left."));
  };
  request.once("close", gone);
  upload.once("close", () => {
    clearInterval(timer);
    request.off("data", note).off("close", gone).unpipe(upload);
  });
  if (first !== undefined) upload.write(first);
  request.pipe(upload);
  return upload;
}

/** Reads what is left of a body, so that the client, which is still sending, comes to read its answer. */
export function endUpload(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  request.resume();
  const timer = setTimeout(() => request.destroy(), LINGER_MS).unref();
  request.once("close", () => clearTimeout(timer));
}
