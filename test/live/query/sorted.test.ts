/** `sort` and `search_after` in the modes that rank a first look, on real clusters. */
import assert from "node:assert/strict";
import type { OpenSearchVersion } from "../../../src/servers/distribution-lock.js";
import { split } from "../../../src/sparse/prune.js";
import type { SparseVector } from "../../../src/sparse/sparse-vector.js";
import { randomVectors } from "../../support/random-vectors.js";
import {
  close,
  documents,
  NESTED,
  queries,
  rankingSuite,
  sum,
} from "../../support/ranking-suite.js";
import { exactScore } from "../../support/vector-index.js";

const INDEX = "csplade-sort-test";

function sortingOn(version: OpenSearchVersion): void {
  const { find } = rankingSuite(INDEX, version);

  for (const mode of ["two_phase"] as const) {
    for (const fields of [undefined, NESTED]) {
      it(`${mode} sorts all that its first look finds, ${fields ? "nested" : "whole"}, and pages through it`, async () => {
        const query = queries[1]!;
        const { strong } = split(query, { prune_type: "max_ratio", prune_ratio: 0.5 });
        const best = (vector: SparseVector, { vector: whole, passages }: (typeof documents)[0]) =>
          Math.max(...(fields ? passages : [whole]).map((each) => exactScore(vector, each)));
        const expected = documents
          .map((document, i) => ({ ...document, id: String(i), score: best(query, document) }))
          .filter((each) => best(strong, each) > 0)
          .sort((a, b) => b.year - a.year || +a.id - +b.id);
        assert.ok(expected.length > 60 && expected.length < documents.length);

        const body = {
          sort: [{ year: "desc" }, { place: "asc" }],
          track_total_hits: true,
          aggs: { latest: { max: { field: "year" } } },
        };
        const first = await find(query, { mode, fields, body, size: 30, explain: true });
        assert.deepEqual([first.total, first.total_relation], [expected.length, "eq"]);
        assert.deepEqual(first.aggregations, { latest: { value: expected[0]!.year } });
        assert.match(first.notes.join(), /scores every document of its first look/);
        const search_after = first.hits.at(-1)!.sort!;
        const second = await find(query, {
          mode,
          fields,
          body: { ...body, search_after },
          size: 30,
        });
        const hits = [...first.hits, ...second.hits];
        assert.deepEqual(
          hits.map((hit) => hit.id),
          expected.slice(0, 60).map(({ id }) => id),
        );
        hits.forEach((hit, i) => close(hit.score, expected[i]!.score));
        for (const { id, score, contributions, passage } of first.hits) {
          close(sum(contributions.map((term) => term.contribution)), score);
          if (!fields || score === 0) continue;
          const scores = documents[+id]!.passages.map((vector) => exactScore(query, vector));
          assert.equal(passage, scores.indexOf(Math.max(...scores)));
        }
      });
    }

    it(`${mode} sorts by the score first, then by a field, and collapses`, async () => {
      const sort = [{ _score: "desc" }, { year: "asc" }];
      const query = queries[2]!;
      const sorted = await find(query, { mode, body: { sort }, size: 20 });
      const [last, ...scores] = sorted.hits.map(({ score }) => score).reverse();
      assert.ok(scores.every((score, i) => score >= (scores[i - 1] ?? last!)));
      const window = { two_phase: { expansion_rate: 1000 } };
      const ranked = await find(query, { mode, ...window, size: 20 });
      ranked.hits.forEach((hit, i) => close(sorted.hits[i]!.score, hit.score));

      const collapse = "parent";
      const body = { sort: [{ year: "desc" }], min_score: last! };
      const { hits } = await find(query, { mode, collapse, body });
      assert.ok(hits.length > 1);
      assert.equal(new Set(hits.map((hit) => hit.collapsed_by)).size, hits.length);
      assert.ok(hits.every((hit) => hit.score >= last! && hit.source.parent === hit.collapsed_by));
    });
  }

  it("sorts by the score alone in every mode as if it was not asked to", async () => {
    for (const mode of ["two_phase", "hybrid"] as const) {
      const without = await find(queries[0]!, { mode });
      for (const sort of [
        "_score",
        ["_score"],
        [{ _score: "desc" }],
        { _score: { order: "desc" } },
      ]) {
        const { hits } = await find(queries[0]!, { mode, body: { sort } });
        assert.deepEqual(hits, without.hits);
      }
    }
  });

  it("gives hits no score where none is wanted", async () => {
    const body = { sort: [{ year: "asc" }], track_scores: false };
    const { hits } = await find(queries[0]!, { mode: "two_phase", body });
    assert.ok(hits.length > 0 && hits.every(({ score }) => score === 0));
  });

  it("sorts the answer to a question of 100,000 words within the clause limit", async () => {
    const long = randomVectors(99)(1500, 40_000);
    const text = `fear ${"ocean and other words ".repeat(25_000)}`;
    for (const mode of ["plain", "two_phase"] as const) {
      const { hits } = await find(long, { mode, text, body: { sort: [{ year: "desc" }] } });
      assert.equal(hits.length, 10, mode);
    }
  });
}

describe("sorted search on OpenSearch 3.6.0", () => sortingOn("3.6.0"));
describe("sorted search on OpenSearch 2.19.1", () => sortingOn("2.19.1"));
