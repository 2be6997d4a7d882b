import assert from "node:assert/strict";
import fc from "fast-check";
import { originHighlight } from "../../../src/query/origin-highlight.js";

const unescaped = (text: string) =>
  text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#x27;", "'")
    .replaceAll("&amp;", "&");

function spansOf(text: string, words: RegExp, field = "text") {
  return Array.from(text.matchAll(words), ({ 0: word, index }) => ({
    field,
    start: index,
    end: index + word.length,
    text: word,
    share: 0.5,
  }));
}

describe("a highlight of origins", () => {
  it("marks the words in each field, escapes what stands between, and leaves other fields out", () => {
    const text = `<b>fear</b> & "closed" spaces`;
    assert.deepEqual(
      originHighlight(spansOf(text, /fear|closed/g), { text, title: "Claustrophobia" }),
      { text: ["&lt;b&gt;<em>fear</em>&lt;/b&gt; &amp; &quot;<em>closed</em>&quot; spaces"] },
    );
    assert.deepEqual(originHighlight([], { text }), {});
  });

  it("cuts long fields into fragments at white space, five at most, in the text's order", () => {
    const filler = "some words that do not matter here at all, and more of them; ".repeat(5);
    const text = Array.from({ length: 8 }, (_, i) => `${filler} needle${i} `).join("");
    const spans = spansOf(text, /needle\d/g).map((span, i) => ({ ...span, share: i / 10 }));
    const { text: fragments } = originHighlight(spans, { text });
    assert.deepEqual(
      fragments!.map((each) => /<em>(.+)<\/em>/.exec(each)![1]),
      ["needle3", "needle4", "needle5", "needle6", "needle7"],
    );
    for (const each of fragments!) {
      assert.ok(each.length <= 150 + "<em></em>".length, each);
      assert.ok(text.split(/\s/).includes(each.split(/\s/)[0]!), each);
    }
  });

  it("holds every marked word, whatever the text and the spans", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 600 }),
        fc.array(fc.tuple(fc.nat(600), fc.integer({ min: 1, max: 30 })), {
          minLength: 1,
          maxLength: 5,
        }),
        (text, places) => {
          const spans = places
            .map(([at, length]) => ({ start: at % (text.length + 1), length }))
            .map(({ start, length }) => ({ start, end: Math.min(text.length, start + length) }))
            .filter(({ start, end }) => end > start)
            .map(({ start, end }) => ({
              field: "text",
              start,
              end,
              text: text.slice(start, end),
              share: 1,
            }));
          const { text: fragments = [] } = originHighlight(spans, { text });
          assert.equal(fragments.length > 0, spans.length > 0);
          for (const each of fragments) {
            assert.match(each, /<em>/);
            const plain = unescaped(each.replaceAll(/<\/?em>/g, ""));
            assert.ok(text.includes(plain), JSON.stringify([text, plain]));
          }
        },
      ),
    );
  });
});
