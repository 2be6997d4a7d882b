/**
 * Rules of the gateway with a model that has a lexical part: what people type into a search bar
 * is widened by words that are weighed by the index, hashed terms and all.
 */
import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { readExplanation } from "../../../src/query/explanation.js";
import type { NamedHit } from "../../../src/searcher/named-hit.js";
import { openSearcher } from "../../../src/searcher/searcher.js";
import { isHashedId } from "../../../src/sparse/term-id.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { ZEBRA_QUESTION, ZEBRA_TEXTS } from "../../support/idf-by-hand.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";
import { tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const BOOST = 1.5;
/** "Kwyjibo" is no row of any vocabulary: its term is a hash of 2³¹ or more. */
const TEXTS = [...ZEBRA_TEXTS, "a kwyjibo by the sea", "two kwyjibos and a zebra"];
const QUESTIONS = [ZEBRA_QUESTION, "kwyjibo at sea", "kwyjibo"];

interface Found {
  readonly hits: {
    readonly hits: readonly {
      readonly _id: string;
      readonly _score: number;
      readonly _explanation?: unknown;
      readonly highlight?: { readonly text?: readonly string[] };
    }[];
  };
}

/** What clients send for plain words. */
const QUERIES: Readonly<Record<string, (text: string) => object>> = {
  match: (text) => ({ match: { text } }),
  multi_match: (text) => ({ multi_match: { query: text, fields: ["title", "text"] } }),
  query_string: (text) => ({ query_string: { query: text, default_field: "text" } }),
  simple_query_string: (text) => ({ simple_query_string: { query: text, fields: ["text"] } }),
};

for (const encoder of ["model", "table"] as const) {
  describe(`rules of a gateway whose model has a lexical part (query.encoder ${encoder})`, () => {
    let gateway: TestGateway;
    let cluster: Cluster;
    const indices: Record<"merged" | "nested", string> = { merged: "", nested: "" };

    before(async function () {
      this.timeout(120_000);
      cluster = testCluster();
      const url = testServers().opensearchUrl;
      const lexical = { "model.path": tinyCheckpoint("lexical"), "query.idf_timeout_ms": 60_000 };
      const filling = await startTestGateway(lexical);
      for (const passages of ["merged", "nested"] as const) {
        const name = await fillEncodedIndex(cluster, filling.encoder, passages, undefined, TEXTS);
        indices[passages] = name;
      }
      await filling.stop();
      const rules = [{ index: "encoded-*", fields: ["text"], boost: BOOST }];
      gateway = await startTestGateway({
        ...lexical,
        "query.encoder": encoder,
        "gateway.rules": rules,
        "opensearch.url": url,
      });
    });
    after(async () => {
      for (const name of Object.values(indices)) {
        await cluster.send({ method: "DELETE", path: `/${name}` });
      }
      await gateway.stop();
      await cluster.close();
    });

    async function ask(path: string, body: object): Promise<Found> {
      const answer = await gateway.post(path, body);
      const text = await answer.text();
      assert.equal(answer.status, 200, text);
      assert.equal(answer.headers.get("warning"), null);
      return JSON.parse(text) as Found;
    }

    /** Hits of CSPLADE alone, by the searcher of the command line and the library. */
    async function own(index: string, question: string): Promise<Map<string, NamedHit>> {
      const { hits } = await openSearcher({
        cluster,
        encoder: gateway.encoder,
        idf_timeout_ms: 60_000,
      }).search(index, question, { size: 50, explain: true });
      return new Map(hits.map((hit) => [hit.id, hit]));
    }

    for (const [type, queryOf] of Object.entries(QUERIES)) {
      for (const passages of ["merged", "nested"] as const) {
        it(`${type}: BM25's score and that of the words weighed by the index add up (${passages})`, async () => {
          const index = indices[passages];
          for (const question of QUESTIONS) {
            const query = queryOf(question);
            const request = { method: "POST", path: `/${index}/_search` } as const;
            const body = { query, size: 50 };
            const direct = (await cluster.demand({ ...request, body }, "BM25")) as Found;
            const bm25 = new Map(direct.hits.hits.map((hit) => [hit._id, hit._score]));
            const learned = await own(index, question);
            const { hits } = (await ask(request.path, body)).hits;
            const all = new Set([...bm25.keys(), ...learned.keys()]);
            assert.deepEqual(new Set(hits.map((hit) => hit._id)), all);
            for (const { _id, _score } of hits) {
              const wanted = (bm25.get(_id) ?? 0) + BOOST * (learned.get(_id)?.score ?? 0);
              assert.ok(Math.abs(_score - wanted) < 1e-4 * wanted, `${_id}: ${_score}, ${wanted}`);
            }
          }
        });
      }
    }

    it("explains hashed terms by their ids, and keeps the engine's own highlights", async () => {
      const index = indices.merged;
      const question = "kwyjibo at sea";
      const { hits } = (
        await ask(`/${index}/_search`, {
          query: { match: { text: question } },
          size: 50,
          explain: true,
          highlight: { fields: { text: {} } },
        })
      ).hits;
      const learned = await own(index, question);
      const both = hits.find(({ _id }) => _id === String(ZEBRA_TEXTS.length))!;
      assert.equal(hits[0]!._id, both._id, "the document with both words is first");
      assert.match(both.highlight?.text?.[0] ?? "", /<em>kwyjibo<\/em>.*<em>sea<\/em>/);
      const { contributions, other } = readExplanation(both._explanation);
      const sum = contributions.reduce((total, each) => total + each.contribution, other);
      assert.ok(Math.abs(sum - both._score) < 1e-4 * both._score);
      assert.ok(other > 0, "BM25's part");
      const hashed = contributions.find(({ id }) => isHashedId(id))!;
      const terms = learned.get(both._id)!.terms;
      const named = terms.find(({ id }) => id === hashed.id)!;
      assert.deepEqual([named.term, named.literal], ["kwyjibo", true]);
      assert.ok(
        Math.abs(hashed.contribution - BOOST * named.contribution) < 1e-4 * hashed.contribution,
      );
      const { start, end } = learned
        .get(both._id)!
        .spans.text!.find((span) =>
          TEXTS[ZEBRA_TEXTS.length]!.slice(span.start, span.end).startsWith("kwyjibo"),
        )!;
      assert.deepEqual([start, end], [2, 9]);
    });

    it("shows the stems of hashed terms in the console's comparison", async () => {
      const question = "kwyjibos";
      const answer = await gateway.post("/_csplade/compare", { index: indices.merged, question });
      const { csplade, terms } = (await answer.json()) as {
        csplade: { hits: { text: string; spans: object[]; terms: { term: string }[] }[] };
        terms: { term: string; literal: boolean }[];
      };
      assert.ok(terms.some(({ term, literal }) => term === "kwyjibo" && literal));
      const [best] = csplade.hits;
      assert.match(best!.text, /kwyjibo/);
      assert.ok(best!.terms.some(({ term }) => term === "kwyjibo"));
      const words = best!.spans.map((span) => {
        const { start, end } = span as { start: number; end: number };
        return best!.text.slice(start, end);
      });
      assert.ok(words.some((word) => word.startsWith("kwyjibo")));
    });
  });
}
