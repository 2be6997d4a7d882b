import assert from "node:assert/strict";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { nameTerms, readExplanation } from "../../../src/query/explanation.js";
import { termNames } from "../../../src/sparse/term-names.js";

function linear(field: string, id: number, weight: number, stored: number) {
  return {
    value: weight * stored,
    description: `Linear function on the ${field} field for the ${id} feature, computed as w * S from:`,
    details: [
      { value: weight, description: "w, weight of this function", details: [] },
      { value: stored, description: "S, feature value", details: [] },
    ],
  };
}

const required = {
  value: 0,
  description: "match on required clause, product of:",
  details: [
    { value: 0, description: "# clause", details: [] },
    { value: 1, description: "FieldExistsQuery [field=_primary_term]", details: [] },
  ],
};

describe("explanation", () => {
  it("reads one contribution per term, largest first, and ignores clauses that only match", () => {
    const { score, contributions, other } = readExplanation({
      value: 5,
      description: "sum of:",
      details: [required, linear("csplade", 7, 2, 0.5), linear("csplade", 123, 2, 2)],
    });
    assert.equal(score, 5);
    assert.equal(other, 0);
    assert.deepEqual(contributions, [
      { id: 123, field: "csplade", query_weight: 2, document_weight: 2, contribution: 4 },
      { id: 7, field: "csplade", query_weight: 2, document_weight: 0.5, contribution: 1 },
    ]);
  });

  it("reads the best passage of a nested hit", () => {
    const { contributions } = readExplanation({
      value: 6,
      description: "Score based on 2 child docs in range from 0 to 1, using score mode Max",
      details: [{ value: 6, description: "sum of:", details: [linear("p.csplade", 7, 1.5, 4)] }],
    });
    assert.deepEqual(
      contributions.map((term) => [term.id, term.contribution]),
      [[7, 6]],
    );
  });

  it("keeps what other clauses added apart, so that nothing is lost", () => {
    const { contributions, other } = readExplanation({
      value: 7.5,
      description: "sum of:",
      details: [
        linear("csplade", 7, 2, 3),
        { value: 1.5, description: "weight(text:hello in 0) [PerFieldSimilarity], result of:" },
      ],
    });
    assert.equal(contributions.length, 1);
    assert.equal(other, 1.5);
  });

  it("tells literal terms from expansions, whatever their case and spacing", () => {
    const terms = ["cat", "·Cat", "dog"];
    const names = termNames({ term: (id) => terms[id] ?? `#${id}` });
    const { contributions } = readExplanation({
      value: 6,
      description: "sum of:",
      details: [linear("csplade", 0, 2, 2), linear("csplade", 2, 1, 2)],
    });
    const literal = (textIds: number[]) =>
      nameTerms(contributions, names, textIds).map((named) => [named.term, named.literal]);
    assert.deepEqual(literal([0, 7]), [
      ["cat", true],
      ["dog", false],
    ]);
    assert.deepEqual(literal([1]), [
      ["cat", true],
      ["dog", false],
    ]);
    assert.deepEqual(literal([]), [
      ["cat", false],
      ["dog", false],
    ]);
  });

  it("refuses what is no explanation", () => {
    assert.throws(
      () => readExplanation({ value: "1" }),
      (error) => error instanceof CspladeError && error.code === "cluster_rejected",
    );
  });
});
