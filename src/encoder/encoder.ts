/**
 * The encoder: texts → term weights, on threads of its own.
 * The calling thread only queues windows of texts and receives vectors.
 */
import os from "node:os";
import type { Config } from "../config/settings.js";
import { CspladeError, isDeviceFailure } from "../errors/csplade-error.js";
import type { IdfScale } from "../sparse/idf.js";
import type { LiteralTerms } from "../sparse/literals.js";
import { readLexicon } from "../text/lexicon.js";
import { openCheckpoint, type CheckpointDirectory } from "./checkpoint-directory.js";
import {
  KNOWN_GOOD,
  type EncodedText,
  type EncoderWork,
  type TextOptions,
} from "./encoder-protocol.js";
import { startEncoderStages, type Window } from "./encoder-stages.js";
import type { EncoderHealth } from "./encoder-threads.js";
import { demandDenseOutput, type Manifest } from "./manifest.js";
import { toldLanguages } from "./told-languages.js";
import { ownTermsOf } from "./own-terms.js";
import { asksByTable, openQueryTable } from "./query-table.js";
import { demandFit } from "./provider-fit.js";
import { openRemoteEncoder } from "./remote-encoder.js";
import type { ThreadTransition } from "./thread-state.js";
import { tokenBudgetOf } from "./token-budget.js";

/** Options of one call. */
export interface EncodeOptions {
  readonly signal?: AbortSignal;
  /** Most passages of one document; the configuration's `ingest.max_passages` without it. */
  readonly max_passages?: number;
  /** Most tokens in a batch; the configuration's `model.token_budget` without it. */
  readonly token_budget?: number;
  /** Return the words of documents' lexical parts; those of queries come always. */
  readonly words?: boolean;
  /**
   * The caller makes one vector of a document's passages (`maxMerge`): words of a lexical part
   * weigh by the whole document then, not by the passage.
   */
  readonly merged?: boolean;
  /** With `merged`: `mean_length` of the index that the vectors are for. */
  readonly mean_length?: number | undefined;
  /**
   * Give the dense vectors of texts too. @throws CspladeError `model_mismatch` where the checkpoint, or
   * what encodes for it, has none.
   */
  readonly dense?: boolean | undefined;
}

/** Totals since the encoder was opened. */
export interface EncoderTotals extends Omit<EncoderWork, "fitting_tokens"> {
  readonly texts: number;
  /** Tokens of the texts. */
  readonly tokens: number;
}

/** A loaded model, ready to encode. */
export interface Encoder {
  readonly checkpoint: CheckpointDirectory;
  readonly manifest: Manifest;
  /**
   * What it can encode: without a session no documents, without a table either no queries; dense vectors
   * of queries where the checkpoint has them and a session computes queries.
   */
  readonly encodes: {
    readonly documents: boolean;
    readonly queries: boolean;
    readonly dense: boolean;
  };
  /**
   * Documents, long ones as several passages. Results are in input order; a text that
   * cannot be encoded has a `failure` and leaves the others alone; a blank one has no passages.
   * @throws CspladeError `device_failed` or `device_hung`, which say nothing about the texts.
   */
  encodeDocuments(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]>;
  /** Queries: the first `max_tokens.query` tokens, one passage each; blank ones have none. */
  encodeQueries(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]>;
  /**
   * The terms that stand in whole texts, as against those that the model adds: the words of a
   * model with a lexical part, the tokens of another one.
   */
  literals(texts: readonly string[], options?: EncodeOptions): Promise<LiteralTerms[]>;
  /** How the lexical part weighs words; nothing where the model has none. */
  readonly lexicon: IdfScale | undefined;
  totals(): EncoderTotals;
  /** How the threads are, and when a text was encoded last. */
  health(): EncoderHealth;
  /** Aborted, with the error as its reason, when nothing can be encoded any more. */
  readonly broken: AbortSignal;
  /** Refuses new work, lets running windows end, frees the sessions. */
  close(): Promise<void>;
}

/** How an encoder's threads run and are watched. */
export interface OpenEncoderOptions {
  /** Told of every change of a thread's state. */
  readonly onTransition?: (transition: ThreadTransition) => void;
  /** Told the most tokens that batches have from now on, because memory ran out for more. */
  readonly onMemoryExhausted?: (tokens: number) => void;
  /** Options of Node.js for the threads, such as `--import` of an instrumentation. */
  readonly execArgv?: readonly string[];
}

/**
 * Opens a checkpoint directory and starts its sessions; each has encoded something when it returns.
 * With `model.remote` a server computes instead ({@link openRemoteEncoder}).
 * @throws CspladeError `model_not_found`, `model_invalid`, `provider_unavailable`,
 *   `provider_unsuitable`, `device_failed`.
 */
