/** A checkpoint's tokenizer (`tokenizer.json`, Hugging Face format), in pure JavaScript. */
import { readFileSync } from "node:fs";
import * as huggingFace from "@huggingface/tokenizers";
import { z } from "zod";
import { CspladeError, messageOf } from "../errors/csplade-error.js";

/** Turns text into token ids. */
export interface Tokenizer {
  /** Token ids of the text, in order; an empty text has none. Lone surrogates become U+FFFD. */
  encode(text: string): number[];
}

/** The part of the library used here; its own declarations do not resolve in ES modules. */
interface HuggingFaceTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}

const { Tokenizer: LoadedTokenizer } = huggingFace as unknown as {
  Tokenizer: new (file: object, config: object) => HuggingFaceTokenizer;
};

const tokenizerFileSchema = z.looseObject({
  model: z.looseObject({
    // Unigram's is a list of pieces in the order of their ids, each with its score.
    vocab: z.union([
      z.record(z.string(), z.number().int().min(0)),
      z.array(z.tuple([z.string(), z.number()])),
    ]),
  }),
  added_tokens: z
    .array(z.looseObject({ id: z.number().int().min(0), content: z.string() }))
    .default([]),
});

/** The parsed `tokenizer.json`; only what this project reads is typed. */
export type TokenizerFile = z.infer<typeof tokenizerFileSchema>;

/**
 * Reads `tokenizer.json`.
 * @throws CspladeError `model_invalid` if it cannot be read or has no vocabulary.
 */
export function readTokenizerFile(file: string): TokenizerFile {
  try {
    return tokenizerFileSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new CspladeError(
      "model_invalid",
      `The tokenizer ${file} cannot be used: ${messageOf(cause)}`,
      { cause },
    );
  }
}

/** Builds the tokenizer from its parsed file. */
export function createTokenizer(file: TokenizerFile): Tokenizer {
  const tokenizer = new LoadedTokenizer(file, {});
  return {
    encode: (text) =>
      text === "" ? [] : tokenizer.encode(text.toWellFormed(), { add_special_tokens: true }).ids,
  };
}
