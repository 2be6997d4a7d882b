/**
 * An encoder thread: owns one tokenizer and one ONNX session, so that neither
 * tokenizing nor inference ever blocks an event loop that holds a queue's locks.
 */
import { parentPort, workerData } from "node:worker_threads";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { LiteralTerms, LiteralWord } from "../sparse/literals.js";
import { EMPTY_VECTOR, type SparseVector } from "../sparse/sparse-vector.js";
import { readVocabulary, type Vocabulary } from "../sparse/vocabulary.js";
import {
  countWords,
  documentVector,
  passageVectors,
  queryVector,
  type LexicalVector,
  type ReadPassage,
} from "../text/lexical-vector.js";
import { tokensAround, withTokensAround, type TokensAround } from "../text/input-recipe.js";
import { readLexicon } from "../text/lexicon.js";
import { literalTokens, literalWords } from "../text/literal-terms.js";
import { firstPassage, splitPassages, type Passage, type Passages } from "../text/passages.js";
import { termSpace, type TermSpace } from "../text/term-space.js";
import { createTokenizer, readTokenizerFile, type Tokenizer } from "../text/tokenizer.js";
import { planBatches } from "./batches.js";
import {
  KNOWN_GOOD,
  type EncodedText,
  type EncoderReply,
  type EncoderRequest,
  type EncoderThreadData,
  type EncoderWork,
} from "./encoder-protocol.js";
import { isMemoryExhausted } from "./memory-exhausted.js";
import { openSession, type OnnxSession } from "./onnx-session.js";

interface Loaded {
  readonly tokenizer: Tokenizer;
  readonly session: OnnxSession;
  /** Of a model with a lexical part. */
  readonly space: TermSpace | undefined;
  readonly vocabulary: () => Vocabulary;
  readonly data: EncoderThreadData;
  /** What is around the tokens of every text. */
  readonly around: { readonly document: TokensAround; readonly query: TokensAround };
  /** Tokens of {@link KNOWN_GOOD}. */
  readonly knownGood: readonly number[];
  /** Most tokens of a batch since memory ran out for a larger one. */
  fitting: number;
}

/** The device failed, whatever the texts. */
class DeviceFailure extends Error {}

/** A passage with its place in the request, so that results find their way back. */
interface PlacedPassage extends Passage {
  /** What the model reads: the passage's tokens and the prompt's. */
  readonly read: readonly number[];
  readonly text: number;
  vector?: SparseVector;
  words?: readonly LiteralWord[];
  failure?: string;
}

