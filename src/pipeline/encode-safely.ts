/** Encoding of many texts where one may bring the encoder down. */
import type { EncodedText } from "../encoder/encoder-protocol.js";
import type { EncodeOptions, Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";

/**
 * Encodes texts; if the encoder itself falls over them, halves them until the one at fault fails
 * alone. An encoder that cannot encode anything any more is an error of the worker, not of a text.
 */
export async function encodeSafely(
  encoder: Encoder,
  texts: readonly string[],
  options: EncodeOptions,
): Promise<EncodedText[]> {
  try {
    return await encoder.encodeDocuments(texts, options);
  } catch (thrown) {
    if (!(thrown instanceof CspladeError) || thrown.code !== "encode_failed") throw thrown;
    if (texts.length > 1) {
      const middle = Math.ceil(texts.length / 2);
      return [
        ...(await encodeSafely(encoder, texts.slice(0, middle), options)),
        ...(await encodeSafely(encoder, texts.slice(middle), options)),
      ];
    }
    await encoder.encodeDocuments(["probe"], options);
    return [{ passages: [], truncated: false, failure: thrown.message }];
  }
}
