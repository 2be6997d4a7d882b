import assert from "node:assert/strict";
import fc from "fast-check";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import {
  featuresJson,
  fromFeatures,
  shortDecimal,
  storedDecimal,
  toFeatures,
  storedFeaturesJson,
} from "../../../src/sparse/features.js";
import { luceneStored, quantize } from "../../../src/sparse/quantize.js";
import { sparseVector } from "../../../src/sparse/sparse-vector.js";
import { anyWeights, vectors } from "./arbitrary-vector.js";

describe("features", () => {
  it("come back as the same vector, through JSON", () => {
    fc.assert(
      fc.property(vectors(200, anyWeights), (vector) => {
        const wire = JSON.stringify(toFeatures(vector));
        assert.deepEqual(fromFeatures(JSON.parse(wire) as Record<string, unknown>), vector);
      }),
    );
  });

  it("are written the same way whatever order the terms had", () => {
    const one = sparseVector([
      [10, 1],
      [9, 2],
    ]);
    const other = sparseVector([
      [9, 2],
      [10, 1],
    ]);
    assert.equal(JSON.stringify(toFeatures(one)), '{"9":2,"10":1}');
    assert.equal(JSON.stringify(toFeatures(other)), JSON.stringify(toFeatures(one)));
  });

  it("are the same as JSON text, from no term to thousands with the longest ids", () => {
    fc.assert(
      fc.property(vectors(200, anyWeights), (vector) => {
        assert.equal(featuresJson(vector), JSON.stringify(toFeatures(vector)));
      }),
    );
    const ids = [0, 9, 10, 99, 100, 49_151, 262_144, 2 ** 31, 2 ** 32 - 2];
    const long = Array.from({ length: 3_000 }, (_, i): [number, number] => [1_000_000 + i, 1e-9]);
    for (const terms of [[], ids.map((id): [number, number] => [id, 1.5]), long]) {
      const vector = sparseVector(terms);
      assert.equal(featuresJson(vector), JSON.stringify(toFeatures(vector)));
      const read = JSON.parse(storedFeaturesJson(vector)) as Record<string, number>;
      assert.deepEqual(Object.keys(read), Object.keys(toFeatures(vector)));
      for (const [id, weight] of terms) assert.equal(read[id], storedDecimal(Math.fround(weight)));
    }
  });

  it("carry the shortest decimal of a float32", () => {
    assert.equal(JSON.stringify(shortDecimal(Math.fround(0.1))), "0.1");
    assert.equal(JSON.stringify(shortDecimal(1.00390625)), "1.0039063");
    fc.assert(
      fc.property(anyWeights, (weight) => {
        assert.equal(Math.fround(shortDecimal(weight)), weight);
      }),
    );
  });

  it("of documents are stored as the weights they stand for, in no more digits than that takes", () => {
    assert.equal(JSON.stringify(storedDecimal(1.22265625)), "1.223");
    assert.equal(JSON.stringify(storedDecimal(0.099853515625)), "0.1");
    assert.equal(JSON.stringify(storedDecimal(512)), "512");
    fc.assert(
      fc.property(anyWeights, (weight) => {
        const short = storedDecimal(weight);
        assert.equal(luceneStored(Math.fround(short)), luceneStored(weight));
        const digits = short.toExponential().replace(/e.*/, "").replace(".", "").length;
        assert.ok(digits <= 4, `${short} has ${digits} digits`);
      }),
    );
    fc.assert(
      fc.property(vectors(200, anyWeights), fc.integer({ min: 1, max: 9 }), (vector, bits) => {
        const rounded = quantize(vector, bits);
        const read = fromFeatures(
          JSON.parse(storedFeaturesJson(rounded)) as Record<string, unknown>,
        );
        assert.deepEqual(quantize(read, 24).ids, rounded.ids);
        assert.deepEqual(read.weights.map(luceneStored), rounded.weights);
      }),
    );
  });

  it("refuse names that are not token ids and weights that OpenSearch refuses", () => {
    const wrong: Record<string, unknown>[] = [
      { cat: 1 },
      { "1.5": 1 },
      { "007": 1 },
      { "-1": 1 },
      { "": 1 },
      { "4294967296": 1 },
      { "1": 0 },
      { "1": -1 },
      { "1": 1e-39 },
      { "1": 3.5e38 },
      { "1": "2" },
      { "1": null },
    ];
    for (const features of wrong) {
      assert.throws(
        () => fromFeatures(features),
        (error) => error instanceof CspladeError && error.code === "index_invalid",
        JSON.stringify(features),
      );
    }
  });
});
