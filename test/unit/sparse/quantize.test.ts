import assert from "node:assert/strict";
import fc from "fast-check";
import { luceneStored, quantize, roundWeight } from "../../../src/sparse/quantize.js";
import { MIN_WEIGHT, sparseVector, termsOf } from "../../../src/sparse/sparse-vector.js";
import { anyWeights, vectors } from "./arbitrary-vector.js";

const bits = fc.integer({ min: 1, max: 24 });

describe("quantize", () => {
  it("knows what Lucene stores (values read back from OpenSearch 3.6)", () => {
    assert.equal(luceneStored(0.1), 0.099853515625);
    assert.equal(luceneStored(513), 512);
    assert.equal(luceneStored(512), 512);
    assert.equal(luceneStored(1.5), 1.5);
  });

  it("sends with 9 bits or fewer exactly what Lucene stores", () => {
    fc.assert(
      fc.property(anyWeights, fc.integer({ min: 1, max: 9 }), (weight, few) => {
        const rounded = roundWeight(weight, few);
        assert.equal(luceneStored(rounded), rounded);
      }),
    );
  });

  it("rounds to nearest: off by at most half a step, never more than truncation", () => {
    fc.assert(
      fc.property(
        fc.float({ min: MIN_WEIGHT, max: Math.fround(1e38), noNaN: true }),
        bits,
        (weight, n) => {
          const error = Math.abs(roundWeight(weight, n) - weight) / weight;
          assert.ok(error <= 2 ** -n, `${weight} → ${roundWeight(weight, n)}`);
        },
      ),
    );
  });

  it("breaks ties to even, so that errors do not add up in one direction", () => {
    assert.equal(roundWeight(1 + 2 ** -9, 9), 1);
    assert.equal(roundWeight(1 + 3 * 2 ** -9, 9), 1 + 2 ** -7);
  });

  it("keeps weights positive, normal and finite at both ends of float32", () => {
    fc.assert(
      fc.property(anyWeights, bits, (weight, n) => {
        const rounded = roundWeight(weight, n);
        assert.ok(rounded >= MIN_WEIGHT && Number.isFinite(rounded));
      }),
    );
    assert.ok(Number.isFinite(roundWeight(3.4028234663852886e38, 4)));
  });

  it("is stable: quantizing twice changes nothing more", () => {
    fc.assert(
      fc.property(vectors(), bits, (vector, n) => {
        const once = quantize(vector, n);
        assert.deepEqual(quantize(once, n), once);
      }),
    );
  });

  it("keeps every term and the order by weight, ties by id", () => {
    fc.assert(
      fc.property(vectors(), bits, (vector, n) => {
        const quantized = quantize(vector, n);
        assert.deepEqual(quantized, sparseVector(termsOf(quantized)));
        assert.deepEqual([...quantized.ids].sort(), [...vector.ids].sort());
      }),
    );
  });

  it("changes nothing with all 24 bits", () => {
    fc.assert(
      fc.property(anyWeights, (weight) => {
        assert.equal(roundWeight(weight, 24), Math.fround(weight));
      }),
    );
  });

  it("refuses a number of bits that is none", () => {
    for (const wrong of [0, 25, 8.5, NaN]) {
      assert.throws(() => quantize(sparseVector([[1, 1]]), wrong), /whole number from 1 to 24/);
    }
  });
});
