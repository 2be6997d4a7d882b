/** Questions of which what the model adds counts in part, through every way of asking. */
import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { openSearcher } from "../../../src/searcher/searcher.js";
import { runCsplade } from "../../support/csplade-command.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";

const QUESTION = "fear of closed spaces";

interface Found {
  readonly hits: { readonly hits: readonly { readonly _id: string; readonly _score: number }[] };
}

describe("a search that says how much the model may add", function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let gateway: TestGateway;
  let index: string;
  before(async () => {
    cluster = testCluster();
    gateway = await startTestGateway({ "opensearch.url": testServers().opensearchUrl });
    index = await fillEncodedIndex(cluster, gateway.encoder);
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await gateway.stop();
    await cluster.close();
  });

  async function clause(expansion?: number): Promise<(readonly [string, number])[]> {
    const csplade = { query_text: QUESTION, ...(expansion === undefined ? {} : { expansion }) };
    const answer = await gateway.post(`/${index}/_search`, { size: 20, query: { csplade } });
    assert.equal(answer.status, 200, await answer.clone().text());
    const { hits } = ((await answer.json()) as Found).hits;
    return hits.map(({ _id, _score }) => [_id, _score]);
  }

  it("gives the same ranking from a program and from the gateway, another one for every factor", async () => {
    const { encoder } = gateway;
    const searcher = openSearcher({ cluster, encoder });
    const exactly = openSearcher({ cluster, encoder, expansion: 0 });
    const rankings = [];
    for (const expansion of [0, 0.5, 1]) {
      const { hits } = await searcher.search(index, QUESTION, { expansion, size: 20 });
      const ranking = hits.map(({ id, score }) => [id, score] as const);
      assert.deepEqual(await clause(expansion), ranking);
      rankings.push(ranking);
    }
    assert.equal(new Set(rankings.map((each) => JSON.stringify(each))).size, 3);
    assert.deepEqual(await clause(), rankings[2]);
    const { query_terms, hits } = await exactly.search(index, QUESTION, {
      size: 20,
      explain: true,
    });
    assert.deepEqual(
      hits.map(({ id, score }) => [id, score]),
      rankings[0],
    );
    const own = new Set((await encoder.literals([QUESTION]))[0]?.ids);
    assert.ok(query_terms.length > 0 && query_terms.every(({ id }) => own.has(id)));
  });

  it("is told by --expansion, and by query.expansion where a search does not say", async () => {
    const ask = async (flags: readonly string[], env: Record<string, string> = {}) => {
      const args = ["search", "--index", index, "--json", ...flags, QUESTION];
      const { code, out, err } = await runCsplade(packageRoot, args, env);
      assert.equal(code, 0, err);
      return (JSON.parse(out) as { query_terms: unknown[] }).query_terms;
    };
    const whole = await ask([]);
    const exact = await ask(["--expansion", "0"]);
    assert.ok(exact.length < whole.length, `${exact.length} of ${whole.length} terms`);
    assert.deepEqual(await ask([], { CSPLADE_QUERY_EXPANSION: "0" }), exact);
    assert.deepEqual(await ask(["--expansion", "1"], { CSPLADE_QUERY_EXPANSION: "0" }), whole);
  });

  it("is refused for what is no factor, and for a vector that is brought along", async () => {
    for (const csplade of [
      { query_text: QUESTION, expansion: 2 },
      { query_tokens: { 5: 1 }, expansion: 0.5 },
    ]) {
      const answer = await gateway.post(`/${index}/_search`, { query: { csplade } });
      assert.equal(answer.status, 400);
      assert.match(await answer.text(), /expansion/);
    }
    await assert.rejects(
      openSearcher({ cluster, encoder: gateway.encoder }).search(index, "x", { expansion: -1 }),
      (thrown) => thrown instanceof CspladeError && thrown.code === "query_invalid",
    );
  });
});
