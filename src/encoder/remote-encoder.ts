/**
 * An encoder whose graph is computed by a server: another csplade gateway (`POST /encode`), or
 * text-embeddings-inference (`POST /embed_sparse`). Manifest, tokenizer and lexicon are the checkpoint's
 * here. A server that is away is waited for; one that stays away is a broken device, never a text's fault.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { fromFeatures } from "../sparse/features.js";
import type { IdfScale } from "../sparse/idf.js";
import type { LiteralTerms } from "../sparse/literals.js";
import { prune } from "../sparse/prune.js";
import { sparseVector } from "../sparse/sparse-vector.js";
import { firstPassage, splitPassages } from "../text/passages.js";
import { createTokenizer, readTokenizerFile } from "../text/tokenizer.js";
import { openCheckpoint, type CheckpointDirectory } from "./checkpoint-directory.js";
import { KNOWN_GOOD, type EncodedText } from "./encoder-protocol.js";
import type { EncoderHealth } from "./encoder-threads.js";
import { demandDenseOutput, hasOwnTerms, type Manifest } from "./manifest.js";
import { toldLanguages } from "./told-languages.js";
import { asksByTable, literalsByTable, openTables } from "./query-table.js";
import { RefusedTexts } from "./remote-client.js";
import { connectServer, type RemoteServer } from "./remote-server.js";

/** Options of one call, as an encoder takes them. */
interface CallOptions {
  readonly signal?: AbortSignal;
  readonly max_passages?: number;
  readonly words?: boolean;
  readonly merged?: boolean;
  readonly mean_length?: number | undefined;
  readonly dense?: boolean | undefined;
}

type Role = "document" | "query";

/** What encodes through a server. */
export interface RemoteEncoder {
  readonly checkpoint: CheckpointDirectory;
  readonly manifest: Manifest;
  readonly lexicon: IdfScale | undefined;
  /** Whether dense vectors of queries come. */
  readonly givesDense: boolean;
  encodeDocuments(texts: readonly string[], options?: CallOptions): Promise<EncodedText[]>;
  encodeQueries(texts: readonly string[], options?: CallOptions): Promise<EncodedText[]>;
  literals(texts: readonly string[], options?: CallOptions): Promise<LiteralTerms[]>;
  totals(): Totals;
  health(): EncoderHealth;
  readonly broken: AbortSignal;
  close(): Promise<void>;
}

interface Totals {
  texts: number;
  batches: number;
  tokens: number;
  padded_tokens: number;
  busy_ms: number;
}

/** Texts of one request: what text-embeddings-inference takes by default. */
const TEXTS_AT_ONCE = 32;

const wordSchema = z.object({
  id: z.number(),
  term: z.string(),
  count: z.number(),
  idf: z.number(),
});

/** What a gateway answers where passages are asked for. */
const gatewayAnswer = z.object({
  fingerprint: z.string(),
  results: z.array(
    z.object({
      passages: z.array(
        z.object({
          start: z.number().int().min(0),
          end: z.number().int().min(0),
          tokens: z.number().int().min(0),
          vector: z.record(z.string(), z.number()),
          words: z.array(wordSchema).optional(),
          dense: z.array(z.number()).optional(),
        }),
      ),
      truncated: z.boolean(),
      failure: z.string().optional(),
    }),
  ),
});

const sparseAnswer = z.array(
  z.array(z.object({ index: z.number().int().min(0), value: z.number() })),
);

/**
 * Opens the encoder of `model.remote`; the server has encoded something when it returns.
 * @throws CspladeError as `openCheckpoint`; `model_mismatch` if the server has another model,
 *   `device_failed` if it cannot be reached in the time of `write.max_wait_ms`.
 */
