/** The questions of an evaluation as the model encodes them. */
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { TestQuery } from "../evaluate/beir.js";
import type { WordedVector } from "../query/corpus-idf.js";
import { addedWords, type AddedWord } from "../query/lexical.js";
import { prune } from "../sparse/prune.js";
import { EMPTY_VECTOR } from "../sparse/sparse-vector.js";
import { readVocabulary } from "../sparse/vocabulary.js";
import { readTokenizerFile } from "../text/tokenizer.js";

/** Whole vectors of questions. @throws CspladeError `encode_failed`. */
export async function encodeQueries(
  encoder: Encoder,
  texts: readonly string[],
  signal: AbortSignal,
): Promise<WordedVector[]> {
  const encoded = await encoder.encodeQueries(texts, { signal });
  return encoded.map(({ passages, failure }, i) => {
    if (failure !== undefined) {
      throw new CspladeError(
        "encode_failed",
        `The query ${JSON.stringify(texts[i])} cannot be encoded: ${failure}`,
      );
    }
    return passages[0] ?? { vector: EMPTY_VECTOR };
  });
}

/** What the model adds to each question, as mode `lexical` asks for it; nothing without a lexical part. */
export async function addedToQuestions(
  queries: readonly TestQuery[],
  config: Config,
  encoder: Encoder,
  signal: AbortSignal,
): Promise<AddedWord[][] | undefined> {
  const { lexicon } = encoder;
  if (lexicon === undefined) return undefined;
  const vocabulary = readVocabulary(readTokenizerFile(encoder.checkpoint.tokenizerFile));
  const texts = queries.map(({ text }) => text);
  const questions = await encodeQueries(encoder, texts, signal);
  const { "query.prune_type": prune_type, "query.prune_ratio": prune_ratio } = config;
  return questions.map(({ vector, words = [] }) =>
    addedWords(prune(vector, { prune_type, prune_ratio }), words, vocabulary, lexicon.unit),
  );
}
