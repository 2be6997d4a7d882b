import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { openQueryEncoder } from "../../../src/encoder/query-encoder.js";
import { hashedId } from "../../../src/sparse/term-id.js";
import { termsOf, type SparseVector } from "../../../src/sparse/sparse-vector.js";
import { termNames } from "../../../src/sparse/term-names.js";
import { readVocabulary } from "../../../src/sparse/vocabulary.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const folder = tinyCheckpoint("lexical");

/** What torch and `training/csplade_train/lexicon.py` give for the same texts. */
const expected = JSON.parse(readFileSync(path.join(folder, "expected.json"), "utf8")) as {
  readonly texts: readonly ({ readonly text: string } & Readonly<
    Record<"document" | "query", readonly { readonly id: number; readonly weight: number }[]>
  >)[];
};
const vocabulary = readVocabulary(
  JSON.parse(readFileSync(path.join(folder, "tokenizer.json"), "utf8")),
);

function sameTerms(
  actual: SparseVector | undefined,
  wanted: readonly { readonly id: number; readonly weight: number }[],
) {
  const got = new Map(actual === undefined ? [] : termsOf(actual));
  const want = new Map(wanted.map(({ id, weight }) => [id, weight]));
  for (const id of new Set([...got.keys(), ...want.keys()])) {
    const difference = Math.abs((got.get(id) ?? 0) - (want.get(id) ?? 0));
    assert.ok(difference < 2e-3, `term ${id}: ${got.get(id)} and ${want.get(id)}`);
  }
}

describe("the encoder of a checkpoint with a lexical part", () => {
  let encoder: Encoder;
  before(async () => {
    encoder = await openEncoder(testConfig({ "model.path": folder }));
  });
  after(() => encoder.close());

  it("gives the vectors that Python gives, of documents and of queries", async () => {
    const texts = expected.texts.map(({ text }) => text);
    const documents = await encoder.encodeDocuments(texts);
    const queries = await encoder.encodeQueries(texts);
    let compared = 0;
    expected.texts.forEach(({ document, query }, i) => {
      // Python counts the words of the whole text, also of one that the model does not read whole.
      if (documents[i]?.passages.length === 1) {
        sameTerms(documents[i].passages[0]?.vector, document);
        compared += 1;
      }
      if (queries[i]?.truncated === false && queries[i].passages.length === 1) {
        sameTerms(queries[i].passages[0]?.vector, query);
        compared += 1;
      }
    });
    assert.ok(compared >= 10, `${compared} vectors compared`);
  });

  it("names hashed words, of documents where it is asked to", async () => {
    const text = "the Zambezi zebra";
    const [query] = await encoder.encodeQueries([text]);
    const [plain] = await encoder.encodeDocuments([text]);
    const [named] = await encoder.encodeDocuments([text], { words: true });
    assert.equal(plain?.passages[0]?.words, undefined);
    for (const encoded of [query, named]) {
      const { vector, words } = encoded?.passages[0] ?? {};
      assert.deepEqual(
        words?.filter(({ count }) => count > 0).map(({ term }) => term),
        ["zambezi", "zebra"],
      );
      assert.ok(vector?.ids.includes(hashedId("zebra")));
      assert.equal(termNames(vocabulary, words).term(hashedId("zambezi")), "zambezi");
      assert.equal(termNames(vocabulary, words).term(hashedId("nile")), `#${hashedId("nile")}`);
    }
  });

  it("counts the words of each passage and none beyond a limit, but all of a question", async () => {
    const long = `${"word ".repeat(200)}. zebrafish`;
    const [cut] = await encoder.encodeDocuments([long], { max_passages: 1, words: true });
    assert.equal(cut?.truncated, true);
    assert.deepEqual(
      cut.passages[0]?.words?.map(({ term }) => term),
      ["word"],
    );
    const [query] = await encoder.encodeQueries([long]);
    const passage = query?.passages[0];
    assert.ok(passage !== undefined && passage.end < 100);
    assert.deepEqual(
      passage.words?.filter(({ count }) => count > 0).map(({ term, count }) => [term, count]),
      [
        ["word", 200],
        ["zebrafish", 1],
      ],
    );
    assert.ok(passage.vector.ids.includes(hashedId("zebrafish")));
    const [whole] = await encoder.encodeDocuments([long], { words: true });
    const last = whole?.passages.at(-1);
    assert.ok(last?.words?.some(({ term }) => term === "zebrafish"));
    assert.ok((last?.words?.find(({ term }) => term === "word")?.count ?? 0) < 100);
  });

  it("tells which words stand in a text, and where", async () => {
    const text = "A zebrafish is no Zebra; ZEBRAS neither.";
    const [literals] = await encoder.literals([text]);
    const found = [...(literals?.ids ?? [])].map((id, i) => [
      id,
      text.slice(literals?.starts[i], literals?.ends[i]),
    ]);
    assert.deepEqual(found.slice(0, 3), [
      [hashedId("zebrafish"), "zebrafish"],
      [hashedId("zebra"), "Zebra"],
      [hashedId("zebra"), "ZEBRAS"],
    ]);
  });

  it("weighs queries without inference too, though there is no table", async () => {
    const config = testConfig({ "model.path": folder, "query.encoder": "table" });
    const table = await openQueryEncoder(config);
    try {
      const text = "the Zambezi zebra";
      const [encoded] = await table.encodeQueries([text]);
      const { vector, words = [] } = encoded?.passages[0] ?? {};
      const unit = table.lexicon?.unit ?? 0;
      sameTerms(
        vector,
        words.map(({ id, count, idf }) => ({ id, weight: (count * Math.sqrt(idf)) / unit })),
      );
      assert.equal(words.length, 2);
      const [here] = await table.literals([text]);
      const [there] = await encoder.literals([text]);
      assert.deepEqual(here, there);
    } finally {
      await table.close();
    }
  });
});
