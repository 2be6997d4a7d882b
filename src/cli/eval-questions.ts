/** The questions of an evaluation as the model encodes them. */
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import type { TestQuery } from "../evaluate/beir.js";
import { encodeQueries } from "../evaluate/evaluate-index.js";
import { addedWords, type AddedWord } from "../query/lexical.js";
import { prune } from "../sparse/prune.js";
import { readVocabulary } from "../sparse/vocabulary.js";
import { readTokenizerFile } from "../text/tokenizer.js";

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
  const questions = await encodeQueries({ config, encoder, signal }, texts);
  const { "query.prune_type": prune_type, "query.prune_ratio": prune_ratio } = config;
  return questions.map(({ vector, words = [] }) =>
    addedWords(prune(vector, { prune_type, prune_ratio }), words, vocabulary, lexicon.unit),
  );
}