export async function openEncoder(
  config: Config,
  options: OpenEncoderOptions = {},
): Promise<Encoder> {
  const url = config["model.remote"];
  if (url !== undefined) {
    const remote = await openRemoteEncoder(config, url);
    return { ...remote, encodes: { documents: true, queries: true, dense: remote.givesDense } };
  }
  const checkpoint = await openCheckpoint(config["model.path"]);
  const { manifest } = checkpoint;
  demandFit(checkpoint, config);
  const sessions = config["model.sessions"];
  const languages = toldLanguages(manifest, config);
  const byTable = asksByTable(manifest, config)
    ? await openQueryTable(checkpoint, languages)
    : undefined;
  const stages = await startEncoderStages({
    texts: {
      tokenizerFile: checkpoint.tokenizerFile,
      lexiconFile: checkpoint.lexiconFile,
      input: manifest.input,
      prompt: manifest.prompt,
      languages,
    },
    sessions: {
      modelFile: checkpoint.modelFile,
      provider: config["model.provider"],
      device: config["model.device"],
      allowCpu: config["model.cpu_fallback"] !== "never",
      threads:
        config["model.threads"] || Math.max(1, Math.floor(os.availableParallelism() / sessions)),
      padTokenId: manifest.pad_token_id,
    },
    ownTerms: ownTermsOf(checkpoint),
    threads: sessions,
    loadTimeoutMs: config["model.load_timeout_ms"],
    runTimeoutMs: config["model.run_timeout_ms"],
    ...options,
  });
  const totals = { texts: 0, batches: 0, tokens: 0, padded_tokens: 0, busy_ms: 0 };

  function windowOf(
    kind: TextOptions["kind"],
    texts: readonly string[],
    options: EncodeOptions,
  ): Window {
    const role = kind === "queries" ? "query" : "document";
    return {
      kind,
      texts,
      max_tokens: manifest.max_tokens[role],
      max_passages: options.max_passages ?? config["ingest.max_passages"],
      token_budget: options.token_budget ?? tokenBudgetOf(config),
      top_k: manifest.top_k[role],
      rows: manifest.vocabulary_size,
      words: kind === "queries" || options.words === true,
      merged: options.merged === true,
      mean_length: options.mean_length,
      dense: options.dense === true,
    };
  }

  async function encode(
    kind: "documents" | "queries",
    texts: readonly string[],
    options: EncodeOptions,
  ): Promise<EncodedText[]> {
    if (options.dense === true) demandDenseOutput(manifest);
    const window = windowOf(kind, texts, options);
    const { texts: encoded, tokens, work } = await stages.encode(window, options.signal);
    totals.texts += texts.length;
    totals.tokens += tokens;
    totals.batches += work.batches;
    totals.padded_tokens += work.padded_tokens;
    totals.busy_ms += work.busy_ms;
    return encoded;
  }

  /**
   * Encodes texts of which one may bring a thread or a session down: halves them until it fails alone.
   * It is to blame only if a text that is known to be good, and as long, can be encoded after it; else
   * that throws.
   */
  async function encodeApart(
    kind: "documents" | "queries",
    texts: readonly string[],
    options: EncodeOptions = {},
  ): Promise<EncodedText[]> {
    if (texts.length === 0) return [];
    try {
      return await encode(kind, texts, options);
    } catch (thrown) {
      if (!isOfTexts(thrown)) throw thrown;
      await demandWorking(kind, texts, options, thrown);
      if (texts.length === 1) {
        const breaks = thrown.code === "document_breaks_device";
        const failed = { passages: [], truncated: false, failure: thrown.message };
        return [breaks ? { ...failed, breaksDevice: true } : failed];
      }
      const middle = Math.ceil(texts.length / 2);
      return [
        ...(await encodeApart(kind, texts.slice(0, middle), options)),
        ...(await encodeApart(kind, texts.slice(middle), options)),
      ];
    }
  }

  async function demandWorking(
    kind: "documents" | "queries",
    texts: readonly string[],
    options: EncodeOptions,
    cause: CspladeError,
  ): Promise<void> {
    const longest = Math.min(MOST_PROBED, Math.max(...texts.map((text) => text.length)));
    const times = Math.ceil(longest / KNOWN_GOOD.length);
    try {
      const good = Array.from({ length: times }, () => KNOWN_GOOD).join(" ");
      const probe = { ...windowOf(kind, [good], options), anyLanguage: true as const };
      await stages.encode(probe, options.signal);
    } catch (thrown) {
      if (isDeviceFailure(thrown)) throw thrown;
      if (thrown instanceof CspladeError && !isOfTexts(thrown)) throw thrown;
      const error = new CspladeError(
        "device_failed",
        `Neither these texts nor one that is known to be good can be encoded: ${cause.message}`,
        { cause: thrown },
      );
      stages.declareBroken(error);
      throw error;
    }
  }

  return {
    checkpoint,
    manifest,
    encodes: {
      documents: true,
      queries: true,
      dense: manifest.dense !== undefined && byTable === undefined,
    },
    encodeDocuments: (texts, options) => encodeApart("documents", texts, options),
    encodeQueries: (texts, options) =>
      byTable === undefined
        ? encodeApart("queries", texts, options)
        : Promise.resolve(byTable.encode(texts)),
    lexicon: lexiconOf(checkpoint),
    async literals(texts, options = {}) {
      if (texts.length === 0) return [];
      return await stages.literals(windowOf("literals", texts, options), options.signal);
    },
    totals: () => ({ ...totals }),
    health: () => stages.health(),
    broken: stages.broken,
    close: () => stages.close(),
  };
}

/** Characters of a text that is known to be good, at most. */
const MOST_PROBED = 200_000;

/** True where texts may be at fault. */
function isOfTexts(thrown: unknown): thrown is CspladeError {
  return (
    thrown instanceof CspladeError &&
    (thrown.code === "encode_failed" || thrown.code === "document_breaks_device")
  );
}

/** What of a checkpoint's lexicon is needed to weigh words anew. */
function lexiconOf({ lexiconFile }: CheckpointDirectory): IdfScale | undefined {
  if (lexiconFile === undefined) return undefined;
  const { unit, idf_range } = readLexicon(lexiconFile);
  return { unit, idf_range };
}
