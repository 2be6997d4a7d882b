/** Where the words behind a score stand in a text: highlights that need no analyzer. */
import type { LiteralTerms } from "../sparse/literals.js";
import type { TermNames } from "../sparse/term-names.js";
import type { ExplainedTerm } from "./explanation.js";

/** A stretch of a text that is a literal term. */
export interface LiteralSpan {
  /** UTF-16 code units into the text. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** The term with the largest contribution that reads so. */
  readonly term: string;
  readonly contribution: number;
}

/**
 * The spans of a hit's literal terms in one text, in order. A stretch that a tokenizer
 * normalized away has none.
 * @param literals what stands in the text (`literals` of the encoder).
 * @param terms of the hit, largest contribution first; expansions have no span.
 */
export function literalSpans(
  { ids, starts, ends }: LiteralTerms,
  terms: readonly ExplainedTerm[],
  names: TermNames,
): LiteralSpan[] {
  const words = new Map<string | number, ExplainedTerm>();
  for (const term of terms) {
    const word = names.word(term.id);
    if (term.literal && !words.has(word)) words.set(word, term);
  }
  if (words.size === 0) return [];
  const spans: LiteralSpan[] = [];
  for (const [i, id] of ids.entries()) {
    const [start = 0, end = 0] = [starts[i], ends[i]];
    const term = end > start ? words.get(names.word(id)) : undefined;
    if (term === undefined) continue;
    spans.push({ start, end, term: term.term, contribution: term.contribution });
  }
  return spans;
}
