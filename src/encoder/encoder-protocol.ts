/** Messages between the main thread's encoder and its threads. */
import type { RoleInput } from "../text/input-recipe.js";
import type { LiteralTerms, LexicalWord } from "../sparse/literals.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import type { SessionVector } from "./onnx-session.js";

/** A text that every model encodes: a device that cannot is broken. */
export const KNOWN_GOOD = "A text that is known to be good.";

/** What a session thread is started with (`workerData`). */
export interface SessionThreadData {
  readonly modelFile: string;
  readonly provider: "cpu" | "cuda";
  /** Number of the card, of those that the process sees. */
  readonly device: number;
  /** False: no node of the graph may be computed on the CPU. */
  readonly allowCpu: boolean;
  readonly threads: number;
  readonly padTokenId: number;
  /** Tokens of {@link KNOWN_GOOD}. */
  readonly knownGood: readonly number[];
}

/** What a text thread is started with (`workerData`). */
export interface TextThreadData {
  readonly tokenizerFile: string;
  readonly lexiconFile: string | undefined;
  /** What else is around a text that the model reads. */
  readonly input: { readonly document: RoleInput; readonly query: RoleInput } | undefined;
  /** What is written behind a text, of models that are read at a prompt. */
  readonly prompt: { readonly document: string; readonly query: string } | undefined;
  /** The languages whose texts get terms of the model (BCP 47); undefined: all texts do. */
  readonly languages: readonly string[] | undefined;
}

/** What every thread of an encoder is asked. It is posted again where a thread died over it. */
export interface EncoderTask {
  readonly id: number;
  /** Number of texts that it is about. */
  readonly size: number;
  /**
   * Two Int32: the first is set to 1 by the main thread to stop between two batches, the second is
   * counted up by the threads at each text and batch. One that stands still is a hang.
   */
  readonly shared: SharedArrayBuffer;
}

/** How texts are cut and weighed. */
export interface TextOptions {
  readonly kind: "documents" | "queries" | "literals";
  readonly max_tokens: number;
  readonly max_passages: number;
  readonly top_k: number;
  /** Return the words of the lexical parts besides the vectors. */
  readonly words: boolean;
  /** The vectors of a text's passages will be made one: words weigh by the whole text. */
  readonly merged: boolean;
  /** Mean length of the texts of the index that merged vectors are for, in words that count. */
  readonly mean_length: number | undefined;
  /** Give the dense vectors of texts too. */
  readonly dense: boolean;
  /** The model reads texts of any language, to see whether it works. */
  readonly anyLanguage?: true;
}

/** A passage before it is encoded. */
export interface CutPassage {
  /** Position of its text. */
  readonly text: number;
  readonly start: number;
  readonly end: number;
  /** Tokens of the passage. */
  readonly tokens: number;
  /** What the model reads: the passage's tokens and the prompt's. */
  readonly read: readonly number[];
  /** In a language that the model does not know: it is not read, its own words are its terms. */
  readonly foreign: boolean;
}

/** Texts, cut; blank ones have no passages. */
export interface CutTexts {
  /** In the order of the texts. */
  readonly passages: readonly CutPassage[];
  /** Of each text: some of it was left out because a limit was reached. */
  readonly truncated: readonly boolean[];
}

/** What a text thread is asked. */
export type TextTask = EncoderTask &
  TextOptions & { readonly texts: readonly string[] } & (
    | { readonly step: "cut" | "literals" }
    /** Adds the lexical parts to the vectors of passages. */
    | {
        readonly step: "weigh";
        readonly passages: readonly Pick<CutPassage, "text" | "start" | "end">[];
        /** Undefined where a passage could not be encoded. */
        readonly vectors: readonly (SparseVector | undefined)[];
      }
  );

/** What a session thread is asked. */
export interface SessionTask extends EncoderTask {
  /** Token ids of each passage, at least one. */
  readonly rows: readonly (readonly number[])[];
  /** Most terms of a vector. */
  readonly top_k: number;
  /** Give the dense vectors too. */
  readonly dense: boolean;
  /** Most tokens in a batch, padding included. */
  readonly token_budget: number;
}

/** A vector whose lexical part is in it. */
export interface WeighedPassage {
  readonly vector: SparseVector;
  readonly words?: readonly LexicalWord[];
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
  readonly words?: readonly LexicalWord[];
  /** Where it was asked for, of what the model read: none in a language that it does not know. */
  readonly dense?: Float32Array;
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
  /** Tokens computed, padding included. */
  readonly padded_tokens: number;
  /** Time of the session thread. */
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
  | { readonly type: "cut"; readonly id: number; readonly cut: CutTexts }
  | {
      readonly type: "encoded";
      readonly id: number;
      /** In the order of the rows; a sentence says why one could not be encoded. */
      readonly vectors: (SessionVector | string)[];
      readonly work: EncoderWork;
    }
  | {
      readonly type: "weighed";
      readonly id: number;
      readonly passages: (WeighedPassage | undefined)[];
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