export async function openRemoteEncoder(config: Config, url: string): Promise<RemoteEncoder> {
  const checkpoint = await openCheckpoint(config["model.path"], { graph: false });
  const { manifest } = checkpoint;
  const tables = await openTables(checkpoint, toldLanguages(checkpoint.manifest, config));
  const server = connectServer(config, url);
  const totals: Totals = { texts: 0, batches: 0, tokens: 0, padded_tokens: 0, busy_ms: 0 };
  let last: string | undefined;
  let isClosed = false;
  const underWay = new Set<Promise<unknown>>();
  let kind: "csplade" | "tei";
  try {
    kind = await server.identify(manifest);
    if (kind === "tei") demandPlain(checkpoint, url);
  } catch (thrown) {
    await server.close();
    throw thrown;
  }
  const ask = kind === "csplade" ? gatewayAsker(server, manifest) : sparseAsker(server, checkpoint);

  /** Texts at once, and alone where a server refuses them together. */
  async function encodePart(
    texts: readonly string[],
    role: Role,
    options: CallOptions,
  ): Promise<EncodedText[]> {
    try {
      return await ask(texts, role, options);
    } catch (thrown) {
      if (!(thrown instanceof RefusedTexts)) throw thrown;
      if (texts.length > 1) {
        const middle = Math.ceil(texts.length / 2);
        const first = await encodePart(texts.slice(0, middle), role, options);
        return [...first, ...(await encodePart(texts.slice(middle), role, options))];
      }
      // The text is at fault only where the server takes one that is known to be good.
      await ask([KNOWN_GOOD], role, options).catch((cause: unknown) => {
        throw cause instanceof RefusedTexts ? server.breakWith(cause) : cause;
      });
      return [{ passages: [], truncated: false, failure: thrown.message }];
    }
  }

  async function encode(
    texts: readonly string[],
    role: Role,
    options: CallOptions,
  ): Promise<EncodedText[]> {
    if (isClosed) throw new CspladeError("aborted", "The encoder is closed.");
    if (options.dense === true) demandDense(manifest, url, kind);
    const started = performance.now();
    const parts: Promise<EncodedText[]>[] = [];
    for (let at = 0; at < texts.length; at += TEXTS_AT_ONCE) {
      parts.push(encodePart(texts.slice(at, at + TEXTS_AT_ONCE), role, options));
    }
    const all = Promise.all(parts);
    underWay.add(all);
    try {
      const encoded = (await all).flat();
      last = new Date().toISOString();
      totals.texts += texts.length;
      totals.batches += parts.length;
      totals.busy_ms += performance.now() - started;
      for (const { passages } of encoded) {
        for (const { tokens } of passages) totals.tokens += tokens;
      }
      totals.padded_tokens = totals.tokens;
      return encoded;
    } finally {
      underWay.delete(all);
    }
  }

  return {
    checkpoint,
    manifest,
    lexicon: tables.lexicon,
    givesDense:
      manifest.dense !== undefined && kind === "csplade" && !asksByTable(manifest, config),
    encodeDocuments: async (texts, options = {}) =>
      await encode(texts, "document", {
        ...options,
        max_passages: options.max_passages ?? config["ingest.max_passages"],
      }),
    encodeQueries: (texts, options = {}) =>
      asksByTable(manifest, config)
        ? Promise.resolve(tables.encode(texts))
        : encode(texts, "query", options),
    async literals(texts, options = {}) {
      const limits = {
        max_tokens: manifest.max_tokens.document,
        max_passages: options.max_passages ?? config["ingest.max_passages"],
      };
      return await literalsByTable(tables, texts, limits, options.signal);
    },
    totals: () => ({ ...totals }),
    health() {
      const { trouble } = server;
      const broken = server.broken.aborted;
      return {
        state: isClosed
          ? "closed"
          : broken
            ? "broken"
            : trouble === undefined
              ? "ready"
              : "failing",
        ...(trouble === undefined ? {} : { reason: trouble }),
        threads: [],
        restarts: 0,
        ...(last === undefined ? {} : { last_inference: last }),
      };
    },
    broken: server.broken,
    async close() {
      isClosed = true;
      // What is under way may end; a server that is away is waited for no longer.
      await Promise.race([
        Promise.allSettled(underWay),
        sleep(CLOSE_MS, undefined, { ref: false }),
      ]);
      await server.close();
    },
  };
}

/** How long `close` waits for what is under way, milliseconds. */
const CLOSE_MS = 10_000;

type Asker = (texts: readonly string[], role: Role, options: CallOptions) => Promise<EncodedText[]>;

