import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import {
  EMPTY_VECTOR,
  maxMerge,
  sparseVector,
  termsOf,
  type SparseVector,
} from "../../../src/sparse/sparse-vector.js";
import {
  countWords,
  documentVector,
  passageVectors,
  queryVector,
} from "../../../src/text/lexical-vector.js";
import { readLexicon, type Lexicon } from "../../../src/text/lexicon.js";
import { termSpace } from "../../../src/text/term-space.js";

const rows = [
  " comput",
  "comput",
  " computers",
  " the",
  " x",
  " sea",
  "\n",
  " sea shell",
  " computing",
  " pilot",
  " rowing",
];
const vocabulary = {
  size: rows.length,
  bytes: (id: number) => new TextEncoder().encode(rows[id]),
};
const lexicon: Lexicon = {
  format: 1,
  model_terms: "shared",
  stemmer: "porter2",
  stop_words: new Set(["the"]),
  documents: 1000,
  document_frequencies: new Map([
    ["comput", 100],
    ["sea", 10],
  ]),
  idf_range: [0.02, 9],
  k1: 1.2,
  b: 0.75,
  length: 4,
  unit: 0.7,
  model_weight: { document: 0.5, query: 0.25 },
};
const space = termSpace(lexicon, vocabulary);
const [COMPUT, SEA, PILOT, ROWING] = [0, 5, 9, 10];

type Role = "document" | "query";

function lexical(
  text: string,
  role: Role,
  model = EMPTY_VECTOR,
  topK = 100,
  terms = space,
  mean?: number,
) {
  const counted = countWords(text, terms);
  if (role === "query") return queryVector(counted, model, topK, terms);
  return documentVector({ counted, rows: model }, topK, terms, mean);
}

function weights(text: string, role: Role, model = EMPTY_VECTOR) {
  return new Map(termsOf(lexical(text, role, model).vector));
}

function close(actual: number | undefined, wanted: number): void {
  assert.ok(Math.abs((actual ?? 0) - wanted) < 1e-5 * wanted, `${actual} and ${wanted}`);
}

describe("the lexical part of a vector", () => {
  it("makes the score of a question's words BM25", () => {
    const idf = Math.log(1 + 900.5 / 100.5);
    const document = weights("the computers of a computing sea", "document");
    const query = weights("the computer", "query");
    // Words that count: computers, of, a, computing, sea.
    const norm = 1.2 * (0.25 + (0.75 * 5) / 4);
    close(query.get(COMPUT)! * document.get(COMPUT)!, (idf * 2.2 * 2) / (2 + norm));
    close(query.get(COMPUT), Math.sqrt(idf) / 0.7);
  });

  it("counts a word of a question as often as it stands there", () => {
    close(weights("sea sea sea", "query").get(SEA), 3 * weights("sea", "query").get(SEA)!);
  });

  it("adds the model's weight of the heaviest form, and drops rows that are no words", () => {
    const model = sparseVector([
      [0, 1], // " comput"
      [1, 9], // a piece within words
      [2, 3], // " computers"
      [3, 9], // a stop word
      [4, 9], // one letter
      [6, 9],
      [7, 9], // two words
      [8, 2], // " computing"
    ]);
    assert.deepEqual([...weights("zebra", "document", model).keys()].includes(1), false);
    const added = weights("zebra", "document", model);
    assert.equal(added.size, 2);
    close(added.get(COMPUT), 0.5 * 3);
    const both = weights("computer", "query", model);
    close(both.get(COMPUT), weights("computer", "query").get(COMPUT)! + 0.25 * 3);
  });

  it("keeps the heaviest terms, whichever part they come from", () => {
    const word = fc.constantFrom("sea", "computer", "zebra", "the", "quark", "日本語");
    const row = fc.uniqueArray(
      fc.tuple(fc.nat({ max: rows.length - 1 }), fc.float({ min: 0.5, max: 8, noNaN: true })),
      { selector: ([id]) => id },
    );
    fc.assert(
      fc.property(fc.array(word), row, fc.integer({ min: 1, max: 6 }), (words, model, topK) => {
        const args = [words.join(" "), "document", sparseVector(model)] as const;
        const whole = lexical(...args).vector;
        const cut = lexical(...args, topK).vector;
        assert.deepEqual([...termsOf(cut)], [...termsOf(whole)].slice(0, topK));
      }),
    );
  });

  it("says which words it counted", () => {
    const { words } = lexical("The sea, the SEA and zebras", "query");
    assert.deepEqual(
      words.map(({ term, count }) => [term, count]),
      [
        ["sea", 2],
        ["and", 1],
        ["zebra", 1],
      ],
    );
    close(words[0]?.idf, Math.log(1 + 990.5 / 10.5));
    close(words[2]?.idf, Math.log(1 + 1000.5 / 0.5));
  });
});

