import assert from "node:assert/strict";
import { scanSearches, type ScanOptions } from "../../../src/gateway/search-scan.js";
import type { SearchTarget } from "../../../src/gateway/search-target.js";

const OPTIONS: ScanOptions = { questions: true, vector_fields: ["emb"], max_clauses: 256 };
const SEARCH: SearchTarget = { body: "search", expression: "docs", options: {} };
const MANY: SearchTarget = { ...SEARCH, body: "msearch" };

/** Kind, path and text of every place that is found. */
function found(query: unknown, options: ScanOptions = OPTIONS): string[] {
  const text = JSON.stringify({ query });
  const { searches } = scanSearches(text, SEARCH, options);
  return searches.flatMap(({ places }) =>
    places.map(
      ({ kind, path, clause, question }) =>
        `${kind} ${path} ${clause?.query_text ?? question?.text ?? ""}`,
    ),
  );
}

describe("scanning a search", () => {
  const both = (inside: object) => ({ bool: { must: [inside] } });
  /** A query and what is found in it. */
  const table: [what: string, query: unknown, places: string[]][] = [
    ["a clause", { csplade: "a b" }, ["clause query a b"]],
    ["a match", { match: { text: "a b" } }, ["text query a b"]],
    [
      "a match with options",
      { match: { text: { query: "a", boost: 2, fuzziness: 1 } } },
      ["text query a"],
    ],
    ["operator or", { match: { text: { query: "a b", operator: "OR" } } }, ["text query a b"]],
    ["operator and", { match: { text: { query: "a b", operator: "and" } } }, []],
    ["minimum_should_match", { match: { text: { query: "a b", minimum_should_match: 2 } } }, []],
    ["boost 0", { match: { text: { query: "a b", boost: 0 } } }, []],
    ["boost 0 around it", { bool: { boost: 0, must: [{ match: { text: "a" } }] } }, []],
    ["default_operator AND", { query_string: { query: "a b", default_operator: "AND" } }, []],
    [
      "default_operator OR",
      { query_string: { query: "a b", default_operator: "or" } },
      ["text query a b"],
    ],
    ["operators in the text", { query_string: { query: "a AND b" } }, []],
    ["a phrase", { multi_match: { query: "a b", type: "phrase" } }, []],
    [
      "operator and over fields",
      { multi_match: { query: "a b", fields: ["x"], operator: "and" } },
      [],
    ],
    ["too many fields", { multi_match: { query: "a", fields: Array(1000).fill("x") } }, []],
    ["an unknown option", { match: { text: { query: "a", later_version: 1 } } }, []],
    [
      "neural_sparse",
      both({ neural_sparse: { emb: { query_text: "a", model_id: "m" } } }),
      ["vectors query.bool.must[0] a"],
    ],
    [
      "neural_sparse without a model",
      { neural_sparse: { emb: { query_text: "a" } } },
      ["vectors query a"],
    ],
    ["neural_sparse with tokens", { neural_sparse: { emb: { query_tokens: { 1: 1 } } } }, []],
    ["neural_sparse of another field", { neural_sparse: { other: { query_text: "a" } } }, []],
    [
      "sparse_vector",
      { sparse_vector: { field: "emb", query: "a", inference_id: "i" } },
      ["vectors query a"],
    ],
    [
      "sparse_vector with a vector",
      { sparse_vector: { field: "emb", query_vector: { 1: 1 } } },
      [],
    ],
    ["semantic", { semantic: { field: "emb", query: "a" } }, ["vectors query a"]],
    ["a match on the vectors", { match: { emb: { query: "a", boost: 2 } } }, ["vectors query a"]],
  ];
  for (const [what, query, places] of table) {
    it(`finds what is asked for in ${what}`, () => assert.deepEqual(found(query), places));
  }

  it("pairs the lines of an _msearch, an empty one in front of all left out", () => {
    const pair = '{"index":"a"}\n{"query":{"csplade":"x"}}\n';
    for (const [text, numbers] of [
      [pair + pair, [1, 2]],
      [`\n${pair}${pair}`, [1, 2]],
      [`{}\n{"query":{"match_all":{}}}\n${pair}`.slice(0, -1), [2]],
    ] as const) {
      const { searches } = scanSearches(text, MANY, OPTIONS);
      assert.deepEqual(
        searches.map(({ number }) => number),
        numbers,
      );
      for (const { places, target } of searches) {
        assert.equal(target.expression, "a");
        for (const { start, end } of places) {
          assert.equal(text.slice(start, end), '{"csplade":"x"}');
        }
      }
    }
  });

  it("takes so many clauses and tokens of one request and no more", () => {
    const tokens = JSON.stringify({ csplade: { query_tokens: { 1: 1 } } });
    const many = (count: number) =>
      `{"query":{"bool":{"should":[${Array(count).fill(tokens).join()}]}}}`;
    assert.equal(scanSearches(many(256), SEARCH, OPTIONS).searches[0]?.places.length, 256);
    assert.throws(() => scanSearches(many(257), SEARCH, OPTIONS), { code: "batch_too_large" });
    const lines = `{}\n${many(200)}\n`.repeat(2);
    assert.throws(() => scanSearches(lines, MANY, OPTIONS), { code: "batch_too_large" });
    const heavy = JSON.stringify({
      query: { csplade: { query_tokens: Object.fromEntries(Array(70_000).fill(1).entries()) } },
    });
    assert.throws(() => scanSearches(heavy, SEARCH, OPTIONS), { code: "batch_too_large" });
  });
});
