/** Searches through the gateway whose first hits are reranked, by a real server and a real cross-encoder. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { endOfValue, itemsOf, skipSpace, valueOf } from "../../../src/json/positions.js";
import { openReranker } from "../../../src/rerank/open-reranker.js";
import { openSearcher } from "../../../src/searcher/searcher.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { startRerankServer, type RerankServer } from "../../support/rerank-server.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const QUESTION = "a person who is in a small room by the sea";

interface Answer {
  readonly error?: { readonly reason: string; readonly col?: number };
  readonly hits: {
    readonly max_score: number;
    readonly hits: readonly { readonly _id: string; readonly _score: number }[];
  };
  readonly aggregations?: unknown;
}

const idsOf = ({ hits }: Answer) => hits.hits.map(({ _id }) => _id);

describe("searches that the gateway reranks", function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let server: RerankServer;
  let gateway: TestGateway;
  let index: string;
  const settings = () => ({ "opensearch.url": testServers().opensearchUrl });
  const clause = (rerank?: number) => ({
    csplade: { query_text: QUESTION, ...(rerank === undefined ? {} : { rerank }) },
  });

  before(async () => {
    cluster = testCluster();
    server = await startRerankServer();
    gateway = await startTestGateway({
      ...settings(),
      "rerank.remote": server.url,
      "rerank.timeout_ms": 20_000,
    });
    index = await fillEncodedIndex(cluster, gateway.encoder);
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await gateway.stop();
    await server.close();
    await cluster.close();
  });

  async function ask(body: object, options = "", by = gateway) {
    const answer = await by.post(`/${index}/_search${options}`, body);
    const text = await answer.text();
    const { status, headers } = answer;
    return { status, text, warning: headers.get("warning"), body: JSON.parse(text) as Answer };
  }

  /** The searches as one `_msearch`. */
  async function askTogether(bodies: readonly object[], options = "", by = gateway) {
    const lines = bodies.map((body) => `{}\n${JSON.stringify(body)}\n`).join("");
    const answer = await by.post(`/${index}/_msearch${options}`, lines);
    const text = await answer.text();
    const { status, headers } = answer;
    const { responses = [] } = JSON.parse(text) as { responses?: readonly Answer[] };
    return { status, text, warning: headers.get("warning"), responses };
  }

  it("are each reranked in an _msearch as alone, beside others that stay as they are", async () => {
    const bodies = [
      { size: 12, query: clause(6) },
      { size: 5, query: clause() },
      { size: 4, from: 4, query: clause(8) },
      { size: 0, query: clause(6), aggs: { years: { terms: { field: "year" } } } },
      { query: { match: { nothing: "x" } } },
      { query: clause(3) },
      { from: 20_000, query: clause() },
      ...Array.from({ length: 6 }, (_, n) => ({ size: 6, query: clause(n + 1) })),
    ];
    const before = server.asked.length;
    let [busy, most] = [0, 0];
    server.fault = async () => {
      most = Math.max(most, ++busy);
      await sleep(50);
      busy--;
      return undefined;
    };
    const together = await askTogether(bodies, "?typed_keys=true").finally(() => {
      server.fault = undefined;
    });
    assert.equal(together.status, 200, together.text);
    assert.equal(together.warning, null);
    assert.equal(together.responses.length, bodies.length);
    assert.equal(server.asked.length, before + 9);
    assert.ok(most > 1 && most <= 4, `${most} at once`);
    for (const [n, body] of bodies.entries()) {
      const alone = await ask(body, "?typed_keys=true");
      const answer = together.responses[n];
      assert.ok(answer !== undefined);
      assert.deepEqual(answer.hits, alone.body.hits, JSON.stringify(body));
      assert.deepEqual(answer.aggregations, alone.body.aggregations);
    }
    assert.match(together.responses[6]?.error?.reason ?? "", /./);
  });

  it("share their time in an _msearch, and say which of them were not reranked", async () => {
    const hasty = await startTestGateway({
      ...settings(),
      "rerank.remote": server.url,
      "rerank.timeout_ms": 1_000,
    });
    try {
      const bodies = Array.from({ length: 12 }, (_, n) => ({ size: 6, query: clause(n + 1) }));
      server.fault = async () => {
        await sleep(600);
        return undefined;
      };
      const started = performance.now();
      const together = await askTogether(bodies, "", hasty);
      assert.ok(performance.now() - started < 5_000, "not a second each");
      server.fault = undefined;
      assert.equal(together.status, 200, together.text);
      assert.match(together.warning ?? "", /In search \d+: The hits were not reranked: .*1000 ms/);
      const plain = await ask({ size: 6, query: clause() });
      assert.deepEqual(together.responses.at(-1)?.hits, plain.body.hits);
    } finally {
      server.fault = undefined;
      await hasty.stop();
    }
  });

  it("rank as a program does, whichever of the two ranks, and pages are cut from one ranking", async () => {
    const local = { "rerank.model": tinyCheckpoint("cross-encoder") };
    const other = await startTestGateway({ ...settings(), ...local, "rerank.timeout_ms": 20_000 });
    const plain = await ask({ size: 16, query: clause() });
    try {
      for (const [asked, by] of [
        [{ "rerank.remote": server.url }, gateway],
        [local, other],
      ] as const) {
        const reranker = await openReranker(testConfig(asked));
        assert.ok(reranker !== undefined);
        const program = openSearcher({
          cluster,
          encoder: by.encoder,
          reranker,
          rerank_timeout_ms: 20_000,
        });
        const { hits } = await program.search(index, QUESTION, { size: 12, rerank: 6 });
        await reranker.close();
        const whole = await ask({ size: 12, query: clause(6) }, "", by);
        assert.equal(whole.warning, null);
        assert.deepEqual(
          idsOf(whole.body),
          hits.map(({ id }) => id),
        );
        assert.notDeepEqual(idsOf(whole.body), idsOf(plain.body).slice(0, 12));
        const first = whole.body.hits.hits.slice(0, 6);
        first.forEach(({ _score }, i) => {
          assert.ok(Math.abs(_score - (hits[i]?.rerank_score ?? NaN)) < 1e-5);
        });
        assert.equal(whole.body.hits.max_score, first[0]?._score);
        const pages: string[] = [];
        for (let from = 0; from < 12; from += 4) {
          const page =
            from === 4
              ? await ask({ size: 1, query: clause(6) }, "?from=4&size=4", by)
              : await ask({ query: clause(6), from, size: 4 }, "", by);
          pages.push(...idsOf(page.body));
        }
        assert.deepEqual(pages, idsOf(whole.body));
      }
    } finally {
      await other.stop();
    }
  });

  it("keep everything but order and scores byte for byte, whatever of a hit was asked for", async () => {
    const parts = {
      aggs: { years: { terms: { field: "year" } } },
      highlight: { fields: { text: {} } },
      track_total_hits: true,
    };
    /** The answer around the hits, and each hit as it is written, without what changes. */
    const taken = (text: string) => {
      const list = valueOf(text, valueOf(text, skipSpace(text, 0), "hits") ?? 0, "hits") ?? 0;
      const hits = itemsOf(text, list).map(({ start, end }) => text.slice(start, end));
      const around = text.slice(0, list) + text.slice(endOfValue(text, list));
      return {
        around: around.replace(/"(?:took|max_score)"\s*:\s*[^,]+/g, ""),
        hits: hits.map((hit) => hit.replace(/"_score"\s*:\s*[^,}\s]+/, "")).sort(),
        length: text.slice(list, endOfValue(text, list)).replaceAll(/\S/g, "").length,
      };
    };
    for (const source of [{}, { _source: false }, { _source: ["year"] }]) {
      for (const options of ["", "?pretty"]) {
        const body = { ...parts, ...source, size: 8 };
        const plain = await ask({ ...body, query: clause() }, options);
        const reranked = await ask({ ...body, query: clause(8) }, options);
        assert.equal(plain.status, 200, plain.text);
        assert.notDeepEqual(idsOf(reranked.body), idsOf(plain.body));
        assert.deepEqual(taken(reranked.text), taken(plain.text));
        assert.ok(reranked.body.aggregations !== undefined);
      }
    }
  });

  it("stay as they are for no hits and for a page behind what is looked at", async () => {
    const before = server.asked.length;
    for (const page of [{ size: 0 }, { from: 6, size: 3 }, { from: 9, size: 3 }]) {
      const [plain, reranked] = [
        await ask({ ...page, query: clause() }),
        await ask({ ...page, query: clause(6) }),
      ];
      assert.deepEqual(reranked.body.hits, plain.body.hits);
    }
    assert.equal(server.asked.length, before);
  });

  it("go on in a point in time, whose documents are gone since", async () => {
    const left = await fillEncodedIndex(cluster, gateway.encoder);
    const send = (method: "POST" | "DELETE", path: string, query = {}, body = {}) =>
      cluster.demand({ method, path, query, body }, path);
    const opened = await send("POST", `/${left}/_search/point_in_time`, { keep_alive: "1m" });
    const { pit_id: id } = opened as { pit_id: string };
    try {
      const everything = { query: { match_all: {} } };
      await send("POST", `/${left}/_delete_by_query`, { refresh: true }, everything);
      const expected = await ask({ size: 6, query: clause(6) });
      const answer = await gateway.post("/_search", { pit: { id }, size: 6, query: clause(6) });
      assert.deepEqual(idsOf((await answer.json()) as Answer), idsOf(expected.body));
    } finally {
      await send("DELETE", "/_search/point_in_time", {}, { pit_id: [id] });
      await cluster.send({ method: "DELETE", path: `/${left}` });
    }
  });

  it("have the search's own order and say so, when the reranker is late or fails", async () => {
    const hasty = await startTestGateway({
      ...settings(),
      "rerank.remote": server.url,
      "rerank.timeout_ms": 300,
    });
    try {
      const plain = await ask({ size: 6, query: clause() });
      const faults: RerankServer["fault"][] = [
        () => Promise.resolve([400, { error: "broken" }]),
        async () => {
          await sleep(2_000);
          return undefined;
        },
      ];
      for (const fault of faults) {
        server.fault = fault;
        const answer = await ask({ size: 6, query: clause(6) }, "", hasty);
        assert.deepEqual(answer.body.hits, plain.body.hits);
        assert.match(answer.warning ?? "", /not reranked/);
      }
    } finally {
      server.fault = undefined;
      await hasty.stop();
    }
  });

  it("are refused beside another order, where there are no hits, twice, and without a reranker", async () => {
    const refused = async (body: object, why: RegExp, options = "") => {
      const answer = await ask(body, options);
      assert.equal(answer.status, 400, answer.text);
      assert.match(answer.body.error?.reason ?? "", why);
      assert.ok((answer.body.error?.col ?? 0) > 0);
    };
    await refused({ query: clause(5), sort: [{ year: "asc" }] }, /leave sort out/);
    await refused({ query: clause(5), sort: ["_score"], search_after: [1] }, /search_after/);
    await refused({ query: clause(5) }, /scroll/, "?scroll=1m");
    await refused({ query: clause(5) }, /filter_path/, "?filter_path=hits.hits._id");
    await refused({ query: { bool: { filter: clause(5) } } }, /adds nothing to the score/);
    await refused({ query: { bool: { should: [clause(5), clause(5)] } } }, /one order/);
    await refused({ query: clause(5_000) }, /rerank/);
    await refused({ query: { csplade: { query_tokens: { 5: 1 }, rerank: 5 } } }, /rerank/);
    const counted = await gateway.post(`/${index}/_count`, { query: clause(5) });
    assert.equal(counted.status, 400);
    const many = await askTogether([{}, { query: clause(5), sort: [{ year: "asc" }] }]);
    assert.equal(many.status, 400);
    assert.match(many.text, /In search 2: .*leave sort out/);
    const none = await startTestGateway(settings());
    const alone = await ask({ query: clause(5) }, "", none);
    await none.stop();
    assert.equal(alone.status, 400);
    assert.match(alone.body.error?.reason ?? "", /no reranker is configured/);
    const byScore = await ask({ query: clause(5), sort: [{ _score: { order: "desc" } }] });
    assert.equal(byScore.status, 200);
    assert.deepEqual(idsOf(byScore.body), idsOf((await ask({ query: clause(5) })).body));
  });

  it("come from rules, which leave alone what cannot be reranked and need a reranker", async () => {
    const rule = { fields: ["title", "text"], vector_fields: ["csplade"], rerank: 6 };
    const rules = JSON.stringify([{ index: "*", ...rule }]);
    const withRules = { ...settings(), "gateway.rules": rules };
    const ruled = await startTestGateway({
      ...withRules,
      "rerank.remote": server.url,
      "rerank.timeout_ms": 20_000,
    });
    try {
      const query = { match: { text: QUESTION } };
      const before = server.asked.length;
      const answer = await ask({ size: 6, query }, "", ruled);
      assert.equal(server.asked.length, before + 1);
      assert.equal(server.asked.at(-1)?.body.query, QUESTION);
      const scores = answer.body.hits.hits.map(({ _score }) => _score);
      assert.deepEqual(
        scores,
        [...scores].sort((a, b) => b - a),
      );
      const sorted = await ask({ size: 6, query, sort: [{ year: "asc" }] }, "", ruled);
      assert.equal(sorted.status, 200);
      const filter = { neural_sparse: { csplade: { query_text: QUESTION } } };
      const filtered = await ask({ size: 6, query: { bool: { filter } } }, "", ruled);
      assert.equal(filtered.status, 200, filtered.text);
      assert.equal(server.asked.length, before + 1);
      const scoring = await ask({ size: 6, query: filter }, "", ruled);
      assert.equal(scoring.status, 200, scoring.text);
      assert.equal(server.asked.length, before + 2);
      const sort = [{ year: "asc" }];
      const both = await askTogether(
        [
          { size: 6, query },
          { size: 6, query, sort },
        ],
        "",
        ruled,
      );
      assert.deepEqual(both.responses[0]?.hits, answer.body.hits);
      assert.deepEqual(both.responses[1]?.hits, sorted.body.hits);
      assert.equal(server.asked.length, before + 3);
    } finally {
      await ruled.stop();
    }
    await assert.rejects(
      startTestGateway(withRules),
      (thrown) => thrown instanceof CspladeError && /no reranker/.test(thrown.message),
    );
  });
});
