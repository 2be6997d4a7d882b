/** Texts → vectors for all routes: the cache of short texts, the queue, passages merged. */
import { LRUCache } from "lru-cache";
import type { Config } from "../config/settings.js";
import type { EncodedText } from "../encoder/encoder-protocol.js";
import type { Encoder } from "../encoder/encoder.js";
import { withExpansion } from "../encoder/expansion.js";
import type { Manifest } from "../encoder/manifest.js";
import { addedWords, type AddedWord } from "../query/lexical.js";
import type { LexicalWord } from "../sparse/literals.js";
import { EMPTY_VECTOR, maxMerge, type SparseVector } from "../sparse/sparse-vector.js";
import { isHashedId, LARGEST_ID } from "../sparse/term-id.js";
import { readVocabulary, type Vocabulary } from "../sparse/vocabulary.js";
import { readTokenizerFile } from "../text/tokenizer.js";
import { createEncodeQueue, type PassageOptions, type Role } from "./encode-queue.js";
import type { Metrics } from "./metrics.js";
import type { RequestLife } from "./request-life.js";

/** One text's vector. */
export interface EncodedVector {
  /** Empty for a blank text, and when there is a `failure`. */
  readonly vector: SparseVector;
  /** Words of its lexical part, where the model has one. */
  readonly words?: readonly LexicalWord[];
  /** Tokens that were read. */
  readonly tokens: number;
  /** True if the end of the text was left out. */
  readonly truncated: boolean;
  /** Why this text alone could not be encoded. */
  readonly failure?: string;
}

/** Encoding as the routes and the proxy use it. */
export interface EncodeService {
  readonly manifest: Manifest;
  readonly vocabulary: Vocabulary;
  /** Whether the model can give a term of this id. */
  isTerm(id: number): boolean;
  /** What the model adds to a question, heaviest first; nothing without a lexical part. */
  addedWords(question: Pick<EncodedVector, "vector" | "words">): AddedWord[];
  /**
   * Questions whose added terms weigh their `factors` of what the model gives them.
   * @throws CspladeError as {@link withExpansion}.
   */
  expanded(
    texts: readonly string[],
    questions: readonly EncodedVector[],
    factors: readonly number[],
    life: Pick<RequestLife, "signal">,
  ): Promise<EncodedVector[]>;
  /**
   * Vectors in the order of the texts; long documents are one vector, the maximum over passages.
   * @param life its signal is read only where something has to be encoded.
   * @param caller whose vectors are kept: neither the time nor the metrics tell one caller what
   *   another has asked.
   * @throws CspladeError `overloaded`, `encode_failed`; the signal's reason.
   */
  encode(
    texts: readonly string[],
    role: Role,
    life: Pick<RequestLife, "signal">,
    caller: string,
  ): Promise<EncodedVector[]>;
  /** Each text's passages, as an encoder gives them; nothing is kept. @throws CspladeError as `encode`. */
  encodePassages(
    texts: readonly string[],
    role: Role,
    how: PassageOptions,
    signal: AbortSignal,
  ): Promise<EncodedText[]>;
}

/** Longer texts are not cached: they are hardly ever asked for twice. */
const CACHED_TEXT_CHARS = 1_000;

/** The service of a loaded model. */
export function createEncodeService(
  config: Config,
  encoder: Encoder,
  metrics: Metrics,
): EncodeService {
  const queue = createEncodeQueue(
    encoder,
    {
      calls: config["model.sessions"],
      call_texts: config["gateway.max_batch_texts"],
      queue_texts: config["gateway.queue_texts"],
    },
    {
      onBatch: (texts) => metrics.batchTexts.observe(texts),
      onDepth: (texts) => metrics.queueTexts.set(texts),
    },
  );
  const entries = config["gateway.cache_entries"];
  const cache = entries === 0 ? undefined : new LRUCache<string, EncodedVector>({ max: entries });
  const { manifest } = encoder;
  const keyOf = (caller: string, text: string, role: Role) => `${caller}\0${role} ${text}`;

  const vocabulary = readVocabulary(readTokenizerFile(encoder.checkpoint.tokenizerFile));

  return {
    manifest,
    vocabulary,
    addedWords({ vector, words = [] }) {
      const { lexicon } = encoder;
      return lexicon === undefined ? [] : addedWords(vector, words, vocabulary, lexicon.unit);
    },
    isTerm: (id) =>
      id < manifest.vocabulary_size ||
      (encoder.lexicon !== undefined && isHashedId(id) && id <= LARGEST_ID),
    expanded: (texts, questions, factors, life) =>
      Promise.all(
        questions.map(async (question, i) => {
          const { [i]: text = "" } = texts;
          const { [i]: factor = 1 } = factors;
          if (factor === 1) return question;
          const [one] = await withExpansion(encoder, [text], [question], factor, life.signal);
          return one ?? question;
        }),
      ),
    async encodePassages(texts, role, how, signal) {
      const encoded = await queue.encode(texts, role, signal, how);
      for (const { passages } of encoded) {
        metrics.tokens.inc(passages.reduce((sum, { tokens }) => sum + tokens, 0));
      }
      return encoded;
    },
    async encode(texts, role, life, caller) {
      const known = new Map<string, EncodedVector>();
      const asked = new Set<string>();
      for (const text of texts) {
        if (known.has(text) || asked.has(text)) continue;
        const found =
          text.length > CACHED_TEXT_CHARS ? undefined : cache?.get(keyOf(caller, text, role));
        metrics.cache.inc({ result: found === undefined ? "miss" : "hit" });
        if (found === undefined) asked.add(text);
        else known.set(text, found);
      }
      const missing = [...asked];
      const encoded = missing.length === 0 ? [] : await queue.encode(missing, role, life.signal);
      missing.forEach((text, index) => {
        const vector = vectorOf(encoded[index]);
        metrics.tokens.inc(vector.tokens);
        known.set(text, vector);
        if (text.length <= CACHED_TEXT_CHARS && vector.failure === undefined) {
          cache?.set(keyOf(caller, text, role), vector);
        }
      });
      return texts.map((text) => known.get(text) ?? vectorOf(undefined));
    },
  };
}

function vectorOf(encoded: EncodedText | undefined): EncodedVector {
  if (encoded === undefined) {
    return { vector: EMPTY_VECTOR, tokens: 0, truncated: false, failure: "no vector came back" };
  }
  const { passages, truncated, failure } = encoded;
  return {
    vector:
      passages.length === 0 ? EMPTY_VECTOR : maxMerge(passages.map((passage) => passage.vector)),
    ...wordsOf(passages),
    tokens: passages.reduce((sum, passage) => sum + passage.tokens, 0),
    truncated,
    ...(failure === undefined ? {} : { failure }),
  };
}

function wordsOf(passages: EncodedText["passages"]): Pick<EncodedVector, "words"> {
  if (passages[0]?.words === undefined) return {};
  return { words: passages.flatMap((passage) => passage.words ?? []) };
}
