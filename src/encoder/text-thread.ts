/**
 * A text thread: owns a tokenizer and the lexicon. It cuts texts into passages of tokens, and adds the
 * lexical parts to their vectors, while a session thread encodes others.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { LiteralTerms } from "../sparse/literals.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import { readVocabulary, type Vocabulary } from "../sparse/vocabulary.js";
import {
  countWords,
  documentVector,
  passageVectors,
  queryVector,
  type LexicalVector,
  type ReadPassage,
} from "../text/lexical-vector.js";
import { foreignTexts, type IsForeign } from "../text/foreign-text.js";
import { tokensAround, withTokensAround, type TokensAround } from "../text/input-recipe.js";
import { readLexicon } from "../text/lexicon.js";
import { literalTokens, literalWords } from "../text/literal-terms.js";
import { firstPassage, splitPassages, type Passages } from "../text/passages.js";
import { termSpace, type TermSpace } from "../text/term-space.js";
import { createTokenizer, readTokenizerFile, type Tokenizer } from "../text/tokenizer.js";
import type {
  CutTexts,
  EncoderReply,
  TextOptions,
  TextTask,
  TextThreadData,
  WeighedPassage,
} from "./encoder-protocol.js";
import { brokenReply, failedReply } from "./thread-replies.js";

interface Loaded {
  readonly tokenizer: Tokenizer;
  /** Of a model with a lexical part. */
  readonly space: TermSpace | undefined;
  readonly vocabulary: () => Vocabulary;
  /** What is around the tokens of every text. */
  readonly around: { readonly document: TokensAround; readonly query: TokensAround };
  /** Of a model that knows some languages only. */
  readonly isForeign: IsForeign;
  readonly data: TextThreadData;
}

type WeighTask = Extract<TextTask, { step: "weigh" }>;

async function load(data: TextThreadData): Promise<Loaded> {
  const file = readTokenizerFile(data.tokenizerFile);
  const tokenizer = createTokenizer(file);
  let known: Vocabulary | undefined;
  const vocabulary = () => (known ??= readVocabulary(file));
  const space =
    data.lexiconFile === undefined
      ? undefined
      : termSpace(readLexicon(data.lexiconFile), vocabulary());
  const { input, prompt, languages } = data;
  // Where a model's terms are the only ones, they stay: without them a text could not be found.
  const isForeign =
    space === undefined || languages === undefined
      ? () => false
      : await foreignTexts({ languages, lexicon: space.lexicon });
  const around = {
    document: tokensAround(tokenizer, file, input?.document, prompt?.document),
    query: tokensAround(tokenizer, file, input?.query, prompt?.query),
  };
  return { tokenizer, space, vocabulary, around, isForeign, data };
}

function answer(loaded: Loaded, task: TextTask): EncoderReply {
  const { id, texts } = task;
  const beats = new Int32Array(task.shared);
  const eachText = <T>(work: (text: string) => T): T[] =>
    texts.map((text) => {
      Atomics.add(beats, 1, 1);
      return work(text);
    });
  switch (task.step) {
    case "literals": {
      const literals = eachText((text) => literalsOf(loaded, text, task));
      return { type: "literals", id, literals };
    }
    case "cut": {
      const cut = eachText((text) => cutText(loaded, text, task));
      return { type: "cut", id, cut: cutTexts(cut, loaded, task) };
    }
    case "weigh": {
      const passages =
        loaded.space === undefined
          ? task.vectors.map((vector) => (vector === undefined ? undefined : { vector }))
          : withLexicalParts(task, loaded.space);
      return { type: "weighed", id, passages };
    }
  }
}

function cutText({ tokenizer, data }: Loaded, text: string, options: TextOptions): Passages {
  return options.kind === "queries"
    ? firstPassage(text, tokenizer, options.max_tokens, data.input?.query.prefix)
    : splitPassages(text, tokenizer, options, data.input?.document.prefix);
}

function cutTexts(
  cut: readonly Passages[],
  { around, isForeign }: Loaded,
  { kind, texts, anyLanguage }: TextOptions & { readonly texts: readonly string[] },
): CutTexts {
  const tokens = around[kind === "queries" ? "query" : "document"];
  const passages = cut.flatMap((text, index) =>
    text.passages.map(({ start, end, ids }) => {
      const whole = texts[index] ?? "";
      return {
        text: index,
        start,
        end,
        tokens: ids.length,
        read: withTokensAround(ids, tokens),
        foreign:
          anyLanguage !== true && isForeign(kind === "queries" ? whole : whole.slice(start, end)),
      };
    }),
  );
  return { passages, truncated: cut.map(({ truncated }) => truncated) };
}

function literalsOf(
  { tokenizer, space, vocabulary }: Loaded,
  text: string,
  options: TextOptions,
): LiteralTerms {
  if (space !== undefined) return literalWords(text, space);
  const { passages } = splitPassages(text, tokenizer, options);
  const tokens = passages.flatMap((passage) => passage.ids);
  return literalTokens(text, tokens, vocabulary());
}

/**
 * Of a document the words of the text that the model read count: what lies beyond its limit is in
 * neither part. Of a question all words count.
 */
function withLexicalParts(task: WeighTask, space: TermSpace): (WeighedPassage | undefined)[] {
  const { kind, texts, words, passages, vectors } = task;
  const weighed = new Array<WeighedPassage | undefined>(passages.length).fill(undefined);
  const documents = new Map<number, number[]>();
  passages.forEach(({ text }, place) => {
    if (vectors[place] === undefined) return;
    const document = documents.get(text);
    if (document === undefined) documents.set(text, [place]);
    else document.push(place);
  });
  for (const [index, places] of documents) {
    const text = texts[index] ?? "";
    const read = places.map((place): ReadPassage => {
      const { start, end } = passages[place] as (typeof passages)[number];
      const whole = kind === "queries" ? text : text.slice(start, end);
      return { counted: countWords(whole, space), rows: vectors[place] as SparseVector };
    });
    const both = weigh(read, task, space);
    places.forEach((place, i) => {
      const { vector, words: counted } = both[i] as LexicalVector;
      weighed[place] = words ? { vector, words: counted } : { vector };
    });
  }
  return weighed;
}

/** The vectors of a text's passages. */
function weigh(
  passages: readonly ReadPassage[],
  { kind, top_k, merged, mean_length }: TextOptions,
  space: TermSpace,
): LexicalVector[] {
  if (kind === "queries") {
    return passages.map(({ counted, rows }) => queryVector(counted, rows, top_k, space));
  }
  const mean = merged ? mean_length : undefined;
  if (merged && passages.length > 1) return passageVectors(passages, top_k, space, mean);
  return passages.map((each) => documentVector(each, top_k, space, mean));
}

function reply(message: EncoderReply): void {
  const weighed = message.type === "weighed" ? message.passages : [];
  const transfer = weighed.flatMap((passage) =>
    passage === undefined
      ? []
      : [passage.vector.ids.buffer as ArrayBuffer, passage.vector.weights.buffer as ArrayBuffer],
  );
  parentPort?.postMessage(message, transfer);
}

async function main(): Promise<void> {
  let loaded: Loaded;
  try {
    loaded = await load(workerData as TextThreadData);
  } catch (thrown) {
    reply(brokenReply(thrown));
    return;
  }
  parentPort?.on("message", (task: TextTask | "close") => {
    if (task === "close") {
      parentPort?.close();
      return;
    }
    try {
      reply(answer(loaded, task));
    } catch (thrown) {
      reply(failedReply(task.id, thrown));
    }
  });
  reply({ type: "ready" });
}

void main();
