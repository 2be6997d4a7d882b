import assert from "node:assert/strict";
import fc from "fast-check";
import { termOrigins, type Occlusion } from "../../../src/encoder/occlusion.js";
import { findWords } from "../../../src/text/words.js";

/** A model of which each term weighs the sum of what words of the text give it. */
function madeOf(
  text: string,
  terms: Readonly<Record<number, Readonly<Record<string, number>>>>,
  encodings = 64,
): Occlusion & { readonly asked: string[] } {
  const asked: string[] = [];
  const weightIn = (words: string, term: number) => {
    const there = new Set(findWords(words).map((word) => word.text));
    const given = Object.entries(terms[term] ?? {}).filter(([word]) => there.has(word));
    return given.reduce((sum, [, weight]) => sum + weight, 0);
  };
  return {
    text,
    words: findWords(text).map(({ text: key, start, end }) => ({ key, start, end })),
    terms: new Map(Object.keys(terms).map((term) => [Number(term), weightIn(text, Number(term))])),
    encodings,
    weigh(texts) {
      asked.push(...texts);
      return Promise.resolve(texts.map((each) => (term: number) => weightIn(each, term)));
    },
    asked,
  };
}

async function wordsOf(occlusion: Occlusion): Promise<Record<number, (string | number)[][]>> {
  const { words } = await termOrigins(occlusion);
  return Object.fromEntries(
    Array.from(words, ([term, found]) => [
      term,
      found.map(({ start, end, share }) => [
        occlusion.text.slice(start, end),
        Math.round(share * 100) / 100,
      ]),
    ]),
  );
}

describe("where a term came from", () => {
  it("is the words without which it weighs less, with the share that it loses", async () => {
    const model = madeOf("a morbid fear of closed spaces", {
      1: { fear: 3, morbid: 2, of: 0.5 },
      2: { closed: 1, spaces: 1 },
      3: { nowhere: 1 },
    });
    assert.deepEqual(await wordsOf({ ...model, terms: new Map([...model.terms, [3, 1]]) }), {
      1: [
        ["morbid", 0.36],
        ["fear", 0.55],
      ],
      2: [
        ["closed", 0.5],
        ["spaces", 0.5],
      ],
      // Of term 3 every text is as light: it is lost whatever is left out.
      3: [
        ["a", 1],
        ["morbid", 1],
        ["fear", 1],
      ],
    });
    assert.ok(model.asked.includes("a fear of closed spaces"));
    assert.ok(model.asked.includes("a morbid fear of closed "));
  });

  it("has every place of a word that stands there several times, all left out at once", async () => {
    const model = madeOf("train to train, Train", { 1: { train: 1 } });
    const { words, encodings } = await termOrigins(model);
    assert.equal(encodings, 2);
    assert.deepEqual(
      words.get(1)?.map(({ start, end, share }) => [start, end, share]),
      [
        [0, 5, 1],
        [9, 14, 1],
        [16, 21, 1],
      ],
    );
  });

  it("names nothing where no word matters, nor where there is nothing to weigh", async () => {
    const constant: Occlusion = {
      ...madeOf("three plain words", { 1: {} }),
      terms: new Map([[1, 2]]),
      weigh: (texts) => Promise.resolve(texts.map(() => () => 1.99)),
    };
    assert.equal((await termOrigins(constant)).words.size, 0);
    const failing: Occlusion = {
      ...constant,
      weigh: (texts) => Promise.resolve(texts.map(() => undefined)),
    };
    assert.equal((await termOrigins(failing)).words.size, 0);
    assert.deepEqual(await termOrigins({ ...constant, terms: new Map() }), {
      words: new Map(),
      encodings: 0,
    });
  });

  it("finds one word of many by groups first, and never weighs more texts than it may", async () => {
    const numbers = fc.integer({ min: 1, max: 300 });
    await fc.assert(
      fc.asyncProperty(numbers, numbers, fc.integer({ min: 1, max: 80 }), async (n, k, most) => {
        const text = Array.from({ length: n }, (_, i) => `w${i}`).join(" ");
        const sought = `w${k % n}`;
        const model = madeOf(text, { 1: { [sought]: 1 } }, most);
        const { words, encodings } = await termOrigins(model);
        assert.equal(encodings, model.asked.length);
        assert.ok(encodings <= most, `${encodings} of ${most}`);
        const found = words.get(1)!.map(({ start, end }) => text.slice(start, end));
        assert.ok(found.includes(sought));
        if (most >= 40) assert.deepEqual(found, [sought]);
      }),
      { numRuns: 200 },
    );
  });
});
