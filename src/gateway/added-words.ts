/** Rules over indices without vectors: a text query and the words that the model adds to it. */
import { bm25Query } from "../query/bm25-query.js";
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
  if (asked.length === 0) return [];
  return words
    .slice(0, Math.floor(most / asked.length))
    .map(({ word, boost: own }) =>
      JSON.stringify(bm25Query(word, asked, false, { boost: own * expansion * boost })),
    );
}
