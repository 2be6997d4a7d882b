/**
 * An encoder thread: owns one tokenizer and one ONNX session, so that neither
 * tokenizing nor inference ever blocks an event loop that holds a queue's locks.
 */
import { parentPort, workerData } from "node:worker_threads";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { LiteralTerms, LiteralWord } from "../sparse/literals.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import { readVocabulary, type Vocabulary } from "../sparse/vocabulary.js";
import { countWords, lexicalVector, wholeOf, type CountedWords } from "../text/lexical-vector.js";
import { readLexicon } from "../text/lexicon.js";
import { literalTokens, literalWords } from "../text/literal-terms.js";
import { firstPassage, splitPassages, type Passage, type Passages } from "../text/passages.js";
import { termSpace, type TermSpace } from "../text/term-space.js";
import { createTokenizer, readTokenizerFile, type Tokenizer } from "../text/tokenizer.js";
import { planBatches } from "./batches.js";
import type {
  EncodedText,
  EncoderReply,
  EncoderRequest,
  EncoderThreadData,
  EncoderWork,
} from "./encoder-protocol.js";
import { openSession, type OnnxSession } from "./onnx-session.js";

interface Loaded {
  readonly tokenizer: Tokenizer;
  readonly session: OnnxSession;
  /** Of a model with a lexical part. */
  readonly space: TermSpace | undefined;
  readonly vocabulary: () => Vocabulary;
  readonly data: EncoderThreadData;
}

/** A passage with its place in the request, so that results find their way back. */
interface PlacedPassage extends Passage {
  readonly text: number;
  vector?: SparseVector;
  words?: readonly LiteralWord[];
  failure?: string;
}

interface CountedPassage {
  readonly passage: PlacedPassage;
  readonly counted: CountedWords;
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
  const session = await openSession(data.modelFile, data);
  return { tokenizer, session, space, vocabulary, data };
}

async function serve(loaded: Loaded, request: EncoderRequest): Promise<void> {
  if (request.kind === "literals") {
    const literals = request.texts.map((text) => literalsOf(loaded, text, request));
    reply({ type: "literals", id: request.id, literals });
    return;
  }
  const started = performance.now();
  const cut = request.texts.map((text) => cutText(loaded.tokenizer, text, request));
  const passages = cut.flatMap((text, index) =>
    text.passages.map((passage): PlacedPassage => ({ ...passage, text: index })),
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
      work: { ...work, busy_ms: performance.now() - started },
    },
    transfer,
  );
}

function cutText(tokenizer: Tokenizer, text: string, request: EncoderRequest): Passages {
  return request.kind === "queries"
    ? firstPassage(text, tokenizer, request.max_tokens)
    : splitPassages(text, tokenizer, request);
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

/** Of the same text that the model read: what lies beyond its limit counts in neither part. */
function addLexicalParts(
  passages: readonly PlacedPassage[],
  { kind, texts, top_k, words, merged }: EncoderRequest,
  space: TermSpace,
): void {
  const role = kind === "queries" ? "query" : "document";
  const documents = new Map<number, CountedPassage[]>();
  for (const passage of passages) {
    const { text, start, end } = passage;
    const counted = countWords(texts[text]?.slice(start, end) ?? "", space);
    const document = documents.get(text);
    if (document === undefined) documents.set(text, [{ passage, counted }]);
    else document.push({ passage, counted });
  }
  for (const document of documents.values()) {
    const whole =
      merged && document.length > 1 ? wholeOf(document.map(({ counted }) => counted)) : undefined;
    for (const { passage, counted } of document) {
      if (passage.vector === undefined) continue;
      const both = lexicalVector(counted, passage.vector, role, top_k, space, whole);
      passage.vector = both.vector;
      if (words) passage.words = both.words;
    }
  }
}

async function encodeAll(
  loaded: Loaded,
  passages: readonly PlacedPassage[],
  request: EncoderRequest,
): Promise<Omit<EncoderWork, "busy_ms">> {
  const cancelled = new Int32Array(request.cancelled);
  const plan = planBatches(
    passages.map((passage) => passage.ids.length),
    request.token_budget,
  );
  let tokens = 0;
  let padded_tokens = 0;
  for (const indices of plan) {
    if (Atomics.load(cancelled, 0) !== 0) {
      throw new CspladeError("aborted", "Encoding was cancelled.");
    }
    const batch = indices.map((index) => passages[index] as PlacedPassage);
    for (const passage of batch) tokens += passage.ids.length;
    padded_tokens += batch.length * (batch[0]?.ids.length ?? 0);
    await encodeBatch(loaded, batch, Math.min(request.top_k, request.rows));
  }
  return { batches: plan.length, tokens, padded_tokens };
}

/** Encodes a batch; if it fails, halves it until the text at fault fails alone. */
async function encodeBatch(
  loaded: Loaded,
  batch: readonly PlacedPassage[],
  topK: number,
): Promise<void> {
  try {
    const vectors = await loaded.session.run(
      batch.map((passage) => passage.ids),
      loaded.data.padTokenId,
      topK,
    );
    batch.forEach((passage, index) => {
      const vector = vectors[index];
      if (vector !== undefined) passage.vector = vector;
    });
  } catch (thrown) {
    if (batch.length === 1) {
      for (const passage of batch) passage.failure = messageOf(thrown);
      return;
    }
    const middle = Math.ceil(batch.length / 2);
    await encodeBatch(loaded, batch.slice(0, middle), topK);
    await encodeBatch(loaded, batch.slice(middle), topK);
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
