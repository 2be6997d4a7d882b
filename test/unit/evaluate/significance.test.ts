import assert from "node:assert/strict";
import { compareSystems } from "../../../src/evaluate/significance.js";

function perQuery(values: readonly number[]): Map<string, number> {
  return new Map(values.map((value, i) => [`q${i}`, value]));
}

describe("significance", () => {
  it("is certain of nothing when two systems are equal", () => {
    const same = perQuery([0.1, 0.5, 0.9]);
    assert.deepEqual(compareSystems(same, same), { difference: 0, p_value: 1 });
  });

  it("gives the exact p-value where it can be counted", () => {
    // Five queries, all won: 2 of the 32 sign assignments are as extreme, p = 0.0625.
    const { difference, p_value } = compareSystems(
      perQuery([0.5, 0.6, 0.7, 0.8, 0.9]),
      perQuery([0.4, 0.4, 0.4, 0.4, 0.4]),
      100_000,
    );
    assert.ok(Math.abs(difference - 0.3) < 1e-12);
    assert.ok(Math.abs(p_value - 0.0625) < 0.003, String(p_value));
  });

  it("is small for a difference on every one of many queries, and the same each time", () => {
    const first = perQuery(Array.from({ length: 40 }, (_, i) => 0.5 + (i % 5) / 100));
    const second = perQuery(Array.from({ length: 40 }, () => 0.4));
    const once = compareSystems(first, second);
    assert.equal(once.p_value, 1 / 10_001);
    assert.deepEqual(compareSystems(first, second), once);
  });

  it("does not depend on which system comes first", () => {
    const first = perQuery([0.1, 0.7, 0.3, 0.2, 0.9, 0.4]);
    const second = perQuery([0.3, 0.2, 0.4, 0.1, 0.5, 0.6]);
    const there = compareSystems(first, second);
    const back = compareSystems(second, first);
    assert.equal(there.p_value, back.p_value);
    assert.equal(there.difference, -back.difference);
  });
});
