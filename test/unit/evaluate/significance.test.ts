import assert from "node:assert/strict";
import { randomNumbers } from "../../../bench/resampled-corpus.js";
import { compareSystems } from "../../../src/evaluate/significance.js";

function perQuery(values: readonly number[]): Map<string, number> {
  return new Map(values.map((value, i) => [`q${i}`, value]));
}

describe("significance", () => {
  it("is certain of nothing when two systems are equal", () => {
    const same = perQuery([0.1, 0.5, 0.9]);
    assert.deepEqual(compareSystems(same, same), { difference: 0, p_value: 1 });
  });

  it("gives the exact p-value where all assignments can be counted", () => {
    // Five queries, all won: 2 of the 32 sign assignments are as extreme.
    const { difference, p_value } = compareSystems(
      perQuery([0.5, 0.6, 0.7, 0.8, 0.9]),
      perQuery([0.4, 0.4, 0.4, 0.4, 0.4]),
    );
    assert.ok(Math.abs(difference - 0.3) < 1e-12);
    assert.equal(p_value, 2 / 32);
  });

  it("draws to the figure that counting gives, whatever the seed", () => {
    // 12 queries: 4,096 assignments are counted with 10,000 rounds and drawn from with 4,000.
    const first = perQuery(Array.from({ length: 12 }, (_, i) => 0.3 + ((i * 7) % 12) / 20));
    const second = perQuery(Array.from({ length: 12 }, (_, i) => 0.35 + ((i * 5) % 12) / 25));
    const exact = compareSystems(first, second, { rounds: 4_096 }).p_value;
    const error = Math.sqrt((exact * (1 - exact)) / 4_000);
    const drawn = Array.from(
      { length: 20 },
      (_, seed) => compareSystems(first, second, { rounds: 4_000, seed }).p_value,
    );
    for (const p of drawn) assert.ok(Math.abs(p - exact) < 4 * error, `${p} is not ${exact}`);
    assert.ok(new Set(drawn).size > 1, "Seeds make no difference.");
  });

  it("calls chance what is chance: its p-values are spread evenly when two systems are equal", () => {
    // 200 pairs of equal systems on 60 queries, more signs than one random number has bits.
    const values = randomNumbers(7);
    const system = () => perQuery(Array.from({ length: 60 }, values));
    const small = Array.from(
      { length: 200 },
      () => compareSystems(system(), system(), { rounds: 1_000 }).p_value,
    ).filter((p) => p <= 0.2).length;
    // 40 expected, standard deviation 5.7.
    assert.ok(small > 20 && small < 60, `${small} of 200 below 0.2`);
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
