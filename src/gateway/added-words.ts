/** Rules over indices without vectors: a text query and the words that the model adds to it. */
import type { AddedWord } from "../query/lexical.js";
import { matchesPattern } from "../cluster/wildcard.js";
import type { ScannedPlace } from "./search-scan.js";

/** How a rule widens text queries of indices without vectors. */
export interface WordRule {
  /** Its fields; those without a wildcard can be asked where a query names none. */
  readonly fields: readonly string[];
  readonly boost: number;
  /** Factor of the added words. */
  readonly expansion: number;
}

/**
 * Queries for the added words in the fields that the text query asks, each through its own analyzer.
 * @param most clauses in all; the lightest words are left out.
 */
export function addedWordQueries(
  { question }: ScannedPlace,
  { fields, boost, expansion }: WordRule,
  words: readonly AddedWord[],
  most: number,
): string[] {
  const asked =
    question?.fields?.filter((name) => fields.some((field) => matchesPattern(field, name))) ??
    fields.filter((field) => !field.includes("*"));
  const [only] = asked;
  if (only === undefined) return [];
  return words.slice(0, Math.floor(most / asked.length)).map(({ word, boost: own }) => {
    const weight = own * expansion * boost;
    return JSON.stringify(
      asked.length === 1
        ? { match: { [only]: { query: word, boost: weight } } }
        : { multi_match: { query: word, fields: asked, type: "most_fields", boost: weight } },
    );
  });
}
