/** The library as programs use it: the examples of examples/, and both official clients. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { Client as ElasticClient } from "@elastic/elasticsearch";
import { Client as OpenSearchClient } from "@opensearch-project/opensearch";
import { clusterOf, search, type Cluster } from "csplade";
import { packageRoot } from "../../src/config/package-root.js";
import { startElasticFront } from "../support/elastic-front.js";
import type { Front } from "../support/front.js";
import { randomVectors } from "../support/random-vectors.js";
import { testServers } from "../support/servers.js";
import { testCluster } from "../support/test-index.js";
import { tinyCheckpoint } from "../support/tiny-checkpoints.js";
import { exactScore, fillVectorIndex, vectorDocuments } from "../support/vector-index.js";

describe("the library", function () {
  this.timeout(600_000);
  const examples = "library-examples";
  const vectors = "library-vectors";
  let own: Cluster;
  let front: Front;

  before(async () => {
    own = testCluster();
    front = await startElasticFront(testServers().opensearchUrl);
    await own.send({ method: "DELETE", path: `/${examples}` });
  });

  after(async () => {
    for (const index of [examples, vectors]) {
      await own.send({ method: "DELETE", path: `/${index}` });
    }
    await own.close();
    await front.stop();
  });

  async function example(name: string): Promise<string> {
    const file = path.join(packageRoot, "dist", "examples", `${name}.js`);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [file, examples, "fear of a confined space"],
      {
        timeout: 240_000,
        env: {
          ...process.env,
          OPENSEARCH_URL: testServers().opensearchUrl,
          ELASTICSEARCH_URL: front.url,
          CSPLADE_MODEL: tinyCheckpoint("bi"),
          CSPLADE_THREADS: "1",
        },
      },
    );
    return stdout;
  }

  it("indexes, searches and is put into own queries, as the examples show", async () => {
    assert.match(await example("index-documents"), /3 documents in library-examples/);
    const found = await example("search");
    assert.match(found, /^1 0\.03\d+ Claustrophobia$/m);
    assert.match(found, /in the text: .*fe ar/);
    assert.match(found, /"titles"/);
    const retrieved = await example("langchain");
    assert.match(retrieved, /^1 0\.03\d+ .*confined.*\n {2}Claustrophobia: .*\bsp ace\b/);
    const queried = await example("own-query");
    assert.match(queried, /^1 \d+.* title: 'Claustrophobia'/m);
    assert.doesNotMatch(queried, /Insomnia/);
    assert.match(queried, /"documents":\{"value":2\}/);
  });

  const clients = {
    "@opensearch-project/opensearch": () =>
      new OpenSearchClient({ node: testServers().opensearchUrl }),
    "@elastic/elasticsearch": () => new ElasticClient({ node: front.url }),
  };
  for (const [name, connect] of Object.entries(clients)) {
    it(`searches through ${name}, and gives its errors the same codes`, async () => {
      const documents = vectorDocuments(60, 3);
      const vector = randomVectors(4)(20, 400);
      const client = connect();
      const cluster = clusterOf(client, { url: "mine" });
      try {
        await fillVectorIndex(cluster, vectors, documents);
        const { hits } = await search(cluster, { index: vectors, vector, explain: true });
        assert.equal(hits.length, 10);
        for (const hit of hits) {
          const expected = exactScore(vector, documents[Number(hit.id)]!.vector);
          assert.ok(Math.abs(hit.score - expected) < 1e-5 * expected);
        }
        const request = { index: vectors, vector };
        await assert.rejects(search(cluster, { ...request, index: "nothing-there" }), {
          code: "index_not_found",
        });
        await assert.rejects(search(cluster, { ...request, filter: { tern: {} } }), {
          code: "query_invalid",
        });
        const stop = new AbortController();
        const waiting = cluster.send({
          method: "GET",
          path: "/_cluster/health",
          query: { wait_for_nodes: "5", timeout: "20s" },
          signal: stop.signal,
        });
        setTimeout(() => stop.abort(), 100);
        await assert.rejects(waiting, { code: "aborted" });
        const late = { method: "GET", path: "/_cluster/health", timeoutMs: 200 } as const;
        await assert.rejects(
          cluster.send({ ...late, query: { wait_for_nodes: "5", timeout: "20s" } }),
          { code: "deadline_exceeded" },
        );
      } finally {
        await client.close();
      }
    });
  }
});
