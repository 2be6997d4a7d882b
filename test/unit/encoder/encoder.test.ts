import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import type { EncodedText } from "../../../src/encoder/encoder-protocol.js";
import { termsOf } from "../../../src/sparse/sparse-vector.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

/** What torch gives for the same texts, written by the exporter's own tests. */
interface Expected {
  readonly texts: readonly {
    readonly text: string;
    /** Token ids of the whole text, and those within the model's length. */
    readonly all_ids: readonly number[];
    readonly ids: readonly number[];
    readonly terms: readonly { readonly index: number; readonly weight: number }[];
  }[];
}

function weightsOf(text: EncodedText | undefined): Map<number, number> {
  assert.ok(text?.passages[0], "the text has a passage");
  return new Map(termsOf(text.passages[0].vector));
}

function assertSameWeights(
  actual: Map<number, number>,
  expected: Map<number, number>,
  tolerance: number,
) {
  for (const id of new Set([...actual.keys(), ...expected.keys()])) {
    const difference = Math.abs((actual.get(id) ?? 0) - (expected.get(id) ?? 0));
    assert.ok(difference <= tolerance, `term ${id}: ${actual.get(id)} and ${expected.get(id)}`);
  }
}

for (const variant of ["bi", "echo"] as const) {
  describe(`the encoder, ${variant} variant`, () => {
    const expected = JSON.parse(
      readFileSync(path.join(tinyCheckpoint(variant), "expected.json"), "utf8"),
    ) as Expected;
    const whole = expected.texts.filter(
      (each) => each.ids.length > 0 && each.ids.length === each.all_ids.length,
    );
    let encoder: Encoder;
    before(async () => {
      encoder = await openEncoder(testConfig({ "model.path": tinyCheckpoint(variant) }));
    });
    after(() => encoder.close());

    it("gives the weights torch gives", async () => {
      const encoded = await encoder.encodeDocuments(whole.map((each) => each.text));
      whole.forEach((each, index) => {
        const terms = weightsOf(encoded[index]);
        // Ties at the cut of top-k may fall either way, so only the shared prefix is compared.
        for (const { index: id, weight } of each.terms) {
          if (weight < 1e-3) continue;
          assert.ok(Math.abs((terms.get(id) ?? 0) - weight) < 2e-3, `${each.text}: term ${id}`);
        }
      });
    });

    it("tokenizes as Python does", async () => {
      const literals = await encoder.literals(whole.map((each) => each.text));
      whole.forEach((each, index) => {
        assert.deepEqual([...literals[index]!.ids], each.ids, each.text);
      });
    });

    it("gives a text the same weights alone and in any batch", async () => {
      const texts = whole.map((each) => each.text);
      const together = await encoder.encodeDocuments([...texts, "a much longer text, ".repeat(4)]);
      for (const [index, text] of texts.entries()) {
        const [alone] = await encoder.encodeDocuments([text]);
        assertSameWeights(weightsOf(together[index]), weightsOf(alone), 1e-4);
      }
    });

    it("gives weights that are positive, finite and sorted, with distinct terms of the vocabulary", async () => {
      for (const text of await encoder.encodeDocuments(whole.map((each) => each.text))) {
        for (const { vector } of text.passages) {
          assert.equal(new Set(vector.ids).size, vector.ids.length);
          vector.weights.forEach((weight, i) => {
            assert.ok(weight > 0 && Number.isFinite(weight));
            assert.ok(i === 0 || weight <= vector.weights[i - 1]!);
            assert.ok(vector.ids[i]! < encoder.manifest.vocabulary_size);
          });
        }
      }
    });
  });
}

describe("the encoder", () => {
  let encoder: Encoder;
  before(async () => {
    encoder = await openEncoder(testConfig({ "model.sessions": 2 }));
  });
  after(() => encoder.close());

  it("leaves the event loop free while it encodes", async () => {
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 5);
    const started = performance.now();
    await encoder.encodeDocuments(
      Array.from({ length: 2_000 }, (_, i) => `text number ${i} of many`),
    );
    const elapsed = performance.now() - started;
    clearInterval(timer);
    assert.ok(ticks > elapsed / 5 / 4, `${ticks} ticks of 5 ms in ${elapsed.toFixed(0)} ms`);
  });

  it("serves concurrent requests on several sessions, each with its own results", async () => {
    const texts = Array.from({ length: 20 }, (_, i) => `the ${i} little ${i * 7} words`);
    const alone = await encoder.encodeDocuments(texts);
    const apart = await Promise.all(texts.map((text) => encoder.encodeDocuments([text])));
    apart.forEach(([text], i) => assertSameWeights(weightsOf(text), weightsOf(alone[i]), 1e-4));
  });

  it("makes long documents passages and cuts long queries", async () => {
    const long = "A sentence about learned sparse retrieval. ".repeat(40);
    const [document] = await encoder.encodeDocuments([long]);
    assert.ok(document!.passages.length > 5);
    assert.equal(document!.truncated, false);
    const [query] = await encoder.encodeQueries([long]);
    assert.equal(query!.passages.length, 1);
    assert.equal(query!.truncated, true);
  });

  it("gives a blank text no passages", async () => {
    const [blank] = await encoder.encodeDocuments(["  "]);
    assert.deepEqual(blank, { passages: [], truncated: false });
  });

  it("puts one listener on a signal that many calls share, and none once they are over", async () => {
    const { signal } = new AbortController();
    const calls = Array.from({ length: 20 }, (_, i) =>
      i % 2 === 0
        ? encoder.encodeQueries([`question ${i}`], { signal })
        : encoder.literals([`question ${i}`], { signal }),
    );
    assert.equal(getEventListeners(signal, "abort").length, 1);
    await Promise.all(calls);
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });

  it("stops waiting when its signal aborts, and works on", async () => {
    const many = Array.from({ length: 5_000 }, (_, i) => `cancelled ${i}`);
    const signal = AbortSignal.timeout(20);
    await assert.rejects(encoder.encodeDocuments(many, { signal }), { code: "aborted" });
    assert.equal((await encoder.encodeDocuments(["still here"])).length, 1);
  });
});

describe("a checkpoint directory", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-checkpoint-"));
    cpSync(tinyCheckpoint("bi"), folder, { recursive: true });
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const open = () => openEncoder(testConfig({ "model.path": folder }));

  it("that is missing is named", async () => {
    rmSync(path.join(folder, "manifest.json"));
    await assert.rejects(open(), (error: CspladeError) => {
      assert.equal(error.code, "model_not_found");
      return error.message.includes(folder);
    });
  });

  it("with a changed file is refused", async () => {
    const file = path.join(folder, "tokenizer.json");
    writeFileSync(file, readFileSync(file, "utf8").replace("a", "b"));
    await assert.rejects(open(), { code: "model_invalid" });
  });

  it("with a manifest of another shape is refused with the field at fault", async () => {
    const file = path.join(folder, "manifest.json");
    writeFileSync(file, readFileSync(file, "utf8").replace(/"variant": ?"bi"/, '"variant":"tri"'));
    await assert.rejects(open(), (error: CspladeError) => {
      assert.equal(error.code, "model_invalid");
      return error.message.includes("variant");
    });
  });

  it("asked for CUDA without its files says what is missing", async () => {
    const config = testConfig({ "model.path": folder, "model.provider": "cuda" });
    await assert.rejects(openEncoder(config), { code: "provider_unavailable" });
  });
});
