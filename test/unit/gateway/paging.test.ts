import assert from "node:assert/strict";
import { parseTree } from "jsonc-parser";
import { carryOn, pagingOf } from "../../../src/gateway/paging.js";
import { applyEdits } from "../../../src/gateway/text-edits.js";
import { writeFixedIdf } from "../../../src/query/fixed-idf.js";

const IDF = writeFixedIdf([
  { words: [{ id: 7, term: "sea", count: 1, idf: 2 }], codes: Uint16Array.of(9) },
]);
const KEY = { csplade_idf: { unmapped_type: "keyword", missing: IDF } };

/** The sort of a body when it is carried on; undefined where it is left alone. */
function carried(body: object): unknown {
  const before = "in front of it ";
  const text = before + JSON.stringify(body);
  const tree = parseTree(text.slice(before.length))!;
  const paging = pagingOf(tree, before.length);
  if (paging === undefined) return undefined;
  const changed = applyEdits(text, carryOn(paging, IDF)).slice(before.length);
  const { sort, ...rest } = JSON.parse(changed) as { sort: unknown };
  assert.deepEqual({ ...body, sort }, { ...rest, sort });
  return sort;
}

describe("a sort that carries what a page was weighed by", () => {
  const table: [what: string, body: object, sort: unknown][] = [
    ["a list", { sort: [{ _score: "desc" }, "year"] }, [{ _score: "desc" }, "year", KEY]],
    [
      "an object",
      { sort: { _score: "desc", year: "asc" } },
      [{ _score: "desc", year: "asc" }, KEY],
    ],
    [
      "the next page",
      { sort: ["_score", "year"], search_after: [1, 2, IDF] },
      ["_score", "year", KEY],
    ],
    [
      "a point in time",
      { sort: ["_score", "y"], search_after: [1, 2, IDF, 5] },
      ["_score", "y", KEY],
    ],
    ["values of the caller's own", { sort: ["_score", "year"], search_after: [1, 2] }, undefined],
    ["a text of the caller's own", { sort: ["_score", "y"], search_after: [1, 2, "x"] }, undefined],
    ["the score alone", { sort: ["_score"] }, undefined],
    ["no score", { sort: ["year", "month"] }, undefined],
    ["no sort", { query: {} }, undefined],
    ["collapsing", { sort: ["_score", "year"], collapse: { field: "f" } }, undefined],
    ["a hybrid query", { sort: ["_score", "y"], query: { hybrid: { queries: [] } } }, undefined],
  ];
  for (const [what, body, sort] of table) {
    it(`${sort === undefined ? "is none for" : "holds for"} ${what}`, () =>
      assert.deepEqual(carried(body), sort));
  }
});