/** A gateway cuts and weighs as an encoder in this process would. */
function gatewayAsker(server: RemoteServer, { fingerprint }: Manifest): Asker {
  return async (texts, role, { signal, max_passages, words, merged, mean_length, dense }) => {
    const passages = { max_passages, words, merged, mean_length, dense };
    const answer = await server.ask("/encode", { texts, role, passages }, gatewayAnswer, signal);
    if (answer.fingerprint !== fingerprint) throw server.breakWith(server.mismatch(answer));
    return demandAll(server, texts, answer.results).map((result) => ({
      truncated: result.truncated,
      passages: result.passages.map(({ vector, words: counted, dense: floats, ...place }) => ({
        ...place,
        ...(floats === undefined ? {} : { dense: Float32Array.from(floats) }),
        vector: fromFeatures(vector),
        ...(counted === undefined ? {} : { words: counted }),
      })),
      ...(result.failure === undefined ? {} : { failure: result.failure }),
    }));
  };
}

/** text-embeddings-inference encodes a text as one: long ones are cut here. */
function sparseAsker(
  server: RemoteServer,
  { manifest, tokenizerFile }: CheckpointDirectory,
): Asker {
  const tokenizer = createTokenizer(readTokenizerFile(tokenizerFile));
  return async (texts, role, { signal, max_passages = 1 }) => {
    const { prefix = "", suffix = "" } = manifest.input?.[role] ?? {};
    const max_tokens = manifest.max_tokens[role];
    const found: EncodedText[] = [];
    for (const text of texts) {
      const cut =
        role === "query"
          ? firstPassage(text, tokenizer, max_tokens, prefix)
          : splitPassages(text, tokenizer, { max_tokens, max_passages }, prefix);
      await nextTurn();
      const passages = cut.passages.filter(({ ids }) => ids.length > 0);
      const encoded: EncodedText["passages"][number][] = [];
      for (let at = 0; at < passages.length; at += TEXTS_AT_ONCE) {
        const some = passages.slice(at, at + TEXTS_AT_ONCE);
        const inputs = some.map(({ start, end }) => prefix + text.slice(start, end) + suffix);
        const body = { inputs, truncate: true };
        const answer = await server.ask("/embed_sparse", body, sparseAnswer, signal);
        demandAll(server, some, answer).forEach((terms, i) => {
          const { start = 0, end = 0, ids = [] } = some[i] ?? {};
          const whole = sparseVector(terms.map(({ index, value }) => [index, value] as const));
          const vector = prune(whole, { prune_type: "top_k", prune_ratio: manifest.top_k[role] });
          encoded.push({ start, end, tokens: ids.length, vector });
        });
      }
      found.push({ passages: encoded, truncated: cut.truncated });
    }
    return found;
  };
}

/** @throws CspladeError `device_failed` for another number of answers than texts. */
function demandAll<T>(server: RemoteServer, texts: readonly unknown[], answers: readonly T[]) {
  if (answers.length === texts.length) return answers;
  throw server.breakWith(
    new Error(`It answered ${texts.length} texts with ${answers.length} results.`),
  );
}

/** @throws CspladeError `model_mismatch`, `provider_unsuitable` where no dense vectors come. */
function demandDense(manifest: Manifest, url: string, kind: "csplade" | "tei"): void {
  demandDenseOutput(manifest);
  if (kind === "csplade") return;
  throw new CspladeError(
    "provider_unsuitable",
    `${url} is text-embeddings-inference, which gives terms and no dense vectors of the same checkpoint.`,
    { hint: "Let csplade serve encode with this checkpoint, or leave document.dense out." },
  );
}

/** @throws CspladeError `provider_unsuitable`: that server gives vectors of the graph alone. */
function demandPlain({ manifest, lexiconFile, directory }: CheckpointDirectory, url: string) {
  const isPlain =
    lexiconFile === undefined && manifest.prompt === undefined && !hasOwnTerms(manifest);
  if (isPlain) return;
  throw new CspladeError(
    "provider_unsuitable",
    `${url} is text-embeddings-inference, and the checkpoint ${directory} has a lexical part, a prompt or questions without added terms, which it does not compute.`,
    { hint: "Let csplade serve encode with this checkpoint, and name that gateway." },
  );
}
