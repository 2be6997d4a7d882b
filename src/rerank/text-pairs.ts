/** A question and a text as a cross-encoder reads them: one row of tokens, cut where it is too long. */
import { tokensAround, type RoleInput } from "../text/input-recipe.js";
import type { Tokenizer, TokenizerFile } from "../text/tokenizer.js";

/** One pair, ready for the graph. */
export interface TextPair {
  readonly ids: readonly number[];
  /** 0 for tokens of the question and around it, 1 for those of the text. */
  readonly types: readonly number[];
}

/** Makes pairs. */
export type Pairing = (question: string, texts: readonly string[]) => TextPair[];

/** What pairs are made by. */
export interface PairRecipe {
  readonly input: { readonly query: RoleInput; readonly document: RoleInput };
  /** Longest pair, tokens around included. */
  readonly max_tokens: number;
}

/** A token of ordinary text has 3 to 5 characters: what lies beyond so many is not tokenized. */
const CHARACTERS_PER_TOKEN = 16;

/**
 * Pairs within the limit: the end of a text is left out. Only a question that leaves a text no room is cut
 * itself, to half of what there is.
 * @throws CspladeError `model_invalid` if the tokenizer lacks a special token of the recipe.
 */
export function pairing(
  tokenizer: Tokenizer,
  file: TokenizerFile,
  { input, max_tokens }: PairRecipe,
): Pairing {
  const query = tokensAround(tokenizer, file, input.query, undefined);
  const document = tokensAround(tokenizer, file, input.document, undefined);
  const around =
    query.begin.length + query.end.length + document.begin.length + document.end.length;
  const room = Math.max(2, max_tokens - around);
  const read = (text: string, prefix: string, most: number) =>
    tokenizer.encode(prefix + text.slice(0, most * CHARACTERS_PER_TOKEN)).slice(0, most);
  return (question, texts) => {
    const whole = read(question, input.query.prefix, room);
    const asked = whole.length < room ? whole : whole.slice(0, Math.floor(room / 2));
    const first = [...query.begin, ...asked, ...query.end];
    return texts.map((text) => {
      const ids = read(text, input.document.prefix, room - asked.length);
      const second = [...document.begin, ...ids, ...document.end];
      return {
        ids: [...first, ...second],
        types: [...first.map(() => 0), ...second.map(() => 1)],
      };
    });
  };
}
