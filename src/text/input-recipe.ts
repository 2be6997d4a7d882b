/**
 * What a model reads of a text, as its authors' code hands it over: words and special tokens around
 * it. A checkpoint's manifest says so per role; without that, the text alone is read.
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { Tokenizer, TokenizerFile } from "./tokenizer.js";

/** In a prompt: the text once more. What is read twice is read knowing its end, as `echo` does. */
const TEXT_AGAIN = "{text}";

/** How a role's texts are handed over. */
export interface RoleInput {
  /** Written before every text and tokenized with it: its tokens count among `max_tokens`. */
  readonly prefix: string;
  /** Written behind every passage and tokenized apart; what is cut off is the text. */
  readonly suffix: string;
  /** Special tokens before and behind all that; they are no part of `max_tokens`, nor is the suffix. */
  readonly begin: readonly string[];
  readonly end: readonly string[];
}

/** Token ids around a text's own. */
export interface TokensAround {
  readonly begin: readonly number[];
  /** What follows the text; the text stands again between each two. */
  readonly behind: readonly (readonly number[])[];
  readonly end: readonly number[];
}

/**
 * The ids of what a role's input and prompt have around a text.
 * @throws CspladeError `model_invalid` if the tokenizer lacks one of the special tokens.
 */
export function tokensAround(
  tokenizer: Tokenizer,
  file: TokenizerFile,
  input: RoleInput | undefined,
  prompt: string | undefined,
): TokensAround {
  const behind = (prompt ?? "").split(TEXT_AGAIN).map((part) => tokenizer.encode(part));
  const ids = (tokens: readonly string[] = []) => tokens.map((token) => tokenId(file, token));
  return {
    begin: ids(input?.begin),
    behind,
    end: [...tokenizer.encode(input?.suffix ?? ""), ...ids(input?.end)],
  };
}

/** What the model reads of a passage with so many tokens; of none, nothing. */
export function withTokensAround(
  ids: readonly number[],
  { begin, behind, end }: TokensAround,
): number[] {
  if (ids.length === 0) return [];
  return [...begin, ...behind.flatMap((part) => [...ids, ...part]), ...end];
}

function tokenId(file: TokenizerFile, token: string): number {
  const id =
    file.added_tokens.find(({ content }) => content === token)?.id ??
    pieceId(file.model.vocab, token);
  if (id !== undefined) return id;
  throw new CspladeError(
    "model_invalid",
    `The manifest puts the token ${token} around texts, and tokenizer.json has no such token.`,
    { hint: "Both come from one conversion: copy the whole checkpoint directory again." },
  );
}

function pieceId(pieces: TokenizerFile["model"]["vocab"], token: string): number | undefined {
  if (!Array.isArray(pieces)) return Object.hasOwn(pieces, token) ? pieces[token] : undefined;
  const id = pieces.findIndex(([piece]) => piece === token);
  return id < 0 ? undefined : id;
}
