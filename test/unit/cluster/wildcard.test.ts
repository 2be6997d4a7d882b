import assert from "node:assert/strict";
import fc from "fast-check";
import { matchesPattern } from "../../../src/cluster/wildcard.js";

describe("names and patterns", () => {
  it("matches as a backtracking matcher does, on every short name and pattern", () => {
    const letters = (alphabet: string) =>
      fc.array(fc.constantFrom(...alphabet.split("")), { maxLength: 8 }).map((all) => all.join(""));
    const slow = (pattern: string, name: string): boolean => {
      if (pattern === "") return name === "";
      if (pattern[0] !== "*")
        return pattern[0] === name[0] && slow(pattern.slice(1), name.slice(1));
      return slow(pattern.slice(1), name) || (name !== "" && slow(pattern, name.slice(1)));
    };
    fc.assert(
      fc.property(letters("ab.*"), letters("ab."), (pattern, name) => {
        assert.equal(matchesPattern(pattern, name), slow(pattern, name));
      }),
      { numRuns: 5_000 },
    );
  });

  it("is done at once with patterns that make a regular expression backtrack", () => {
    // A backtracking matcher would not end within the life of this machine.
    assert.equal(matchesPattern(`${"*".repeat(100_000)}x`, "description"), false);
    assert.equal(matchesPattern(`${"*a".repeat(1_000)}*b`, "a".repeat(2_000)), false);
    assert.equal(matchesPattern("*".repeat(100_000), "description"), true);
  });
});
