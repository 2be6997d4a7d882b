/** Questions with what was said before them, against a real cluster. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { openSearcher, type Answer, type Searcher } from "../../../src/searcher/searcher.js";
import { runCsplade } from "../../support/csplade-command.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const FIRST = "a person who is in a small room by the sea";
const QUESTION = "and on a mountain";

interface Found {
  readonly hits?: { readonly hits: readonly { readonly _id: string; readonly _score: number }[] };
}

describe("searches with a history", function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let encoder: Encoder;
  let searcher: Searcher;
  let index: string;

  before(async () => {
    cluster = testCluster();
    encoder = await openEncoder(testConfig());
    index = await fillEncodedIndex(cluster, encoder);
    searcher = openSearcher({ cluster, encoder });
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await encoder.close();
    await cluster.close();
  });

  for (const mode of ["plain", "hybrid", "two_phase"] as const) {
    it(`ask for the greatest weight of each term, turns fading, in mode ${mode}`, async () => {
      const asked = { mode, history: [FIRST], history_decay: 0.5 };
      const answer = await searcher.search(index, QUESTION, asked);
      const expected = new Map<number, number>();
      for (const [text, factor] of [
        [QUESTION, 1],
        [FIRST, 0.5],
      ] as const) {
        for (const { id, weight } of (await searcher.encode(text)).terms) {
          expected.set(id, Math.max(expected.get(id) ?? 0, Math.fround(weight * factor)));
        }
      }
      const alone = await searcher.search(index, QUESTION, { mode });
      assert.ok(answer.query_terms.length > alone.query_terms.length, "the turn adds terms");
      assert.deepEqual(new Map(answer.query_terms.map(({ id, weight }) => [id, weight])), expected);
      assert.ok(answer.hits.length > 0);
    });
  }

  it("are refused in mode lexical, and with a decay outside 0 to 1", async () => {
    const history = [FIRST];
    const steep = searcher.search(index, QUESTION, { history, history_decay: 2 });
    await assert.rejects(steep, { code: "query_invalid", message: /history_decay/ });
    const lexical = searcher.search(index, QUESTION, { history, mode: "lexical" });
    await assert.rejects(lexical, { code: "query_invalid", message: /history/ });
  });

  it("come from csplade search with a --turn for each thing said, or a file of them, oldest first", async () => {
    const env = {
      OPENSEARCH_URL: testServers().opensearchUrl,
      CSPLADE_MODEL: tinyCheckpoint("bi"),
    };
    const said = ["search", "--index", index, "--turn", FIRST, "--turn", "a boat"];
    const run = await runCsplade(os.tmpdir(), [...said, "--json", QUESTION], env);
    assert.equal(run.code, 0, run.err);
    const idsOf = ({ hits }: Answer) => hits.map(({ id }) => id);
    const history = [FIRST, "a boat"];
    const expected = idsOf(await searcher.search(index, QUESTION, { history }));
    assert.deepEqual(idsOf(JSON.parse(run.out) as Answer), expected);
    assert.notDeepEqual(idsOf(await searcher.search(index, QUESTION)), expected);
    const folder = await mkdtemp(path.join(os.tmpdir(), "csplade-turns-"));
    const file = path.join(folder, "turns.txt");
    await writeFile(file, `${FIRST}\n\n`);
    const read = ["search", "--index", index, "--json", "--history", file];
    const filed = await runCsplade(os.tmpdir(), [...read, "--turn", "a boat", QUESTION], env);
    assert.equal(filed.code, 0, filed.err);
    assert.deepEqual((JSON.parse(filed.out) as Answer).hits, (JSON.parse(run.out) as Answer).hits);
    const forgetful = { ...env, CSPLADE_QUERY_HISTORY_DECAY: "0" };
    const forgotten = await runCsplade(os.tmpdir(), [...read, QUESTION], forgetful);
    const alone = idsOf(await searcher.search(index, QUESTION));
    assert.deepEqual(idsOf(JSON.parse(forgotten.out) as Answer), alone);
    const missing = ["search", "--index", index, "--history", `${file}.not`, QUESTION];
    const none = await runCsplade(os.tmpdir(), missing, env);
    assert.equal(none.code, 2);
    assert.match(none.err, /turns\.txt\.not cannot be read/);
    await rm(folder, { recursive: true });
    const pasted = await runCsplade(os.tmpdir(), [...said, "--dashboards", QUESTION], env);
    assert.equal(pasted.code, 2);
    assert.match(pasted.err, /without --turn/);
  });

  it("are clauses of the gateway, which ranks as a program does and refuses a history of a ready vector", async () => {
    const gateway = await startTestGateway({
      "opensearch.url": testServers().opensearchUrl,
      "query.history_decay": 0.25,
    });
    try {
      const program = openSearcher({ cluster, encoder: gateway.encoder, history_decay: 0.25 });
      const history = [FIRST, " ", "a boat"];
      const ask = async (csplade: object) => {
        const answer = await gateway.post(`/${index}/_search`, { size: 20, query: { csplade } });
        return { status: answer.status, body: (await answer.json()) as Found };
      };
      const rankings = [];
      for (const how of [{}, { history }, { history, history_decay: 1 }]) {
        const { hits } = await program.search(index, QUESTION, { ...how, size: 20 });
        const ranking = hits.map(({ id, score }) => [id, score]);
        const { body } = await ask({ query_text: QUESTION, ...how });
        assert.deepEqual(
          body.hits?.hits.map(({ _id, _score }) => [_id, _score]),
          ranking,
        );
        rankings.push(JSON.stringify(ranking));
      }
      assert.equal(new Set(rankings).size, 3, "each history ranks in its own way");
      const ready = await ask({ query_tokens: { 5: 1 }, history });
      assert.equal(ready.status, 400);
      assert.match(JSON.stringify(ready.body), /history/);
    } finally {
      await gateway.stop();
    }
  });
});
