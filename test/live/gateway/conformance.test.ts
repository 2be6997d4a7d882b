import assert from "node:assert/strict";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { tableOf, tellStories } from "../../support/conformance.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";

describe("the cluster's API through the gateway", function () {
  this.timeout(300_000);
  let gateway: TestGateway;
  before(async () => {
    const rules = [{ index: "*", fields: ["text"], vector_fields: ["emb"] }];
    gateway = await startTestGateway({
      "opensearch.url": testServers().opensearchUrl,
      "gateway.rules": rules,
    });
  });
  after(() => gateway.stop());

  it("is answered as the cluster answers it straight, with rules on", async () => {
    const results = await tellStories({
      cluster: testServers().opensearchUrl,
      gateway: gateway.url,
    });
    process.stdout.write(`${tableOf(results)}\n`);
    const differing = results.filter(({ differences }) => differences.length > 0);
    assert.deepEqual(differing, []);
  });

  it("is compared so that a search which is widened would be found", async () => {
    const cluster = testCluster();
    const index = await fillEncodedIndex(cluster, gateway.encoder);
    try {
      const steps = [
        { method: "POST", path: `/${index}/_search`, body: { query: { match: { text: "fear" } } } },
      ];
      const [result] = await tellStories(
        { cluster: testServers().opensearchUrl, gateway: gateway.url },
        [{ group: "widened", title: "a match", steps }],
      );
      assert.equal(result?.differences.length, 1);
    } finally {
      await cluster.send({ method: "DELETE", path: `/${index}` });
      await cluster.close();
    }
  });
});
