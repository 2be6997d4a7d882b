/** Encoding a sample of documents as a run's workers would. */
import type { EncodedText } from "../encoder/encoder-protocol.js";
import type { Encoder } from "../encoder/encoder.js";
import { encodeExpanded } from "../encoder/expansion.js";
import { encodeWorthwhile, judgeTexts } from "../documents/worth-encoding.js";
import type { RunRecord } from "./run-record.js";

/**
 * Encodes texts with the run's limits; one of too low a quality has no passages.
 * @param mean_length that of the run's index.
 * @throws CspladeError `encode_failed`, `aborted`.
 */
export async function encodeForRun(
  encoder: Encoder,
  {
    encoding,
    passages,
    expansion,
    dense,
  }: Pick<RunRecord, "encoding" | "passages" | "expansion" | "dense">,
  texts: readonly string[],
  signal: AbortSignal,
  mean_length?: number,
): Promise<(EncodedText | undefined)[]> {
  const worth = await judgeTexts(texts, encoding.min_quality);
  const judged = texts.map((text, i) => ({ text, worth: worth[i] ?? true }));
  const { max_passages } = encoding;
  const options = { signal, max_passages, merged: passages === "merged", mean_length, dense };
  return await encodeWorthwhile(judged, (some) =>
    encodeExpanded(encoder, some, expansion, options),
  );
}
