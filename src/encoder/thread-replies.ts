/** What an encoder's threads of both kinds say of errors. */
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { EncoderReply } from "./encoder-protocol.js";

/** Of a thread that cannot start. */
export function brokenReply(thrown: unknown): EncoderReply {
  const known = thrown instanceof CspladeError;
  return {
    type: "broken",
    code: known ? thrown.code : "model_invalid",
    message: messageOf(thrown),
    ...(known && thrown.hint !== undefined ? { hint: thrown.hint } : {}),
  };
}

/** Of a task that cannot be done. */
export function failedReply(id: number, thrown: unknown): EncoderReply {
  return {
    type: "failed",
    id,
    code: thrown instanceof CspladeError ? thrown.code : "encode_failed",
    message: messageOf(thrown),
  };
}
