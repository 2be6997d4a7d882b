/**
 * An encoder thread: owns one tokenizer and one ONNX session, so that neither
 * tokenizing nor inference ever blocks an event loop that holds a queue's locks.
 */
import { parentPort, workerData } from "node:worker_threads";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import { firstPassage, splitPassages, type Passage, type Passages } from "../text/passages.js";
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
  readonly data: EncoderThreadData;
}

/** A passage with its place in the request, so that results find their way back. */
interface PlacedPassage extends Passage {
  readonly text: number;
  vector?: SparseVector;
  failure?: string;
}

function reply(message: EncoderReply, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

async function load(data: EncoderThreadData): Promise<Loaded> {
  const tokenizer = createTokenizer(readTokenizerFile(data.tokenizerFile));
  const session = await openSession(data.modelFile, data);
  return { tokenizer, session, data };
}

async function serve(loaded: Loaded, request: EncoderRequest): Promise<void> {
  if (request.kind === "tokenize") {
    const ids = request.texts.map((text) => tokenizeWhole(loaded.tokenizer, text, request));
    reply({ type: "tokenized", id: request.id, ids });
    return;
  }
  const started = performance.now();
  const cut = request.texts.map((text) => cutText(loaded.tokenizer, text, request));
  const passages = cut.flatMap((text, index) =>
    text.passages.map((passage): PlacedPassage => ({ ...passage, text: index })),
  );
  const encodable = passages.filter((passage) => passage.ids.length > 0);
  const work = await encodeAll(loaded, encodable, request);
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

function tokenizeWhole(tokenizer: Tokenizer, text: string, request: EncoderRequest): Uint32Array {
  const { passages } = splitPassages(text, tokenizer, request);
  return Uint32Array.from(passages.flatMap((passage) => passage.ids));
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
    await encodeBatch(loaded, batch, request.top_k);
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
      passages: mine.flatMap(({ start, end, ids, vector }) =>
        vector === undefined ? [] : [{ start, end, tokens: ids.length, vector }],
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
