/**
 * A question with what was said before it, as one vector: the maximum of each term over the question
 * and its earlier turns, which count less the longer ago they were (after DiSCo, Lupart et al. 2024).
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { LexicalWord } from "../sparse/literals.js";
import { sparseVector, termsOf } from "../sparse/sparse-vector.js";
import type { WordedVector } from "./corpus-idf.js";

/** Most turns that are read: the latest. */
export const MOST_TURNS = 10;

/** Most characters of a turn that are read: the first. */
export const TURN_CHARACTERS = 2_000;

/** What each step back multiplies the weights of a turn by, unless it is said (docs/experiments.md, "Conversations"). */
const HISTORY_DECAY = 0.5;

/** The turns of a history that are read, as they are read: without blank ones, oldest first. */
export function readTurns(history: readonly string[]): string[] {
  return history
    .filter((turn) => turn.trim() !== "")
    .slice(-MOST_TURNS)
    .map((turn) => turn.slice(0, TURN_CHARACTERS).toWellFormed());
}

/**
 * Adds earlier turns to a question. No term of the question gets lighter.
 * @param turns oldest first.
 * @param decay from 0 (turns do not count) to 1 (as the question itself).
 * @throws CspladeError `query_invalid` for another decay.
 */
export function withHistory(
  question: WordedVector,
  turns: readonly WordedVector[],
  decay: number = HISTORY_DECAY,
): WordedVector {
  if (!(decay >= 0 && decay <= 1)) {
    throw new CspladeError("query_invalid", `history_decay is from 0 to 1, not ${decay}.`);
  }
  if (turns.length === 0 || decay === 0) return question;
  const weights = new Map<number, number>();
  const words = new Map<number, LexicalWord>();
  const spoken = [question, ...turns.toReversed()];
  for (const [back, { vector, words: own = [] }] of spoken.entries()) {
    const factor = decay ** back;
    const byId = new Map(own.map((word) => [word.id, word]));
    for (const [id, weight] of termsOf(vector)) {
      if (weight * factor <= (weights.get(id) ?? 0)) continue;
      weights.set(id, weight * factor);
      const word = byId.get(id);
      // An index's idf replaces `count` shares of the model's, so that the count fades alike.
      if (word !== undefined) words.set(id, { ...word, count: word.count * factor });
      else words.delete(id);
    }
  }
  return {
    vector: sparseVector(weights),
    ...(question.words === undefined ? {} : { words: [...words.values()] }),
  };
}
