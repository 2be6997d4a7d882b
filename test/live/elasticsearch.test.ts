/**
 * A real Elasticsearch (7.17, the last one that package registries hold): the `rank_feature`
 * dialect, all modes that it takes, its own client, and the gateway in front of it.
 */
import assert from "node:assert/strict";
import { Client } from "@elastic/elasticsearch";
import { clusterOf } from "../../src/cluster/client-cluster.js";
import type { Cluster } from "../../src/cluster/cluster.js";
import { openEncoder, type Encoder } from "../../src/encoder/encoder.js";
import { openQueryEncoder } from "../../src/encoder/query-encoder.js";
import { metaOf, type PassagesMode } from "../../src/index/index-meta.js";
import type { SearchMode } from "../../src/query/search-mode.js";
import type { SearchRequest } from "../../src/query/search-request.js";
import { search } from "../../src/query/search.js";
import { indexModelOf } from "../../src/documents/index-model.js";
import { openSearcher } from "../../src/searcher/searcher.js";
import {
  ELASTICSEARCH_VERSION,
  testElasticsearch,
  type TestElasticsearch,
} from "../support/elasticsearch.js";
import { fillWithSentences, SENTENCES } from "../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { scoresByHand, ZEBRA_QUESTION, ZEBRA_TEXTS } from "../support/idf-by-hand.js";
import { randomVectors } from "../support/random-vectors.js";
import { testCluster } from "../support/test-index.js";
import { testConfig, tinyCheckpoint } from "../support/tiny-checkpoints.js";
import { exactScore, fillVectorIndex, vectorDocuments } from "../support/vector-index.js";

const VECTORS = "vectors";
const TEXT = "fear of the ocean in winter";
const QUESTION = "fear of closed spaces";
const CLAUSE = { csplade: QUESTION };
const NESTED = [{ name: "csplade_passages.csplade", nested_path: "csplade_passages" }];
const documents = vectorDocuments(200, 7);
const random = randomVectors(99);
const queries = Array.from({ length: 4 }, () => random(25, 400));

interface Found {
  readonly hits: {
    readonly total: { readonly value: number };
    readonly hits: readonly {
      readonly _id: string;
      readonly _score: number | null;
      readonly sort?: readonly unknown[];
    }[];
  };
  readonly _scroll_id?: string;
}

