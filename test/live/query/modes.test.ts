/** Modes of search on real clusters: what each finds, how it scores, and what stays usable around it. */
import assert from "node:assert/strict";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import type { OpenSearchVersion } from "../../../src/servers/distribution-lock.js";
import { makeAnnIndex } from "../../../src/index/ann-index.js";
import { createBulkWriter } from "../../../src/cluster/bulk-writer.js";
import { fitText } from "../../../src/query/bm25-query.js";
import type { SearchRequest } from "../../../src/query/search-request.js";
import { split, splitBy } from "../../../src/sparse/prune.js";
import { EMPTY_VECTOR } from "../../../src/sparse/sparse-vector.js";
import { randomVectors } from "../../support/random-vectors.js";
import {
  close,
  documents,
  NESTED,
  queries,
  rankingSuite,
  sum,
  TEXT,
} from "../../support/ranking-suite.js";
import { exactScore } from "../../support/vector-index.js";

const INDEX = "csplade-modes-test";

function modesOn(version: OpenSearchVersion): void {
  const suite = rankingSuite(INDEX, version);
  const { find } = suite;

  for (const dialect of ["rank_feature", "neural_sparse"] as const) {
    it(`two_phase gives plain scores to what the strong terms find (${dialect})`, async () => {
      for (const query of queries) {
        const { hits, mode } = await find(query, { mode: "two_phase", dialect });
        assert.equal(mode, "two_phase");
        assert.equal(hits.length, 10);
        for (const hit of hits) close(hit.score, exactScore(query, documents[+hit.id]!.vector));
        const { strong } = split(query, { prune_type: "max_ratio", prune_ratio: 0.5 });
        assert.ok(hits.every((hit) => exactScore(strong, documents[+hit.id]!.vector) > 0));
      }
    });
  }

  it("two_phase counts what the strong terms match only when it is asked to", async () => {
    const [query] = queries;
    const { strong } = split(query!, { prune_type: "max_ratio", prune_ratio: 0.5 });
    const matching = documents.filter(({ vector }) => exactScore(strong, vector) > 0).length;
    const quick = await find(query!, { mode: "two_phase" });
    assert.deepEqual([quick.total, quick.total_relation], [10, "gte"]);
    const body = { track_total_hits: true };
    const counted = await find(query!, { mode: "two_phase", body });
    assert.deepEqual([counted.total, counted.total_relation], [matching, "eq"]);
  });

  it("two_phase finds by the question's own words where they are known, and by the cut that is asked for", async () => {
    for (const query of queries) {
      // Light ones: heavy terms find otherwise.
      const own_terms = new Set(query.ids.slice(-3));
      const { strong } = splitBy(query, own_terms);
      const matching = documents.filter(({ vector }) => exactScore(strong, vector) > 0).length;
      const counted = { mode: "two_phase", own_terms, body: { track_total_hits: true } } as const;
      const { total, hits } = await find(query, counted);
      assert.equal(total, matching);
      for (const { id, score } of hits) close(score, exactScore(query, documents[+id]!.vector));
      const cut = { prune_type: "top_k", prune_ratio: 2 } as const;
      const heavy = split(query, cut).strong;
      const asked = await find(query, { ...counted, two_phase: cut });
      const found = documents.filter(({ vector }) => exactScore(heavy, vector) > 0).length;
      assert.equal(asked.total, found);
    }
  });

  it("a prune_ratio alone is neural-search's max_ratio, so that its settings can be copied", async () => {
    const [query] = queries;
    const { strong } = split(query!, { prune_type: "max_ratio", prune_ratio: 0.7 });
    const matching = documents.filter(({ vector }) => exactScore(strong, vector) > 0).length;
    const { total } = await find(query!, {
      mode: "two_phase",
      two_phase: { prune_ratio: 0.7 },
      body: { track_total_hits: true },
    });
    assert.equal(total, matching);
  });

  it("gives the same hits and scores by rank_feature and by neural_sparse", async () => {
    for (const query of queries) {
      const [one, other] = await Promise.all(
        (["rank_feature", "neural_sparse"] as const).map((dialect) =>
          find(query, { dialect, size: 50 }),
        ),
      );
      assert.equal(one!.hits.length, 50);
      assert.deepEqual(
        one!.hits.map((hit) => [hit.id, hit.score]),
        other!.hits.map((hit) => [hit.id, hit.score]),
      );
    }
  });

  it("two_phase equals plain when the window takes in every document", async () => {
    for (const query of queries) {
      const [plain, phases] = await Promise.all([
        find(query, { size: 10 }),
        find(query, { size: 10, mode: "two_phase", two_phase: { expansion_rate: 1000 } }),
      ]);
      assert.deepEqual(
        phases.hits.map((hit) => hit.id),
        plain.hits.map((hit) => hit.id),
      );
    }
  });

  const deep = {
    two_phase: { pagination_depth: 120, expansion_rate: 1 },
    hybrid: { pagination_depth: 120 },
  };
  const paged = [
    ...(["plain", "two_phase", "hybrid"] as const).map((mode) => ({ mode, ...deep })),
    { mode: "hybrid", hybrid: { ...deep.hybrid, technique: "min_max" } },
    { mode: "hybrid", hybrid: { ...deep.hybrid, requests: "two" } },
  ] as const satisfies Partial<SearchRequest>[];
  for (const request of paged) {
    for (const dialect of ["rank_feature", "neural_sparse"] as const) {
      it(`pages together are one large page: ${JSON.stringify(request)} (${dialect})`, async () => {
        for (const filter of [undefined, { range: { year: { gte: 1990 } } }]) {
          const changes = { ...request, dialect, filter };
          const whole = await find(queries[1]!, { ...changes, size: 120 });
          const pages: string[] = [];
          for (let from = 0; from < 120; from += 10) {
            const { hits } = await find(queries[1]!, { ...changes, from });
            pages.push(...hits.map(({ id, score }) => `${id} ${score}`));
          }
          assert.deepEqual(
            pages,
            whole.hits.map(({ id, score }) => `${id} ${score}`),
          );
        }
      });
    }
  }

  it("keeps highlights, matched queries and inner hits of the caller where hits are fetched again", async () => {
    const inside = {
      path: "csplade_passages",
      query: { match_all: {} },
      inner_hits: { name: "mine" },
    };
    const filter = [{ match: { text: { query: TEXT, _name: "words" } } }, { nested: inside }];
    const body = { highlight: { fields: { text: {} } } };
    for (const mode of ["hybrid", "two_phase"] as const) {
      const { hits } = await find(queries[0]!, {
        mode,
        filter,
        body,
        collapse: "parent",
        explain: true,
      });
      assert.equal(hits.length, 10);
      for (const hit of hits) {
        assert.deepEqual(hit.matched_queries, ["words"], mode);
        assert.deepEqual(Object.keys(hit.inner_hits ?? {}), ["mine"], mode);
        assert.ok((hit.highlight?.text?.length ?? 0) > 0, mode);
        assert.equal(hit.passage, undefined, "somebody else's inner hits are no passage");
      }
    }
  });

  for (const technique of ["rrf", "min_max"] as const) {
    it(`hybrid by ${technique} gives the same in one request and in two`, async () => {
      for (const query of queries) {
        for (const filter of [undefined, { range: { year: { lt: 1960 } } }]) {
          const [one, two] = await Promise.all(
            (["one", "two"] as const).map((requests) =>
              find(query, { mode: "hybrid", hybrid: { technique, requests }, filter, size: 20 }),
            ),
          );
          assert.equal(one!.hits.length, 20);
          for (const [i, hit] of one!.hits.entries()) {
            close(two!.hits[i]!.score, hit.score, `rank ${i}`);
            // Documents with equal scores may change places.
            if (two!.hits[i]!.id !== hit.id) {
              const other = two!.hits.find(({ id }) => id === hit.id);
              if (other !== undefined) close(other.score, hit.score);
            }
            assert.equal(typeof two!.hits[i]!.source.text, "string");
            if (filter !== undefined) assert.ok((hit.source.year as number) < 1960);
          }
        }
      }
    });
  }

  it("hybrid explained: shares add up to the score, terms to the learned score", async () => {
    const { hits } = await find(queries[1]!, { mode: "hybrid", explain: true, size: 30 });
    for (const { score, contributions, fusion, id } of hits) {
      close(score, (fusion?.bm25?.share ?? 0) + (fusion?.csplade?.share ?? 0));
      if (fusion?.csplade === undefined) continue;
      close(sum(contributions.map((term) => term.contribution)), fusion.csplade.score, id);
    }
    assert.ok(hits.some(({ fusion }) => fusion?.bm25 !== undefined));
    assert.ok(hits.some(({ fusion }) => fusion?.csplade !== undefined));
  });

  for (const mode of ["plain", "two_phase"] as const) {
    it(`${mode} explained: contributions add up to the score`, async () => {
      const { hits } = await find(queries[2]!, { mode, explain: true, size: 30 });
      for (const { contributions, score } of hits) {
        close(sum(contributions.map((term) => term.contribution)), score);
      }
    });
  }

  for (const mode of ["plain", "two_phase", "hybrid"] as const) {
    it(`${mode} finds documents by nested passages and names the best one`, async () => {
      const query = queries[3]!;
      const { hits } = await find(query, { mode, fields: NESTED, explain: true, size: 15 });
      assert.equal(hits.length, 15);
      for (const { id, score, passage, contributions } of hits) {
        const scores = documents[+id]!.passages.map((vector) => exactScore(query, vector));
        const best = Math.max(...scores);
        if (best === 0) continue; // hybrid: found by its words alone
        assert.equal(passage, scores.indexOf(best), mode);
        close(sum(contributions.map((term) => term.contribution)), best);
        if (mode !== "hybrid") close(score, best);
      }
    });

    it(`${mode} collapses hits that share a parent to the best one, and pages through them`, async () => {
      const whole = await find(queries[4]!, { mode, collapse: "parent", size: 20 });
      assert.equal(new Set(whole.hits.map((hit) => hit.collapsed_by)).size, 20);
      for (const hit of whole.hits) assert.equal(hit.source.parent, hit.collapsed_by);
      const page = await find(queries[4]!, { mode, collapse: "parent", from: 5, size: 5 });
      assert.deepEqual(
        page.hits.map((hit) => hit.id),
        whole.hits.slice(5, 10).map((hit) => hit.id),
      );
    });

    it(`${mode} leaves filters, aggregations, highlights and fields usable around it`, async () => {
      for (const collapse of [undefined, "parent"]) {
        for (const requests of ["one", "two"] as const) {
          if (requests === "one" && (mode !== "hybrid" || collapse !== undefined)) continue;
          const result = await find(queries[5]!, {
            mode,
            collapse,
            hybrid: { requests },
            filter: { range: { year: { lt: 1950 } } },
            body: {
              aggs: { latest: { max: { field: "year" } } },
              highlight: {
                fields: { text: {} },
                highlight_query: { match: { text: TEXT } },
              },
              fields: ["year"],
              track_total_hits: true,
            },
          });
          assert.deepEqual(result.aggregations, { latest: { value: 1949 } });
          assert.ok(result.hits.every((hit) => (hit.source.year as number) < 1950));
          assert.ok(result.hits.every((hit) => hit.fields?.year?.[0] === hit.source.year));
          const fear = result.hits.filter((hit) => /fear|ocean/.test(String(hit.source.text)));
          assert.ok(fear.length > 0);
          for (const hit of fear) assert.match(hit.highlight?.text?.[0] ?? "", /<em>/);
        }
      }
    });

    it(`${mode} leaves out hits below min_score`, async () => {
      const all = await find(queries[5]!, { mode, size: 10 });
      const min_score = (all.hits[4]!.score + all.hits[3]!.score) / 2;
      const some = await find(queries[5]!, { mode, size: 10, body: { min_score } });
      assert.deepEqual(
        some.hits.map((hit) => hit.id),
        all.hits.filter((hit) => hit.score >= min_score).map((hit) => hit.id),
      );
    });

    it(`${mode} takes a question of 100,000 words, says what it left out`, async () => {
      const long = randomVectors(99)(1500, 40_000);
      const text = `fear ${"ocean and other words ".repeat(25_000)}`;
      const result = await find(long, { mode, text });
      assert.equal(result.notes.length, { plain: 1, two_phase: 1, hybrid: 2 }[mode]);
    });
  }

  it("counts at least as many words as the cluster's analyzer makes, in any script", async () => {
    const texts = [
      "fear of the ocean, winter-time and under_scores; 3.14 and a.b.c",
      "日本語のテキストと한국어 그리고 ภาษาไทย และ русский",
      "👩‍🚀🚀 emoji 🇩🇪 #️⃣ and é e\u0301 combining",
      `${"x".repeat(2000)} ${"é".repeat(700)}`,
      "ligatures ﬁ ﬂ, ẞ, ǅ, १२३ and ٤٥٦, \u200bzero\u200bwidth",
    ];
    for (const text of texts) {
      const { tokens } = (await suite.cluster.demand(
        { method: "POST", path: "/_analyze", body: { tokenizer: "standard", text } },
        "Analyzing",
      )) as { tokens: unknown[] };
      const fitted = fitText(text, ["text"], 10_000, 0);
      assert.ok(fitted.words >= tokens.length, `${fitted.words} < ${tokens.length}: ${text}`);
      assert.equal(fitted.text, text);
    }
  });

  it("plain pages deep with sort and search_after", async () => {
    const body = { sort: [{ _score: "desc" }, { year: "asc" }], track_total_hits: false };
    const first = await find(queries[0]!, { size: 5, body });
    const search_after = first.hits.at(-1)!.sort!;
    const second = await find(queries[0]!, { size: 5, body: { ...body, search_after } });
    const both = await find(queries[0]!, { size: 10, body });
    assert.deepEqual(
      [...first.hits, ...second.hits].map((hit) => hit.id),
      both.hits.map((hit) => hit.id),
    );
  });

  if (version === "2.19.1") {
    it("names the version that approximate search takes, where it is older", async () => {
      const writer = createBulkWriter(suite.cluster, {
        max_bytes: 1e6,
        concurrency: 1,
        max_wait_ms: 0,
      });
      await assert.rejects(
        makeAnnIndex(suite.cluster, writer, { from: INDEX, into: `${INDEX}-ann` }),
        {
          code: "cluster_unsupported",
        },
      );
      await writer.close();
    });
  }

  it("refuses what a mode cannot keep, naming it", async () => {
    const wrong: [Partial<SearchRequest>, RegExp][] = [
      [{ mode: "hybrid", body: { sort: ["year"] } }, /hybrid takes no sort: its scores/],
      [{ mode: "ann", body: { sort: ["year"] } }, /ann takes no sort: it ranks/],
      [{ mode: "two_phase", body: { search_after: [3] } }, /search_after goes on/],
      [{ mode: "hybrid", text: undefined }, /needs the question in words/],
      [{ body: { query: { match_all: {} } } }, /query is made from the request/],
      [{ body: { min_score: "high" } }, /min_score is a number/],
      [{ mode: "two_phase", two_phase: { expansion_rate: 0.5 } }, /expansion_rate is 0.5/],
      [{ mode: "two_phase", two_phase: { max_window_size: 10 } }, /max_window_size is 10/],
      [{ mode: "hybrid", hybrid: { weights: [0.9, 0.9] } }, /weights 0.9 and 0.9/],
      [{ mode: "hybrid", hybrid: { rank_constant: 0 } }, /rank_constant is 0/],
      [{ mode: "hybrid", hybrid: { pagination_depth: 20_000 } }, /pagination_depth is 20000/],
      [{ mode: "two_phase", two_phase: { pagination_depth: 0 } }, /pagination_depth is 0/],
      [{ mode: "hybrid", from: 95 }, /ends at hit 105.*best 100.*hybrid.pagination_depth/],
      [{ mode: "two_phase", from: 95 }, /two_phase.pagination_depth/],
    ];
    for (const [changes, message] of wrong) {
      await assert.rejects(find(queries[0]!, changes), (thrown: unknown) => {
        assert.ok(thrown instanceof CspladeError);
        assert.equal(thrown.code, "query_invalid");
        assert.match(thrown.message, message);
        return true;
      });
    }
  });

  it("hybrid of a question without terms ranks by BM25 alone and says so", async () => {
    const { hits, notes } = await find(EMPTY_VECTOR, { mode: "hybrid" });
    assert.equal(hits.length, 10);
    assert.match(notes[0]!, /BM25 alone/);
  });
}

describe("modes of search on OpenSearch 3.6.0", () => modesOn("3.6.0"));
describe("modes of search on OpenSearch 2.19.1", () => modesOn("2.19.1"));
