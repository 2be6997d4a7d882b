import assert from "node:assert/strict";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { openSession } from "../../../src/encoder/onnx-session.js";
import { readVocabulary } from "../../../src/sparse/vocabulary.js";
import { createTokenizer, readTokenizerFile } from "../../../src/text/tokenizer.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

/** Ids from here on are words of the text itself. */
const HASHED = 0x8000_0000;

describe("models/csplade-smollm2-135m-prompt", function () {
  this.timeout(120_000);
  const directory = path.join(packageRoot, "models", "csplade-smollm2-135m-prompt");
  let encoder: Encoder;

  before(async () => {
    encoder = await openEncoder(testConfig({ "model.path": directory, "model.threads": 2 }));
  });
  after(() => encoder.close());

  /** The words that the model adds to a question, as its vocabulary writes them. */
  async function added(question: string): Promise<string[]> {
    const vocabulary = readVocabulary(readTokenizerFile(path.join(directory, "tokenizer.json")));
    const [encoded] = await encoder.encodeQueries([question]);
    const ids = Array.from(encoded?.passages[0]?.vector.ids ?? []).filter((id) => id < HASHED);
    return ids.map((id) =>
      Buffer.from(vocabulary.bytes(id) ?? [])
        .toString()
        .trim()
        .toLowerCase(),
    );
  }

  const MEANT = [
    ["a person who studies stars", "astronom"],
    ["how do plants make food from light", "photos"],
    ["disease you get from mosquitoes", "malaria"],
  ] as const;
  for (const [question, beginning] of MEANT) {
    it(`reads ${JSON.stringify(question)} by its meaning`, async () => {
      const words = await added(question);
      assert.ok(
        words.some((word) => word.startsWith(beginning)),
        words.join(" "),
      );
      assert.ok(words.length <= 28);
    });
  }

  it("reads a question a second time, knowing its end", async () => {
    const question = "machine that flies";
    const tokenizer = createTokenizer(readTokenizerFile(path.join(directory, "tokenizer.json")));
    const parts = [question, "\n\n", question, "\n\nKeywords:"];
    const read = parts.flatMap((part) => tokenizer.encode(part));
    const options = { provider: "cpu", threads: 2 } as const;
    const session = await openSession(path.join(directory, "model.onnx"), options);
    const [expected] = await session.run([read], 0, 10);
    await session.close();
    const [encoded] = await encoder.encodeQueries([question]);
    const { ids, weights } = encoded?.passages[0]?.vector ?? { ids: [], weights: [] };
    const found = new Map(Array.from(ids, (id, k) => [id, weights[k] ?? 0]));
    // Of forms of one word only the heaviest is kept, and no stop words; the lexicon scales the model's weights.
    const shares = Array.from(expected?.ids ?? []).flatMap((id, k) => {
      const weight = found.get(id);
      return weight === undefined ? [] : [weight / (expected?.weights[k] ?? 0)];
    });
    assert.ok(shares.length >= 5, `${shares.length}`);
    for (const share of shares) assert.ok(Math.abs(share - 0.06) < 1e-3, `${share}`);
  });

  it("gives a text the same vector whatever it is encoded with", async () => {
    const texts = [
      "The sea is salt.",
      "Bread is baked of flour and water. ".repeat(9),
      "Owls hunt.",
    ];
    const together = await encoder.encodeDocuments(texts);
    for (const [i, text] of texts.entries()) {
      const [alone] = await encoder.encodeDocuments([text]);
      const [a, b] = [alone, together[i]].map((encoded) => encoded?.passages[0]?.vector);
      assert.deepEqual(a?.ids, b?.ids);
      a?.weights.forEach((weight, k) => assert.ok(Math.abs(weight - (b?.weights[k] ?? 0)) < 1e-3));
    }
  });

  it("gives the terms of a document one length beside its own words", async () => {
    const [encoded] = await encoder.encodeDocuments(["The comet passed the sun in March."]);
    const { ids, weights } = encoded?.passages[0]?.vector ?? { ids: [], weights: [] };
    const model = Array.from(weights).filter((_, k) => (ids[k] as number) < HASHED);
    assert.ok(model.length > 20 && model.length <= 76, `${model.length}`);
    assert.ok(Math.abs(Math.hypot(...model) - 10) < 0.01);
    assert.equal(ids.length - model.length, 4);
  });

  const GERMAN =
    "Das Programm listet den Inhalt eines Verzeichnisses auf und sortiert ihn nach Namen.";

  it("gives a text in a language that it does not know its own words alone, a question too", async () => {
    const [german] = await encoder.encodeDocuments([GERMAN]);
    const [question] = await encoder.encodeQueries(["wie lösche ich ein leeres Verzeichnis"]);
    for (const encoded of [german, question]) {
      const ids = Array.from(encoded?.passages[0]?.vector.ids ?? []);
      assert.ok(ids.length >= 4, `${ids.length}`);
      assert.ok(ids.every((id) => id >= HASHED));
    }
  });

  it("does not read what is foreign, and leaves the texts beside it what they get alone", async () => {
    const english = "The comet passed the sun in March.";
    const before = encoder.totals();
    const [, beside, , blank] = await encoder.encodeDocuments([GERMAN, english, GERMAN, " "]);
    const { tokens, texts } = encoder.totals();
    assert.equal(texts - before.texts, 4);
    assert.equal(tokens - before.tokens, beside?.passages[0]?.tokens);
    assert.deepEqual(blank?.passages, []);
    const [alone] = await encoder.encodeDocuments([english]);
    assert.deepEqual(beside?.passages[0]?.vector.ids, alone?.passages[0]?.vector.ids);
  });

  it("gives a document of two languages terms of the passages that it knows", async () => {
    const english = "The comet passed the sun in March, and its tail was seen by all. ".repeat(8);
    const text = `${english}\n\n${`${GERMAN} `.repeat(8)}`;
    const [encoded] = await encoder.encodeDocuments([text], { merged: true });
    const added = (encoded?.passages ?? []).flatMap(({ vector }) =>
      Array.from(vector.ids).filter((id) => id < HASHED),
    );
    assert.ok(added.length > 20, `${added.length}`);
    const [alone] = await encoder.encodeDocuments([english], { merged: true });
    const known = new Set(alone?.passages.flatMap(({ vector }) => Array.from(vector.ids)));
    const others = added.filter((id) => !known.has(id));
    assert.ok(others.length < added.length / 2, `${others.length} of ${added.length}`);
  });

  it("gives all texts its terms where it is told to", async () => {
    const all = await openEncoder(
      testConfig({ "model.path": directory, "model.threads": 2, "model.other_languages": "terms" }),
    );
    try {
      const [german] = await all.encodeDocuments([GERMAN]);
      assert.ok(german?.passages[0]?.vector.ids.some((id) => id < HASHED));
    } finally {
      await all.close();
    }
  });
});