function reply(message: EncoderReply, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

async function load(data: EncoderThreadData): Promise<Loaded> {
  const file = readTokenizerFile(data.tokenizerFile);
  const tokenizer = createTokenizer(file);
  let known: Vocabulary | undefined;
  const vocabulary = () => (known ??= readVocabulary(file));
  const space =
    data.lexiconFile === undefined
      ? undefined
      : termSpace(readLexicon(data.lexiconFile), vocabulary());
  const { ids } = firstPassage(KNOWN_GOOD, tokenizer, 16).passages[0] ?? { ids: [] };
  const knownGood = ids.length > 0 ? ids : [0];
  const session = await openSession(data.modelFile, data);
  reply({ type: "loaded" });
  const { input, prompt } = data;
  const around = {
    document: tokensAround(tokenizer, file, input?.document, prompt?.document),
    query: tokensAround(tokenizer, file, input?.query, prompt?.query),
  };
  const fitting = Infinity;
  const loaded = { tokenizer, session, space, vocabulary, data, around, knownGood, fitting };
  // A device is ready once it has encoded something, not once it has taken the weights.
  await encodeKnownGood(loaded);
  return loaded;
}

async function encodeKnownGood({ session, knownGood, data }: Loaded): Promise<void> {
  try {
    await session.run([knownGood], data.padTokenId, 1);
  } catch (cause) {
    if (cause instanceof CspladeError && cause.code === "model_invalid") throw cause;
    throw new CspladeError(
      "device_failed",
      `The ${data.provider} provider cannot encode a text that is known to be good: ${messageOf(cause)}`,
      { cause, hint: "Look at the device (nvidia-smi, the kernel's log) and start again." },
    );
  }
}

async function serve(loaded: Loaded, request: EncoderRequest): Promise<void> {
  if (request.kind === "literals") {
    const literals = request.texts.map((text) => literalsOf(loaded, text, request));
    reply({ type: "literals", id: request.id, literals });
    return;
  }
  const started = performance.now();
  const beat = beatOf(request);
  const cut = request.texts.map((text) => {
    beat();
    return cutText(loaded, text, request);
  });
  const around = loaded.around[request.kind === "queries" ? "query" : "document"];
  const passages = cut.flatMap((text, index) =>
    text.passages.map((passage): PlacedPassage => ({
      ...passage,
      text: index,
      read: withTokensAround(passage.ids, around),
    })),
  );
  const encodable = passages.filter((passage) => passage.ids.length > 0);
  const work = await encodeAll(loaded, encodable, request);
  if (loaded.space !== undefined) addLexicalParts(encodable, request, loaded.space);
  const texts = collect(cut, passages);
  const transfer = passages.flatMap(({ vector }) =>
    vector === undefined
      ? []
      : [vector.ids.buffer as ArrayBuffer, vector.weights.buffer as ArrayBuffer],
  );
  reply(
    {
      type: "encoded",
      id: request.id,
      texts,
      work: { ...work, busy_ms: performance.now() - started, ...lessonOf(loaded) },
    },
    transfer,
  );
}

/** Tells the main thread that work goes on. */
function beatOf({ shared }: EncoderRequest): () => void {
  const cells = new Int32Array(shared);
  return () => void Atomics.add(cells, 1, 1);
}

/** The lesson of exhausted memory, for a reply. */
function lessonOf({ fitting }: Loaded): { fitting_tokens?: number } {
  return Number.isFinite(fitting) ? { fitting_tokens: fitting } : {};
}

function cutText({ tokenizer, data }: Loaded, text: string, request: EncoderRequest): Passages {
  return request.kind === "queries"
    ? firstPassage(text, tokenizer, request.max_tokens, data.input?.query.prefix)
    : splitPassages(text, tokenizer, request, data.input?.document.prefix);
}

function literalsOf(
  { tokenizer, space, vocabulary }: Loaded,
  text: string,
  request: EncoderRequest,
): LiteralTerms {
  if (space !== undefined) return literalWords(text, space);
  const { passages } = splitPassages(text, tokenizer, request);
  const tokens = passages.flatMap((passage) => passage.ids);
  return literalTokens(text, tokens, vocabulary());
}

/**
 * Of a document the words of the text that the model read count: what lies beyond its limit is in
 * neither part. Of a question all words count.
 */
function addLexicalParts(
  passages: readonly PlacedPassage[],
  request: EncoderRequest,
  space: TermSpace,
): void {
  const { kind, texts, words } = request;
  const documents = new Map<number, PlacedPassage[]>();
  for (const passage of passages) {
    if (passage.vector === undefined) continue;
    const document = documents.get(passage.text);
    if (document === undefined) documents.set(passage.text, [passage]);
    else document.push(passage);
  }
  for (const [index, document] of documents) {
    const text = texts[index] ?? "";
    const read = document.map(({ start, end, vector = EMPTY_VECTOR }) => ({
      counted: countWords(kind === "queries" ? text : text.slice(start, end), space),
      rows: vector,
    }));
    const both = weigh(read, request, space);
    for (const [i, passage] of document.entries()) {
      const { vector, words: counted } = both[i] as LexicalVector;
      passage.vector = vector;
      if (words) passage.words = counted;
    }
  }
}

/** The vectors of a text's passages. */
function weigh(
  passages: readonly ReadPassage[],
  { kind, top_k, merged, mean_length }: EncoderRequest,
  space: TermSpace,
): LexicalVector[] {
  if (kind === "queries") {
    return passages.map(({ counted, rows }) => queryVector(counted, rows, top_k, space));
  }
  const mean = merged ? mean_length : undefined;
  if (merged && passages.length > 1) return passageVectors(passages, top_k, space, mean);
  return passages.map((each) => documentVector(each, top_k, space, mean));
}

async function encodeAll(
  loaded: Loaded,
  passages: readonly PlacedPassage[],
  request: EncoderRequest,
): Promise<Omit<EncoderWork, "busy_ms" | "fitting_tokens">> {
  const cancelled = new Int32Array(request.shared);
  const beat = beatOf(request);
  const planned = (some: readonly PlacedPassage[]) =>
    planBatches(
      some.map((passage) => passage.read.length),
      Math.min(request.token_budget, loaded.fitting),
    ).map((indices) => indices.map((index) => some[index] as PlacedPassage));
  const work = { batches: 0, tokens: 0, padded_tokens: 0 };
  let batches = planned(passages);
  for (let next = 0; next < batches.length; next++) {
    if (Atomics.load(cancelled, 0) !== 0) {
      throw new CspladeError("aborted", "Encoding was cancelled.");
    }
    beat();
    const batch = batches[next] as PlacedPassage[];
    const fitted = loaded.fitting;
    await encodeBatch(loaded, batch, Math.min(request.top_k, request.rows), beat);
    for (const passage of batch) work.tokens += passage.ids.length;
    work.padded_tokens += paddedTokens(batch);
    work.batches += 1;
    if (loaded.fitting < fitted) {
      // Memory ran out: what is left is cut to what fits, instead of failing again each time.
      batches = planned(batches.slice(next + 1).flat());
      next = -1;
    }
  }
  return work;
}

function paddedTokens(batch: readonly PlacedPassage[]): number {
  return batch.length * Math.max(0, ...batch.map(({ read }) => read.length));
}

/**
 * Encodes a batch. Where memory runs out, batches are halved from then on. Where the batch fails
 * otherwise, a text that is known to be good tells whether the device is at fault; if it is not,
 * the batch is halved until the text at fault fails alone.
 */
async function encodeBatch(
  loaded: Loaded,
  batch: readonly PlacedPassage[],
  topK: number,
  beat: () => void,
): Promise<void> {
  try {
    const vectors = await loaded.session.run(
      batch.map((passage) => passage.read),
      loaded.data.padTokenId,
      topK,
    );
    batch.forEach((passage, index) => {
      const vector = vectors[index];
      if (vector !== undefined) passage.vector = vector;
    });
  } catch (thrown) {
    beat();
    const exhausted = isMemoryExhausted(thrown);
    if (exhausted && batch.length === 1) {
      throw new DeviceFailure(
        `Memory does not suffice for one passage of ${paddedTokens(batch)} tokens: ${messageOf(thrown)}`,
      );
    }
    if (exhausted) {
      loaded.fitting = Math.min(loaded.fitting, Math.floor(paddedTokens(batch) / 2));
    } else {
      await encodeKnownGood(loaded).catch(() => {
        throw new DeviceFailure(messageOf(thrown));
      });
    }
    if (batch.length === 1) {
      for (const passage of batch) passage.failure = messageOf(thrown);
      return;
    }
    const middle = Math.ceil(batch.length / 2);
    await encodeBatch(loaded, batch.slice(0, middle), topK, beat);
    await encodeBatch(loaded, batch.slice(middle), topK, beat);
  }
}

function collect(cut: readonly Passages[], passages: readonly PlacedPassage[]): EncodedText[] {
  const grouped = cut.map((): PlacedPassage[] => []);
  for (const passage of passages) grouped[passage.text]?.push(passage);
  return cut.map(({ truncated }, index) => {
    const mine = grouped[index] ?? [];
    const failure = mine.find((passage) => passage.failure !== undefined)?.failure;
    if (failure !== undefined) return { passages: [], truncated, failure };
    return {
      truncated,
      passages: mine.flatMap(({ start, end, ids, vector, words }) =>
        vector === undefined
          ? []
          : [
              {
                start,
                end,
                tokens: ids.length,
                vector,
                ...(words === undefined ? {} : { words }),
              },
            ],
      ),
    };
  });
}

async function main(): Promise<void> {
  let loaded: Loaded;
  try {
    loaded = await load(workerData as EncoderThreadData);
  } catch (thrown) {
    const known = thrown instanceof CspladeError;
    reply({
      type: "broken",
      code: known ? thrown.code : "model_invalid",
      message: messageOf(thrown),
      ...(known && thrown.hint !== undefined ? { hint: thrown.hint } : {}),
    });
    return;
  }
  // One request at a time: the next one waits in the main thread's queue, not here.
  parentPort?.on("message", (request: EncoderRequest | "close") => {
    if (request === "close") {
      void loaded.session.close().finally(() => parentPort?.close());
      return;
    }
    serve(loaded, request).catch((thrown: unknown) => {
      if (thrown instanceof DeviceFailure) {
        const { message } = thrown;
        reply({ type: "device", id: request.id, message, ...lessonOf(loaded) });
        return;
      }
      reply({
        type: "failed",
        id: request.id,
        code: thrown instanceof CspladeError ? thrown.code : "encode_failed",
        message: messageOf(thrown),
      });
    });
  });
  reply({ type: "ready" });
}

void main();
