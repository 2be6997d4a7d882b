/** How a job failed, in the one sentence that BullMQ keeps of it: code first, then what happened. */
import { UnrecoverableError } from "bullmq";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** Errors that trying again cannot mend. */
const FINAL = new Set(["model_mismatch", "index_invalid", "index_not_found", "source_unreadable"]);

/** True for an error after which a job is not tried again. */
export function isFinal(thrown: unknown): boolean {
  return thrown instanceof CspladeError && FINAL.has(thrown.code);
}

/** What a handler threw, as BullMQ is to get it: with its code, and not tried again where that is of no use. */
export function jobFailure(thrown: unknown): Error {
  if (!(thrown instanceof CspladeError)) return new Error(messageOf(thrown));
  const hint = thrown.hint === undefined ? "" : ` ${thrown.hint}`;
  const sentence = `${thrown.code}: ${thrown.message}${hint}`;
  return isFinal(thrown) ? new UnrecoverableError(sentence) : new Error(sentence);
}
