import assert from "node:assert/strict";
import fc from "fast-check";
import { idMap, mapVector, MOST_MAPPED_IDS, readIdMap } from "../../../src/sparse/id-map.js";
import { sparseVector, termsOf } from "../../../src/sparse/sparse-vector.js";

/** Rows of a vocabulary, and hashed words far beyond it. */
const id = fc.oneof(
  fc.integer({ min: 0, max: 130_000 }),
  fc.integer({ min: 0x8000_0000, max: 0xffff_ffff }),
);
const ids = fc.uniqueArray(id, { maxLength: 300 });

describe("id map", () => {
  it("numbers ids without gaps or collisions, and comes back from its text", () => {
    fc.assert(
      fc.property(ids, id, (live, other) => {
        const map = idMap(live);
        const again = readIdMap(map.text);
        const numbers = live.map((id) => map.number(id)!);
        assert.deepEqual(
          numbers.toSorted((a, b) => a - b),
          live.map((_, i) => i),
        );
        assert.equal(again.size, live.length);
        for (const id of [...live, other]) assert.equal(again.number(id), map.number(id));
        assert.equal(map.number(other) !== undefined, live.includes(other));
      }),
    );
  });

  it("keeps the weights of numbered terms, and counts the others", () => {
    fc.assert(
      fc.property(ids, ids, (live, terms) => {
        const map = idMap(live);
        const whole = sparseVector(terms.map((id, i) => [id, 1 + i]));
        const { vector, dropped } = mapVector(whole, map);
        assert.equal(vector.ids.length + dropped, terms.length);
        const weights = new Map(termsOf(vector));
        for (const [id, weight] of termsOf(whole)) {
          const number = map.number(id);
          if (number !== undefined) assert.equal(weights.get(number), weight);
        }
      }),
    );
  });

  it("stays below 32,768, where the field would fold ids together", () => {
    const all = Array.from({ length: MOST_MAPPED_IDS }, (_, i) => i * 3);
    assert.equal(idMap(all).number((MOST_MAPPED_IDS - 1) * 3), MOST_MAPPED_IDS - 1);
    assert.throws(() => idMap([...all, 1]), { code: "index_invalid" });
  });

  it("is read as it was written before there were hashed words", () => {
    const map = readIdMap("IgAB"); // bits 1, 5 and 16
    assert.deepEqual(
      [1, 5, 16, 0, 17].map((each) => map.number(each)),
      [0, 1, 2, undefined, undefined],
    );
    assert.equal(idMap([16, 1, 5]).text, "IgAB");
  });

  it("takes kilobytes for a whole index, hashed words included", () => {
    const rows = Array.from({ length: 20_000 }, (_, i) => 2 * i);
    const words = Array.from({ length: 10_000 }, (_, i) => 0x8000_0000 + i * 214_748);
    assert.ok(idMap(rows).text.length < 7_000);
    assert.ok(idMap([...rows, ...words]).text.length < 70_000);
  });

  it("refuses a text that is damaged", () => {
    for (const bytes of [[0x80], [1, 0], [0xff, 0xff, 0xff, 0xff, 0x7f], [1, 0x80, 0x80]]) {
      const text = `delta:${Buffer.from(bytes).toString("base64")}`;
      assert.throws(() => readIdMap(text), { code: "index_invalid" }, text);
    }
    assert.throws(() => readIdMap("not base64!"), { code: "index_invalid" });
    assert.throws(() => readIdMap(Buffer.alloc(20_000, 255).toString("base64")), {
      code: "index_invalid",
    });
  });
});
