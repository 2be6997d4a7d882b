/** Questions whose first hits are reranked, by a real cross-encoder and by a real server. */
import assert from "node:assert/strict";
import os from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { fieldsText } from "../../../src/query/search-result.js";
import { openReranker } from "../../../src/rerank/open-reranker.js";
import type { Reranker } from "../../../src/rerank/reranker.js";
import { openSearcher, type Answer, type Searcher } from "../../../src/searcher/searcher.js";
import { runCsplade } from "../../support/csplade-command.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startRerankServer, type RerankServer } from "../../support/rerank-server.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const QUESTION = "a person who is in a small room by the sea";
const idsOf = ({ hits }: Answer) => hits.map(({ id }) => id);

describe("reranked searches", function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let encoder: Encoder;
  let server: RerankServer;
  let remote: Reranker;
  let local: Reranker;
  let index: string;
  const plainly = () => openSearcher({ cluster, encoder });
  const by = (reranker: Reranker, rerank_timeout_ms = 20_000): Searcher =>
    openSearcher({ cluster, encoder, reranker, rerank_timeout_ms });

  before(async () => {
    cluster = testCluster();
    encoder = await openEncoder(testConfig());
    index = await fillEncodedIndex(cluster, encoder);
    server = await startRerankServer();
    const opened = [
      { "rerank.remote": server.url },
      { "rerank.model": tinyCheckpoint("cross-encoder") },
    ].map((settings) => openReranker(testConfig(settings)));
    [remote, local] = (await Promise.all(opened)) as [Reranker, Reranker];
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await remote.close();
    await local.close();
    await server.close();
    await encoder.close();
    await cluster.close();
  });

  it("put the first hits into the scores' order, and the others behind them as they were", async () => {
    const plain = idsOf(await plainly().search(index, QUESTION, { size: 16 }));
    for (const reranker of [remote, local]) {
      const answer = await by(reranker).search(index, QUESTION, { size: 16, rerank: 6 });
      assert.equal(answer.reranking?.done, true, answer.reranking?.reason);
      assert.equal(answer.reranking.hits, 6);
      const first = answer.hits.slice(0, 6);
      assert.deepEqual(new Set(first.map(({ id }) => id)), new Set(plain.slice(0, 6)));
      assert.deepEqual(idsOf(answer).slice(6), plain.slice(6));
      const texts = first.map((hit) => fieldsText(hit, ["title", "text"]));
      const scores = await reranker.score(QUESTION, texts, AbortSignal.timeout(20_000));
      first.forEach(({ rerank_score = NaN }, i) => {
        assert.ok(Math.abs(rerank_score - (scores[i] ?? NaN)) < 1e-5);
        if (i > 0) assert.ok(rerank_score <= (first[i - 1]?.rerank_score ?? NaN));
      });
      assert.notDeepEqual(idsOf(answer), plain, "this question's order changes");
    }
  });

  for (const mode of ["plain", "hybrid", "two_phase"] as const) {
    it(`give pages that together are one ranking, in mode ${mode}`, async () => {
      const whole = idsOf(await by(remote).search(index, QUESTION, { mode, size: 12, rerank: 5 }));
      const pages: string[] = [];
      for (let from = 0; from < 12; from += 3) {
        const page = { mode, from, size: 3, rerank: 5 };
        pages.push(...idsOf(await by(remote).search(index, QUESTION, page)));
      }
      assert.deepEqual(pages, whole);
    });
  }

  it("have the search's own order and say so, when the reranker is late", async () => {
    const plain = idsOf(await plainly().search(index, QUESTION));
    server.fault = async () => {
      await sleep(3_000);
      return undefined;
    };
    const answer = await by(remote, 100).search(index, QUESTION, { rerank: 10 });
    server.fault = undefined;
    assert.deepEqual(idsOf(answer), plain);
    assert.equal(answer.reranking?.done, false);
    assert.match(answer.notes.join(" "), /not reranked/);
  });

  it("are refused beside a sort, without a reranker, and for more hits than may be", async () => {
    const refusal = (code: string) => (thrown: unknown) =>
      thrown instanceof CspladeError && thrown.code === code;
    const sorted = { rerank: 5, body: { sort: [{ year: "asc" }] } };
    await assert.rejects(by(remote).search(index, QUESTION, sorted), refusal("query_invalid"));
    const many = { rerank: 5_000 };
    await assert.rejects(by(remote).search(index, QUESTION, many), refusal("query_invalid"));
    await assert.rejects(plainly().search(index, QUESTION, { rerank: 5 }), refusal("usage"));
  });

  it("come from csplade search --rerank, whose run keeps the order", async () => {
    const unset = {
      OPENSEARCH_URL: testServers().opensearchUrl,
      CSPLADE_MODEL: tinyCheckpoint("bi"),
      CSPLADE_RERANK_TIMEOUT_MS: "20000",
    };
    const env = { ...unset, CSPLADE_RERANK_MODEL: tinyCheckpoint("cross-encoder") };
    const folder = os.tmpdir();
    const words = ["search", "--index", index, "--rerank", "6"];
    const expected = idsOf(await by(local).search(index, QUESTION, { rerank: 6 }));
    const json = await runCsplade(folder, [...words, "--json", QUESTION], env);
    assert.equal(json.code, 0, json.err);
    const answer = JSON.parse(json.out) as Answer;
    assert.deepEqual(idsOf(answer), expected);
    assert.equal(answer.reranking?.by, "tiny-cross-encoder");
    const run = await runCsplade(folder, [...words, "--output", "trec", QUESTION], env);
    assert.deepEqual(
      run.out
        .trim()
        .split("\n")
        .map((line) => line.split(" ")[2]),
      expected,
    );
    const shown = await runCsplade(folder, [...words, QUESTION], env);
    assert.match(shown.out, /reranked, was/);
    const none = await runCsplade(folder, [...words, QUESTION], unset);
    assert.equal(none.code, 2);
    assert.match(none.err, /no reranker is configured/);
  });
});
