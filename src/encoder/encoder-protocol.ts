/** Messages between the main thread's encoder and its threads. */
import type { RoleInput } from "../text/input-recipe.js";
import type { LiteralTerms, LiteralWord } from "../sparse/literals.js";
import type { SparseVector } from "../sparse/sparse-vector.js";

/** A text that every model encodes: a device that cannot is broken. */
export const KNOWN_GOOD = "A text that is known to be good.";

/** What an encoder thread is started with (`workerData`). */
export interface EncoderThreadData {
  readonly modelFile: string;
  readonly tokenizerFile: string;
  readonly lexiconFile: string | undefined;
  readonly provider: "cpu" | "cuda";
  /** Number of the card, of those that the process sees. */
  readonly device: number;
  /** False: no node of the graph may be computed on the CPU. */
  readonly allowCpu: boolean;
  readonly threads: number;
  readonly padTokenId: number;
  /** What else is around a text that the model reads. */
  readonly input: { readonly document: RoleInput; readonly query: RoleInput } | undefined;
  /** What is written behind a text, of models that are read at a prompt. */
  readonly prompt: { readonly document: string; readonly query: string } | undefined;
}

/** One window of texts to encode, or to find the literal terms of. */
export interface EncoderRequest {
  readonly id: number;
  readonly kind: "documents" | "queries" | "literals";
  readonly texts: readonly string[];
  readonly max_tokens: number;
  readonly max_passages: number;
  readonly top_k: number;
  /** Most tokens in a batch, padding included. */
  readonly token_budget: number;
  /** How many rows the vocabulary has: the graph takes no larger top_k. */
  readonly rows: number;
  /** Return the words of the lexical parts besides the vectors. */
  readonly words: boolean;
  /** The vectors of a text's passages will be made one: words weigh by the whole text. */
  readonly merged: boolean;
  /** Mean length of the texts of the index that merged vectors are for, in words that count. */
  readonly mean_length: number | undefined;
  /**
   * Two Int32: the first is set to 1 by the main thread to stop between two batches, the second is
   * counted up by the encoder thread at each text and batch. One that stands still is a hang.
   */
  readonly shared: SharedArrayBuffer;
}

/** A passage's vector; offsets are UTF-16 code units into the text. */
export interface EncodedPassage {
  readonly start: number;
  readonly end: number;
  readonly tokens: number;
  readonly vector: SparseVector;
  /**
   * The words of the vector's lexical part, where the model has one: of queries always, of
   * documents if they were asked for.
   */
  readonly words?: readonly LiteralWord[];
}

/** One text's result. `failure` means this text could not be encoded, alone. */
export interface EncodedText {
  readonly passages: readonly EncodedPassage[];
  /** True if some of the text was left out because a limit was reached. */
  readonly truncated: boolean;
  readonly failure?: string;
  /** Devices that encode other texts break on this one. */
  readonly breaksDevice?: true;
}

/** Work done for one request. */
export interface EncoderWork {
  readonly batches: number;
  /** Tokens of the texts. */
  readonly tokens: number;
  /** Tokens computed, padding included. */
  readonly padded_tokens: number;
  readonly busy_ms: number;
  /** Most tokens of a batch since memory ran out for a larger one. */
  readonly fitting_tokens?: number;
}

/** An answer of an encoder thread. */
export type EncoderReply =
  /** The weights are there; what comes next is the first inference. */
  | { readonly type: "loaded" }
  | { readonly type: "ready" }
  | {
      readonly type: "broken";
      readonly code: string;
      readonly message: string;
      readonly hint?: string;
    }
  | {
      readonly type: "encoded";
      readonly id: number;
      readonly texts: EncodedText[];
      readonly work: EncoderWork;
    }
  | { readonly type: "literals"; readonly id: number; readonly literals: LiteralTerms[] }
  /** The device fails a text that is known to be good: nothing is known about the texts. */
  | {
      readonly type: "device";
      readonly id: number;
      readonly message: string;
      /** Most tokens of a batch since memory ran out for a larger one. */
      readonly fitting_tokens?: number;
    }
  | {
      readonly type: "failed";
      readonly id: number;
      readonly code: string;
      readonly message: string;
    };