describe("the words of a document in passages", () => {
  const passages = ["the computers of the sea", "computing at sea by computers", "of and by"];
  const read = (models: readonly SparseVector[] = []) =>
    passages.map((text, i) => ({
      counted: countWords(text, space),
      rows: models[i] ?? EMPTY_VECTOR,
    }));
  const merged = (models: readonly SparseVector[], mean?: number, topK = 100) =>
    new Map(
      termsOf(maxMerge(passageVectors(read(models), topK, space, mean).map((each) => each.vector))),
    );
  const of = (words: number, mean?: number) => {
    const text = `computers ${"filler ".repeat(words - 1)}`;
    const { vector } = lexical(text, "document", EMPTY_VECTOR, 100, space, mean);
    return new Map(termsOf(vector)).get(COMPUT) ?? 0;
  };

  for (const mean of [undefined, 3, 20]) {
    it(`weigh, the passages' vectors made one, as those of the document in one piece, mean length ${mean}`, () => {
      const whole = passages.join(" ");
      const once = lexical(whole, "document", EMPTY_VECTOR, 100, space, mean).vector;
      assert.deepEqual(merged([], mean), new Map(termsOf(once)));
      assert.notDeepEqual(
        weights(passages[1]!, "document").get(SEA),
        new Map(termsOf(once)).get(SEA),
      );
    });
  }

  it("weigh by the mean length of the index where it is known, and by no less than the lexicon's", () => {
    close(of(40, 40), of(4, 4));
    assert.ok(of(400, 40) < of(200, 40), "however long");
    assert.equal(of(7, 2), of(7, 4));
  });

  it("weigh no less for a length beyond four of the lexicon's where no mean is known", () => {
    assert.ok(of(8) > of(16));
    close(of(400), of(16));
  });

  it("leave to the model's terms their mean over the passages, however many these are", () => {
    const one = sparseVector([[PILOT, 6]]);
    const other = sparseVector([[SEA, 3]]);
    const words = merged([], 9);
    const both = merged([one, other], 9);
    close(both.get(PILOT), (0.5 * 6) / 3);
    close(both.get(SEA), words.get(SEA)! + (0.5 * 3) / 3);
    close(both.get(COMPUT), words.get(COMPUT)!);
    // An index of an earlier version goes on as it began.
    close(merged([one, other]).get(PILOT), 0.5 * 6);
  });

  it("leave it no more terms of its own than a passage has", () => {
    const models = [sparseVector([[PILOT, 6]]), sparseVector([[ROWING, 5]]), EMPTY_VECTOR];
    const both = merged(models, 9);
    assert.ok(both.has(PILOT) && !both.has(ROWING));
  });
});

describe("what a model adds to a query", () => {
  const model = sparseVector([
    [COMPUT, 3],
    [SEA, 2],
    [4, 5],
  ]);
  const limited = (query: number) => termSpace({ ...lexicon, expansions: { query } }, vocabulary);
  const ids = (text: string, role: Role, most: number, topK = 100) =>
    new Set(lexical(text, role, model, topK, limited(most)).vector.ids);

  it("stays within the lexicon's limit, the heaviest first", () => {
    assert.deepEqual(ids("unheard", "query", 0).size, 1);
    assert.deepEqual(ids("unheard", "query", 1).has(COMPUT), true);
    assert.deepEqual(ids("unheard", "query", 1).has(SEA), false);
    assert.deepEqual(ids("unheard", "query", 2).size, 3);
  });

  it("is told with its idf, as no word of the text", () => {
    const { words } = lexical("unheard", "query", model, 100, limited(1));
    assert.deepEqual(
      words.map(({ term, count }) => [term, count]),
      [
        ["unheard", 1],
        ["comput", 0],
      ],
    );
    close(words[1]?.idf, Math.log(1 + 900.5 / 100.5));
  });

  it("is no word of the query: those stay however heavy the others are", () => {
    assert.deepEqual(ids("sea", "query", 0), new Set([SEA]));
    assert.deepEqual(ids("sea", "query", 1), new Set([SEA, COMPUT]));
  });

  it("is limited by top_k too, and a document's by nothing else", () => {
    assert.equal(ids("unheard", "query", 2, 1).size, 2);
    assert.equal(ids("unheard", "document", 0).size, 3);
  });

  it("leaves a query its own words however many they are, up to what one search bears", () => {
    const text = Array.from({ length: 300 }, (_, i) => `quark${i}`);
    assert.equal(ids(text.slice(0, 200).join(" "), "query", 2, 36).size, 202);
    assert.equal(ids(text.join(" "), "query", 2, 36).size, 258);
  });
});