describe(`Elasticsearch ${ELASTICSEARCH_VERSION}`, function () {
  this.timeout(300_000);
  let server: TestElasticsearch;
  let cluster: Cluster | undefined;
  let gateway: TestGateway;

  before(async function () {
    this.timeout(900_000);
    const started = await testElasticsearch();
    if (typeof started === "string") {
      process.stderr.write(`Elasticsearch's tests are skipped: ${started}\n`);
      return this.skip();
    }
    server = started;
    cluster = testCluster(server.url);
    await fillVectorIndex(cluster, VECTORS, documents, "standard");
    gateway = await startTestGateway({ "opensearch.url": server.url });
    await fillSentences("sentences", "merged", gateway.encoder);
    await fillSentences("passages", "nested", gateway.encoder);
  });
  after(async () => {
    if (cluster === undefined) return;
    await gateway.stop();
    await cluster.close();
  });

  /** As `csplade ingest` would, but for what this server lacks: analyzers and the guard pipeline. */
  async function fillSentences(
    name: string,
    passages: PassagesMode,
    encoder: Encoder,
    sentences = SENTENCES,
  ): Promise<void> {
    const plan = {
      model: indexModelOf(encoder.manifest),
      passages,
      text_fields: ["title", "text"],
      title_field: "title",
    };
    const csplade = { type: "rank_features" };
    const body = {
      mappings: {
        _meta: { csplade: metaOf(plan, "test") },
        properties: {
          csplade,
          csplade_passages: { type: "nested", properties: { csplade } },
          csplade_model: { type: "keyword" },
        },
      },
    };
    await cluster!.demand({ method: "PUT", path: `/${name}`, body }, "Creating the index");
    await fillWithSentences(cluster!, encoder, passages, name, sentences);
  }

  const find = (i: number, changes: Partial<SearchRequest> = {}) =>
    search(cluster!, { index: VECTORS, vector: queries[i]!, text: TEXT, ...changes });

  it("is asked with rank_feature, and scores the dot product of the stored weights", async () => {
    const { distribution, neural_sparse, sparse_vector_query } = await cluster!.capabilities();
    assert.deepEqual(
      [distribution, neural_sparse, sparse_vector_query],
      ["elasticsearch", false, false],
    );
    for (const [i, query] of queries.entries()) {
      const { hits, dialect } = await find(i, { size: 50 });
      assert.equal(dialect, "rank_feature");
      assert.equal(hits.length, 50);
      for (const { id, score } of hits) close(score, exactScore(query, documents[+id]!.vector));
    }
  });

  for (const mode of ["plain", "two_phase", "hybrid"] as const satisfies SearchMode[]) {
    it(`${mode} works with filters, aggregations, highlights, passages and explanations around it`, async () => {
      const body = {
        aggs: { latest: { max: { field: "year" } } },
        highlight: { fields: { text: {} }, highlight_query: { match: { text: TEXT } } },
        track_total_hits: true,
      };
      const filter = { range: { year: { lt: 1950 } } };
      const found = await find(0, { mode, body, filter, collapse: "parent", explain: true });
      assert.equal(found.hits.length, 10);
      assert.equal((found.aggregations as { latest: { value: number } }).latest.value, 1949);
      assert.ok(found.hits.every(({ source }) => (source.year as number) < 1950));
      assert.ok(found.hits.some(({ highlight }) => highlight?.text !== undefined));
      for (const hit of found.hits) {
        const score = hit.fusion === undefined ? hit.score : hit.fusion.csplade?.score;
        if (score === undefined) continue;
        close(
          hit.contributions.reduce((sum, each) => sum + each.contribution, 0),
          score,
        );
      }
      const nested = await find(1, { mode, fields: NESTED, explain: true });
      for (const { id, score, passage } of nested.hits) {
        const scores = documents[+id]!.passages.map((vector) => exactScore(queries[1]!, vector));
        const best = Math.max(...scores);
        if (best === 0) continue; // hybrid: found by its words alone
        assert.equal(passage, scores.indexOf(best));
        if (mode !== "hybrid") close(score, best);
      }
      const all = await find(2, { mode });
      const min_score = (all.hits[4]!.score + all.hits[3]!.score) / 2;
      const some = await find(2, { mode, body: { min_score } });
      assert.equal(some.hits.length, all.hits.filter((hit) => hit.score >= min_score).length);
    });
  }

  for (const mode of ["plain", "two_phase"] as const satisfies SearchMode[]) {
    it(`${mode} sorts what it finds by a field, with scores, and pages through it`, async () => {
      const sort = [{ year: "desc" }, { place: "asc" }];
      const all = await find(3, { mode, body: { sort }, size: 40 });
      assert.equal(all.hits.length, 40);
      const first = await find(3, { mode, body: { sort }, size: 20 });
      const body = { sort, search_after: first.hits.at(-1)!.sort! };
      const second = await find(3, { mode, body, size: 20 });
      const ids = [...first.hits, ...second.hits].map((hit) => hit.id);
      assert.deepEqual(
        all.hits.map((hit) => hit.id),
        ids,
      );
      assert.deepEqual(
        ids,
        ids.toSorted((a, b) => documents[+b]!.year - documents[+a]!.year || +a - +b),
      );
      for (const { id, score } of all.hits) {
        close(score, exactScore(queries[3]!, documents[+id]!.vector));
      }
    });
  }

  it("refuses what Elasticsearch cannot do with the code and a sentence: ann, other dialects", async () => {
    await assert.rejects(find(0, { mode: "ann" }), { code: "index_invalid" });
    for (const dialect of ["neural_sparse", "sparse_vector"] as const) {
      await assert.rejects(find(0, { dialect }), { code: "cluster_unsupported" });
    }
  });

  it("is searched through its own client, directly and through the gateway", async () => {
    for (const node of [server.url, gateway.url]) {
      const client = new Client({ node });
      try {
        const { hits } = await search(clusterOf(client, { url: node }), {
          index: VECTORS,
          vector: queries[0]!,
        });
        for (const { id, score } of hits) {
          close(score, exactScore(queries[0]!, documents[+id]!.vector));
        }
      } finally {
        await client.close();
      }
    }
    const client = new Client({ node: gateway.url, compression: true });
    try {
      const found = await client.search({ index: "sentences", query: CLAUSE as object, size: 50 });
      assert.equal(found.hits.hits[0]?._id, "0");
      await assert.rejects(
        client.search({ index: "sentences", query: { csplade: { boost: 1 } } as object }),
        (thrown: { meta?: { statusCode?: number; body?: { error?: { reason?: string } } } }) =>
          thrown.meta?.statusCode === 400 &&
          /query\.csplade/.test(thrown.meta.body?.error?.reason ?? ""),
      );
    } finally {
      await client.close();
    }
  });

  async function ask(path: string, body: unknown): Promise<unknown> {
    const answer = await gateway.post(path, body);
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    return JSON.parse(text) as unknown;
  }

  it("takes the csplade clause through the gateway, wherever a query may stand", async () => {
    const [encoded] = await gateway.encoder.encodeQueries([QUESTION]);
    const vector = encoded!.passages[0]!.vector;
    const { hits: expected } = await search(cluster!, { index: "sentences", vector, size: 50 });
    const same = (answer: unknown, size = 50): void => {
      const found = (answer as Found).hits.hits;
      const wanted = expected.slice(0, size);
      assert.deepEqual(found.map((hit) => hit._id).sort(), wanted.map((hit) => hit.id).sort());
      for (const { _id, _score } of found) {
        const { score } = wanted.find(({ id }) => id === _id)!;
        assert.ok(Math.abs(_score! - score) < 1e-4 * score);
      }
    };
    const size = 50;
    for (const query of [
      CLAUSE,
      { bool: { must: CLAUSE, filter: [{ match_all: {} }] } },
      { function_score: { query: CLAUSE } },
      { dis_max: { queries: [CLAUSE] } },
    ]) {
      same(await ask("/sentences/_search", { query, size }));
    }
    same(await ask("/passages/_search", { query: CLAUSE, size }));
    const { count } = (await ask("/sentences/_count", { query: CLAUSE })) as { count: number };
    assert.equal(count, expected.length);
    const lines = [{ index: "sentences" }, { query: CLAUSE, size }];
    const many = await ask("/_msearch", lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    same((many as { responses: unknown[] }).responses[0]);
    const aggs = { csplade: { filter: CLAUSE } };
    const counted = (await ask("/sentences/_search", { size: 0, aggs })) as {
      aggregations: { csplade: { doc_count: number } };
    };
    assert.equal(counted.aggregations.csplade.doc_count, expected.length);

    const first = (await ask("/sentences/_search?scroll=1m", { query: CLAUSE, size: 3 })) as Found;
    same(first, 3);
    const scroll = { scroll: "1m", scroll_id: first._scroll_id };
    const second = (await ask("/_search/scroll", scroll)) as Found;
    assert.deepEqual(
      second.hits.hits.map((hit) => hit._id),
      expected.slice(3, 6).map((hit) => hit.id),
    );
    const opened = (await ask("/sentences/_pit?keep_alive=1m", "")) as { id: string };
    same(await ask("/_search", { pit: { id: opened.id }, query: CLAUSE, size }));
  });

  it("answers wrong clauses and what it lacks with its own error shape, through the gateway", async () => {
    const cases: [path: string, query: object, status: number, reason: RegExp][] = [
      ["sentences", { csplade: { query_txt: "x" } }, 400, /does not support \[query_txt\]/],
      [
        "sentences",
        { csplade: { query_text: "x", dialect: "neural_sparse" } },
        400,
        /neural_sparse/,
      ],
      ["nothing-there", CLAUSE, 404, /no such index/],
      [VECTORS, CLAUSE, 400, /holds CSPLADE vectors/],
      ["sentences", { bool: { must: [CLAUSE, { trem: {} }] } }, 400, /trem/],
    ];
    for (const [index, query, status, reason] of cases) {
      const answer = await gateway.post(`/${index}/_search`, { query });
      const body = (await answer.json()) as { status: number; error: { reason: string } };
      assert.deepEqual([answer.status, body.status], [status, status], JSON.stringify(body));
      assert.match(JSON.stringify(body.error), reason);
    }
  });

  it("says how common words are, so that the index's own idf weighs them: search, client, gateway", async () => {
    const lexical = { "model.path": tinyCheckpoint("lexical"), "query.encoder": "table" };
    const encoder = await openEncoder(testConfig({ "model.path": lexical["model.path"] }));
    const words = await openQueryEncoder(testConfig(lexical));
    const own = new Client({ node: server.url });
    const rules = [{ index: "zebras*", fields: ["text"], boost: 1 }];
    const front = await startTestGateway({
      ...lexical,
      "query.idf_timeout_ms": 60_000,
      "gateway.rules": rules,
      "opensearch.url": server.url,
    });
    try {
      const encoded = await encoder.encodeDocuments(ZEBRA_TEXTS);
      const byHand = await scoresByHand(
        words,
        encoded.map(({ passages }) => passages[0]!.vector),
      );
      const same = (hits: readonly { id: string; score: number }[]): void => {
        assert.equal(hits.length, byHand.size);
        for (const { id, score } of hits) {
          const wanted = byHand.get(id)!;
          assert.ok(Math.abs(score - wanted) < 1e-4 * wanted, `${id}: ${score} and ${wanted}`);
        }
        assert.ok(["9", "10"].includes(hits[0]!.id), "the rare word of the index decides");
      };
      for (const passages of ["merged", "nested"] as const) {
        const index = `zebras-${passages}`;
        await fillSentences(index, passages, encoder, ZEBRA_TEXTS);
        for (const through of [cluster!, clusterOf(own, { url: server.url })]) {
          const searcher = openSearcher({
            cluster: through,
            encoder: words,
            idf_timeout_ms: 60_000,
          });
          const answer = await searcher.search(index, ZEBRA_QUESTION, { size: 20, explain: true });
          assert.deepEqual(answer.notes, []);
          same(answer.hits);
          for (const { id, terms } of answer.hits) {
            for (const { term, literal } of terms) assert.ok(literal, `${id}: ${term}`);
          }
        }
        // What a page was weighed by comes back with the next one here, too.
        const sort = ["_score", { _doc: "asc" }];
        const paged: Found["hits"]["hits"][number][] = [];
        for (let size = 3; size === 3;) {
          const after = paged.at(-1)?.sort;
          const page = { query: { csplade: ZEBRA_QUESTION }, size, sort };
          const more = after === undefined ? page : { ...page, search_after: after };
          const { hits } = ((await (await front.post(`/${index}/_search`, more)).json()) as Found)
            .hits;
          paged.push(...hits);
          size = hits.length;
        }
        assert.equal(paged[0]?.sort?.length, 3);
        same(paged.map(({ _id, _score }) => ({ id: _id, score: _score ?? 0 })));
        const body = { query: { csplade: ZEBRA_QUESTION }, size: 20 };
        const answer = await front.post(`/${index}/_search`, body);
        assert.equal(answer.headers.get("warning"), null);
        const { hits } = ((await answer.json()) as Found).hits;
        same(hits.map(({ _id, _score }) => ({ id: _id, score: _score! })));

        const match = { query: { match: { text: ZEBRA_QUESTION } }, size: 20 };
        const bm25 = (await cluster!.demand(
          { method: "POST", path: `/${index}/_search`, body: match },
          "BM25",
        )) as Found;
        const widened = await front.post(`/${index}/_search`, match);
        const both = ((await widened.json()) as Found).hits.hits;
        assert.equal(both.length, byHand.size);
        for (const { _id, _score } of both) {
          const theirs = bm25.hits.hits.find((hit) => hit._id === _id)!._score!;
          const wanted = theirs + byHand.get(_id)!;
          assert.ok(Math.abs(_score! - wanted) < 1e-4 * wanted, `${_id}: ${_score} and ${wanted}`);
        }
      }
    } finally {
      await front.stop();
      await own.close();
      await words.close();
      await encoder.close();
    }
  });

  it("drops the weakest terms, with a warning, at Elasticsearch's own clause limit", async () => {
    const should = Array.from({ length: 1_020 }, (_, i) => ({ term: { year: i } }));
    const answer = await gateway.post("/sentences/_search", {
      query: { bool: { should: [...should, CLAUSE] } },
    });
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.match(answer.headers.get("warning") ?? "", /weakest terms/);
    assert.ok(((await answer.json()) as Found).hits.total.value <= SENTENCES.length);
  });
});

function close(actual: number, expected: number): void {
  const tolerance = 2e-6 * Math.max(1, Math.abs(expected));
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} ≠ ${expected}`);
}
