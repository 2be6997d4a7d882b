/**
 * Static pruning before encoding (Chang et al. 2025): texts of too low quality (`ingest.min_quality`)
 * are indexed for BM25 and never encoded. Off by default.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { EncodedText } from "../encoder/encoder-protocol.js";
import { passageQuality } from "../text/passage-quality.js";

/** Texts judged in one turn of the event loop, about ten milliseconds. */
const TURN = 32;

/** For each text, whether it is encoded: whether its quality is at least `min_quality`, 0 to 1. */
export async function judgeTexts(
  texts: readonly string[],
  min_quality: number,
): Promise<boolean[]> {
  if (min_quality <= 0) return texts.map(() => true);
  const worth: boolean[] = [];
  for (const text of texts) {
    if (worth.length % TURN === TURN - 1) await nextTurn();
    worth.push(passageQuality(text) >= min_quality);
  }
  return worth;
}

/** A text and whether it is worth encoding. */
export interface JudgedText {
  readonly text: string;
  readonly worth: boolean;
}

/**
 * Encodes the texts that are worth it; the others have no passages.
 * @param encode encodes texts, in input order.
 */
export async function encodeWorthwhile(
  judged: readonly JudgedText[],
  encode: (texts: readonly string[]) => Promise<readonly EncodedText[]>,
): Promise<(EncodedText | undefined)[]> {
  const encoded = await encode(judged.filter(({ worth }) => worth).map(({ text }) => text));
  let next = 0;
  return judged.map(({ worth }) => (worth ? encoded[next++] : { passages: [], truncated: false }));
}
