import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { nameTerms, type ExplainedTerm } from "../../../src/query/explanation.js";
import { literalSpans } from "../../../src/query/literal-spans.js";
import type { LiteralTerms } from "../../../src/sparse/literals.js";
import { termNames } from "../../../src/sparse/term-names.js";
import { readVocabulary } from "../../../src/sparse/vocabulary.js";
import { literalTokens } from "../../../src/text/literal-terms.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const file = path.join(tinyCheckpoint("bi"), "tokenizer.json");
const vocabulary = readVocabulary(JSON.parse(readFileSync(file, "utf8")));
const names = termNames(vocabulary);
const tokenizer = createTokenizer(readTokenizerFile(file));

function literalsOf(text: string): LiteralTerms {
  return literalTokens(text, tokenizer.encode(text), vocabulary);
}

/** The terms of a hit that contributed: those of `matched`, as if they stood in `text`. */
function termsIn(text: string, matched: string): ExplainedTerm[] {
  const ids = [...new Set(tokenizer.encode(matched))];
  const contributions = ids.map((id, i) => ({
    id,
    field: "csplade",
    query_weight: 1,
    document_weight: 1,
    contribution: ids.length - i,
  }));
  return nameTerms(contributions, names, tokenizer.encode(text));
}

function highlighted(text: string, matched: string): string[] {
  const spans = literalSpans(literalsOf(text), termsIn(text, matched), names);
  return spans.map(({ start, end }) => text.slice(start, end));
}

describe("literal spans", () => {
  it("are where the words stand, in any case", () => {
    const text = "Sleep: an inability to SLEEP (or to sleep well).";
    assert.deepEqual(highlighted(text, "sleep").join(""), "SleepSLEEPsleep");
  });

  it("never mark an expansion", () => {
    const text = "a morbid fear of closed spaces";
    const expansion = termsIn(text, "fear").map((term) => ({ ...term, literal: false }));
    assert.deepEqual(literalSpans(literalsOf(text), expansion, names), []);
  });

  it("cover every letter when every token matched, whatever the script", () => {
    const word = fc.oneof(
      fc.constantFrom("Über", "日本語", "naïve", "cafe\u0301", "ﬁt", "Ωmega", "мир", "ＡＢＣ"),
      fc.stringMatching(/^[A-Za-z0-9]{1,12}$/),
    );
    const between = fc.constantFrom(" ", ", ", " (", "\n\n", ": ", " 👩‍🚀 ", "…");
    fc.assert(
      fc.property(fc.array(fc.tuple(word, between), { maxLength: 30 }), (parts) => {
        const text = parts.flat().join("");
        const spans = literalSpans(literalsOf(text), termsIn(text, text), names);
        const marked = new Set<number>();
        for (const { start, end } of spans) {
          assert.ok(start < end && end <= text.length);
          for (let i = start; i < end; i++) marked.add(i);
        }
        for (const { index } of text.matchAll(/[\p{L}\p{N}]/gu)) {
          assert.ok(marked.has(index), `${JSON.stringify(text)} at ${index}`);
        }
      }),
    );
  });

  it("go on after a stretch that the tokenizer dropped", () => {
    const tokens = tokenizer.encode("fear of night and a king");
    const text = "fear of @@##@@ night and a king";
    const spans = literalSpans(
      literalTokens(text, tokens, vocabulary),
      termsIn("king", "king"),
      names,
    );
    assert.equal(spans.map(({ start, end }) => text.slice(start, end)).join(""), "king");
  });
});
