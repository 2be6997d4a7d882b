/** An encoder that costs next to nothing: what is left is the pipeline around it. */
import type { Config } from "../src/config/settings.js";
import { openCheckpoint } from "../src/encoder/checkpoint-directory.js";
import type { EncodedText } from "../src/encoder/encoder-protocol.js";
import type { Encoder } from "../src/encoder/encoder.js";
import { randomVectors } from "../test/support/random-vectors.js";

/** Vectors it gives out in turn, and terms of each. */
const VECTORS = 512;
const TERMS = 120;

const NO_LITERALS = { ids: new Uint32Array(), starts: new Uint32Array(), ends: new Uint32Array() };

/** Answers at once with one of some vectors, chosen by the text, as large as a model's. */
export async function stubEncoder(config: Config): Promise<Encoder> {
  const checkpoint = await openCheckpoint(config["model.path"]);
  const { manifest } = checkpoint;
  const draw = randomVectors(11);
  const vectors = Array.from({ length: VECTORS }, () => draw(TERMS, manifest.vocabulary_size));
  const totals = { texts: 0, batches: 0, tokens: 0, padded_tokens: 0, busy_ms: 0 };
  const encode = (texts: readonly string[]): Promise<EncodedText[]> => {
    totals.texts += texts.length;
    return Promise.resolve(
      texts.map((text) => {
        const vector = vectors[(text.length * 31 + text.charCodeAt(text.length - 1)) % VECTORS];
        const passage = { start: 0, end: text.length, tokens: 1, vector: vector ?? draw(1, 1) };
        return { passages: [passage], truncated: false };
      }),
    );
  };
  return {
    checkpoint,
    manifest,
    encodes: { documents: true, queries: true, dense: false },
    encodeDocuments: encode,
    encodeQueries: encode,
    literals: (texts) => Promise.resolve(texts.map(() => NO_LITERALS)),
    lexicon: undefined,
    totals: () => ({ ...totals }),
    health: () => ({ state: "ready", threads: [], restarts: 0 }),
    broken: new AbortController().signal,
    close: () => Promise.resolve(),
  };
}
