/** What was said before a question, in a clause and in the encode API: how it is asked for, and the merged vector. */
import { z } from "zod";
import { readTurns, withHistory } from "../query/conversation.js";
import type { EncodedVector } from "./encode-service.js";

/** The options, of a clause and of `POST /encode` alike. */
export const conversationShape = {
  history: z
    .array(z.string())
    .max(1_000)
    .optional()
    .describe("What was said before the question, oldest first; the latest 10 turns count."),
  history_decay: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("What a step back multiplies a turn's weights by; query.history_decay without it."),
};

/** A question's text and what is said about its conversation. */
export interface AskedConversation {
  readonly text: string;
  readonly history?: readonly string[] | undefined;
  readonly history_decay?: number | undefined;
}

/** The texts that are encoded for a question: its own, then the turns that are read. */
export function spokenTexts({ text, history = [] }: AskedConversation): string[] {
  return [text, ...readTurns(history)];
}

/**
 * Questions with what was said before them, of the vectors of {@link spokenTexts} of all of them in turn.
 * @param decay of those that say none.
 * @throws CspladeError as {@link withHistory}.
 */
export function inConversations(
  asked: readonly AskedConversation[],
  encoded: readonly EncodedVector[],
  decay: number,
): EncodedVector[] {
  let next = 0;
  return asked.flatMap((each) => {
    const spoken = encoded.slice(next, (next += spokenTexts(each).length));
    const [question, ...turns] = spoken;
    if (question === undefined) return [];
    const failed = turns.find(({ failure }) => failure !== undefined)?.failure;
    const { vector, words } = withHistory(question, turns, each.history_decay ?? decay);
    return {
      ...question,
      vector,
      ...(words === undefined ? {} : { words }),
      ...(failed === undefined ? {} : { failure: `an earlier turn: ${failed}` }),
    };
  });
}
