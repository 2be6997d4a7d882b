/**
 * Answers that hold documents: `_source` of each is lifted out as the text that it is in the answer,
 * and only the rest becomes a value.
 */
import { z } from "zod";
import { itemsOf, membersOf, skipSpace, valueOf } from "../json/positions.js";
import { parseAnswer } from "./answer-text.js";

/** A document as a value, taken as it is: a record would be copied field by field, without `__proto__`. */
export const documentSchema = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
);

/** An answer and the documents in it. */
export interface LiftedAnswer {
  /** The answer, in which `_source` is the number of its text in {@link sources}. */
  readonly answer: unknown;
  readonly sources: readonly string[];
}

/**
 * Lifts the documents out of an answer.
 * @param path where the list of documents is: `["hits", "hits"]` of a search, `["docs"]` of an `_mget`.
 */
export function liftSources(text: string, path: readonly string[], what: string): LiftedAnswer {
  const sources: string[] = [];
  let list: number | undefined = skipSpace(text, 0);
  for (const name of path) list = list === undefined ? undefined : valueOf(text, list, name);
  const rest: string[] = [];
  let from = 0;
  for (const { start } of list === undefined ? [] : itemsOf(text, list)) {
    for (const { name, value, end } of membersOf(text, start)) {
      if (name !== "_source" || text[value] !== "{") continue;
      rest.push(text.slice(from, value), String(sources.length));
      sources.push(text.slice(value, end));
      from = end;
    }
  }
  rest.push(text.slice(from));
  return { answer: parseAnswer(rest.join(""), what), sources };
}