describe("a lexicon", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-lexicon-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function read(changes: object): Lexicon {
    const file = path.join(folder, "lexicon.json");
    const whole = {
      ...lexicon,
      stop_words: ["the"],
      document_frequencies: { comput: 100, constructor: 3 },
      ...changes,
    };
    writeFileSync(file, JSON.stringify(whole));
    return readLexicon(file);
  }

  it("is read as it was written, names of JavaScript's own included", () => {
    assert.equal(read({}).document_frequencies.get("constructor"), 3);
    assert.equal(read({}).document_frequencies.get("tostring"), undefined);
    assert.equal(read({}).k1, 1.2);
  });

  it("is refused with the reason where it is another format or has impossible constants", () => {
    const wrong = [
      { format: 2 },
      { stemmer: "kstem" },
      { idf_range: [9, 1] },
      { unit: 0 },
      { b: 2 },
    ];
    for (const changes of wrong) {
      const [name = ""] = Object.keys(changes);
      assert.throws(() => read(changes), { code: "model_invalid", message: new RegExp(name) });
    }
    writeFileSync(path.join(folder, "broken.json"), "{");
    assert.throws(() => readLexicon(path.join(folder, "broken.json")), { code: "model_invalid" });
  });
});

describe("the model's terms kept apart", () => {
  const apart = termSpace(
    { ...lexicon, model_terms: "apart", expansions: { query: 2, document: 2 } },
    vocabulary,
  );
  const model = sparseVector([
    [COMPUT, 3],
    [SEA, 4],
    [PILOT, 1],
  ]);

  it("never meet the words of a text", () => {
    const words = lexical("sea", "document", EMPTY_VECTOR, 100, apart).vector;
    const query = lexical("", "query", model, 100, apart).vector;
    assert.ok(words.ids.length === 1 && query.ids.length === 2);
    assert.deepEqual(
      [...query.ids].filter((id) => words.ids.includes(id)),
      [],
    );
  });

  it("are the heaviest few, and those of a document have one length however heavy they are", () => {
    for (const factor of [1, 7]) {
      const rows = sparseVector(Array.from(termsOf(model), ([id, w]) => [id, w * factor] as const));
      const found = new Map(termsOf(lexical("zebra", "document", rows, 100, apart).vector));
      close(found.get(COMPUT), 0.5 * 0.6);
      close(found.get(SEA), 0.5 * 0.8);
      assert.equal(found.has(PILOT), false);
    }
    const query = new Map(termsOf(lexical("zebra", "query", model, 100, apart).vector));
    close(query.get(SEA), 0.25 * 4);
  });

  it("of a long document are the mean over its passages, in the first of them", () => {
    const counted = countWords("sea", apart);
    const passages = [
      { counted, rows: sparseVector([[COMPUT, 6]]) },
      { counted, rows: sparseVector([[SEA, 8]]) },
    ];
    const [first, second] = passageVectors(passages, 100, apart, 4);
    const found = new Map(termsOf(first!.vector));
    close(found.get(COMPUT), 0.5 * 0.6);
    close(found.get(SEA), 0.5 * 0.8);
    assert.equal(second?.vector.ids.length, 1);
  });

  it("are no words that an index's idf weighs", () => {
    const { words } = lexical("zebra", "query", model, 100, apart);
    assert.deepEqual(
      words.map(({ term }) => term),
      ["zebra"],
    );
  });
});

describe("a lexicon that bounds the terms of a query", () => {
  const letters = "abcdefghij";
  /** Words without a stem, each a row of the vocabulary. */
  const nameOf = (n: number) => `q${letters[Math.floor(n / 10)]}${letters[n % 10]}q`;
  const named = {
    size: 100,
    bytes: (id: number) => new TextEncoder().encode(` ${nameOf(id)}`),
  };
  const bounded = termSpace(
    { ...lexicon, model_terms: "apart", expansions: { query: 28 }, query_terms: 40 },
    named,
  );

  it("gives fewer guesses to a query of many words, and leaves out its lightest beyond", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 90 }), fc.integer({ min: 0, max: 99 }), (own, most) => {
        const text = Array.from({ length: own }, (_, n) => nameOf(n).repeat(2)).join(" ");
        const guesses = sparseVector(Array.from({ length: most }, (_, n) => [n, 1 + n / 100]));
        const { vector } = queryVector(countWords(text, bounded), guesses, 64, bounded);
        const added = [...vector.ids].filter((id) => id < 100).length;
        assert.equal(vector.ids.length - added, Math.min(own, 28));
        assert.equal(added, Math.min(most, 28, 40 - Math.min(own, 28)));
      }),
    );
  });
});
