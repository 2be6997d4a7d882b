import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { ensureIndex } from "../../../src/index/csplade-index.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster, testIndexRequest } from "../../support/test-index.js";

interface Answer {
  readonly status?: number;
  readonly error?: { readonly root_cause: readonly { readonly reason: string }[] };
  readonly _shards: { readonly failed: number };
  readonly hits: { readonly hits: readonly { readonly _id: string; readonly _score: number }[] };
}

const QUESTION = "fear of closed spaces";

describe("searches over indices of which some have no vectors, or another model's", () => {
  let gateway: TestGateway;
  let cluster: Cluster;
  let index: string;
  let plain: string;
  let foreign: string;

  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    const rules = [{ index: "*", vector_fields: ["emb"] }];
    gateway = await startTestGateway({
      "opensearch.url": testServers().opensearchUrl,
      "gateway.rules": rules,
    });
    index = await fillEncodedIndex(cluster, gateway.encoder);
    plain = `${index}-plain`;
    const request = testIndexRequest();
    foreign = request.name;
    await ensureIndex(cluster, request);
    await cluster.demand({ method: "PUT", path: `/${plain}` }, "Adding an index");
  });
  after(async () => {
    for (const name of [index, plain, foreign]) {
      await cluster.send({ method: "DELETE", path: `/${name}` });
    }
    await gateway.stop();
    await cluster.close();
  });

  async function ask(path: string, body: unknown): Promise<Answer> {
    const answer = await gateway.post(path, body);
    return (await answer.json()) as Answer;
  }
  const found = ({ hits }: Answer) => hits.hits.map(({ _id, _score }) => [_id, _score]);

  it("match nothing there and fail no shard", async () => {
    const alone = await ask(`/${index}/_search`, { query: { csplade: QUESTION } });
    assert.ok(alone.hits.hits.length > 5);
    for (const others of [plain, foreign, `${plain},${foreign}`]) {
      const mixed = await ask(`/${index},${others}/_search`, { query: { csplade: QUESTION } });
      assert.equal(mixed._shards.failed, 0, others);
      assert.deepEqual(found(mixed), found(alone), others);
    }
  });

  it("are compared in the console as if the others were not there", async () => {
    const compare = async (name: string) => {
      const { csplade } = (await ask("/_csplade/compare", {
        index: name,
        question: QUESTION,
      })) as unknown as { csplade: { hits: readonly { id: string; score: number }[] } };
      return csplade.hits.map(({ id, score }) => [id, score]);
    };
    assert.ok((await compare(index)).length > 5);
    assert.deepEqual(await compare(`${index}*,${foreign}`), await compare(index));
  });

  it("fail alone in an _msearch, with a sentence", async () => {
    const targets = [index, plain, "csplade-no-such-index", foreign, index];
    const lines = targets.map(
      (name) => `{"index":"${name}"}\n{"query":{"csplade":"${QUESTION}"}}\n`,
    );
    const { responses } = (await ask("/_msearch", `\n${lines.join("")}`)) as unknown as {
      responses: Answer[];
    };
    assert.deepEqual(
      responses.map(({ status }) => status),
      [200, 400, 404, 400, 200],
      JSON.stringify(responses).slice(0, 3_000),
    );
    assert.match(JSON.stringify(responses[1]), /No index behind .* holds CSPLADE vectors/);
    assert.deepEqual(found(responses[0]!), found(responses[4]!));
  });

  it("answer the clusters' own semantic queries as a clause, by rule", async () => {
    const alone = await ask(`/${index}/_search`, { query: { csplade: QUESTION } });
    for (const query of [
      { neural_sparse: { emb: { query_text: QUESTION, model_id: "some" } } },
      { neural_sparse: { emb: { query_text: QUESTION } } },
      { sparse_vector: { field: "emb", query: QUESTION, inference_id: "some" } },
      { semantic: { field: "emb", query: QUESTION } },
      { match: { emb: QUESTION } },
      { match: { emb: { query: QUESTION } } },
    ]) {
      const answer = await ask(`/${index}/_search`, { query });
      assert.deepEqual(found(answer), found(alone), JSON.stringify(query));
    }
  });
});
