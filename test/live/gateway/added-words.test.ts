/** Rules over an index that was never encoded: what people type finds what has none of their words. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import path from "node:path";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";

const QUESTION = "a person who studies stars";

const BODIES = [
  "Every person who wants to be one studies.",
  "An astronomer watched galaxies at an observatory.",
  "Bread is baked from flour.",
];

describe("rules of a gateway over an index without vectors", function () {
  this.timeout(120_000);
  const name = randomBytes(6).toString("hex");
  const [widened, other] = [`logs-${name}`, `other-${name}`];
  let cluster: Cluster;
  let gateway: TestGateway;

  before(async () => {
    cluster = testCluster();
    const text = { type: "text", analyzer: "english" };
    const mappings = { properties: { title: text, body: text } };
    for (const index of [widened, other]) {
      const put = (route: string, body: object) =>
        cluster.demand({ method: "PUT", path: `/${index}${route}`, body }, "Filling");
      await put("", { mappings });
      for (const [id, body] of BODIES.entries()) await put(`/_doc/${id}`, { body });
      await cluster.demand({ method: "POST", path: `/${index}/_refresh` }, "Refreshing");
    }
    gateway = await startTestGateway({
      "model.path": path.join(packageRoot, "models", "csplade-minilm-words"),
      "opensearch.url": testServers().opensearchUrl,
      "gateway.rules": [
        { index: "logs-*", fields: ["body", "title"], expansion: 1 },
        { index: "other-*", fields: ["body"] },
      ],
    });
  });
  after(async () => {
    for (const index of [widened, other]) {
      await cluster.send({ method: "DELETE", path: `/${index}` });
    }
    await gateway.stop();
    await cluster.close();
  });

  async function ask(index: string, query: object): Promise<readonly [string, number][]> {
    const answer = await gateway.post(`/${index}/_search`, { query });
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    const { hits } = JSON.parse(text) as {
      hits: { hits: { _id: string; _score: number }[] };
    };
    return hits.hits.map(({ _id, _score }) => [_id, _score]);
  }

  const queries: Readonly<Record<string, object>> = {
    match: { match: { body: QUESTION } },
    multi_match: { multi_match: { query: QUESTION, fields: ["title", "body"] } },
    query_string: { query_string: { query: QUESTION } },
    "match in a filter": { bool: { filter: [{ match: { body: QUESTION } }] } },
  };
  for (const [kind, query] of Object.entries(queries)) {
    it(`widen ${kind} by the words that the model adds, where a rule has an expansion`, async () => {
      const ids = (await ask(widened, query)).map(([id]) => id);
      assert.deepEqual(ids, ["0", "1"]);
      const own = await ask(other, query);
      assert.deepEqual(
        own.map(([id]) => id),
        ["0"],
      );
    });
  }

  it("leave alone what asks for all words, or for other fields", async () => {
    const and = { match: { body: { query: QUESTION, operator: "and" } } };
    assert.deepEqual(await ask(widened, and), []);
    assert.deepEqual(await ask(widened, { match: { note: QUESTION } }), []);
    assert.equal((await ask(widened, { match_all: {} })).length, BODIES.length);
  });

  it("do not make a clause out of nothing: one that asks for vectors is refused", async () => {
    const answer = await gateway.post(`/${widened}/_search`, { query: { csplade: QUESTION } });
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /vectors/);
  });
});
