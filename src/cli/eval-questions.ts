/** The questions of an evaluation as the model encodes them. */
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { ownTerms } from "../encoder/expansion.js";
import type { TestQuery } from "../evaluate/beir.js";
import { encodeQueries } from "../evaluate/evaluate-index.js";
import { addedWords, type AddedWord } from "../query/lexical.js";
import { prune } from "../sparse/prune.js";
import { readVocabulary } from "../sparse/vocabulary.js";
import { readTokenizerFile } from "../text/tokenizer.js";

/** What modes need of each question besides its vector. */
export interface AskedQuestions {
  /** What the model adds, as mode `lexical` asks for it; nothing without a lexical part. */
  readonly added_words?: readonly (readonly AddedWord[])[];
  /** The terms that stand in it, by which mode `two_phase` finds. */
  readonly own_terms: readonly ReadonlySet<number>[];
}

/** @throws CspladeError as encoding does. */
export async function askedQuestions(
  queries: readonly TestQuery[],
  config: Config,
  encoder: Encoder,
  signal: AbortSignal,
): Promise<AskedQuestions> {
  const texts = queries.map(({ text }) => text);
  const questions = await encodeQueries({ config, encoder, signal }, texts);
  const own_terms = await ownTerms(encoder, texts, questions, signal);
  const { lexicon } = encoder;
  if (lexicon === undefined) return { own_terms };
  const vocabulary = readVocabulary(readTokenizerFile(encoder.checkpoint.tokenizerFile));
  const { "query.prune_type": prune_type, "query.prune_ratio": prune_ratio } = config;
  const added_words = questions.map(({ vector, words = [] }) =>
    addedWords(prune(vector, { prune_type, prune_ratio }), words, vocabulary, lexicon.unit),
  );
  return { own_terms, added_words };
}
