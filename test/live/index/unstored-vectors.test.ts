import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import {
  deleteIndex,
  ensureIndex,
  readIndexModel,
  refreshIndex,
} from "../../../src/index/csplade-index.js";
import { JsonObject } from "../../../src/json/json-object.js";
import { documentSteps } from "../../../src/index/index-document.js";
import { NOTHING_STORED } from "../../../src/index/stored-state.js";
import { readVectors } from "../../../src/index/stored-vectors.js";
import { sparseVector } from "../../../src/sparse/sparse-vector.js";
import { startTestOpenSearch, type TestOpenSearch } from "../../support/servers.js";
import { testCluster, testIndexRequest } from "../../support/test-index.js";

const shape = { prune_type: "none", prune_ratio: 0, quantize_bits: 9 } as const;

for (const version of ["3.6.0", "2.19.1"] as const) {
  describe(`an index without vectors in _source, on a real OpenSearch ${version},`, function () {
    this.timeout(600_000); // the first run on a machine downloads 2.19.1
    let cluster: Cluster;
    const made: string[] = [];
    let server: TestOpenSearch | undefined;
    const request = (changes: Parameters<typeof testIndexRequest>[0] = {}) => {
      const asked = testIndexRequest(changes);
      made.push(asked.name);
      return asked;
    };
    const send = (method: "PUT" | "POST", path: string, body: object) =>
      cluster.demand({ method, path, body }, "test");

    before(async () => {
      if (version !== "3.6.0") server = await startTestOpenSearch(version);
      cluster = testCluster(server?.url);
    });
    after(async () => {
      for (const name of made) await deleteIndex(cluster, name);
      await cluster.close();
      await server?.stop();
    });

    for (const passages of ["merged", "nested"] as const) {
      it(`refuses even the updates that no pipeline sees, instead of losing vectors (${passages})`, async () => {
        const asked = request({ store_vectors: false, passages });
        const info = await ensureIndex(cluster, asked);
        assert.equal((await readIndexModel(cluster, asked.name)).store_vectors, false);
        const [step] = documentSteps(
          info,
          { id: "1", text: "t", body: JsonObject.of({ text: "t" }) },
          [{ start: 0, end: 1, vector: sparseVector([[7, 2]]) }],
          { shape, stored: NOTHING_STORED },
        );
        await send("PUT", `/${asked.name}/_doc/1`, step?.[0]?.document ?? {});
        const bulk = [{ update: { _index: asked.name, _id: "1" } }, { doc: { text: "another" } }];
        const updated = await cluster.send({
          method: "POST",
          path: "/_bulk",
          body: bulk.map((line) => `${JSON.stringify(line)}\n`).join(""),
        });
        assert.match(JSON.stringify(updated.body), /"errors":true.*csplade_seal/);
        await assert.rejects(
          send("POST", `/${asked.name}/_update/1`, { doc: { text: "another" } }),
        );
        await refreshIndex(cluster, asked.name);
        const field = passages === "nested" ? "csplade_passages.csplade" : "csplade";
        const feature = { rank_feature: { field: `${field}.7`, linear: {} } };
        const query =
          passages === "nested"
            ? { nested: { path: "csplade_passages", query: feature } }
            : feature;
        const found = await send("POST", `/${asked.name}/_search`, { query });
        assert.match(JSON.stringify(found), /"hits":\[\{.*"_id":"1"/);
        assert.deepEqual(await readVectors(cluster, asked.name, [{ id: "1" }]), [undefined]);
      });
    }

    it("is not taken over if its own mapping would lose vectors unnoticed", async () => {
      const source = (excludes: readonly string[]) => ({ mappings: { _source: { excludes } } });
      const asked = request();
      await send("PUT", `/${asked.name}`, source(["csplade"]));
      await assert.rejects(ensureIndex(cluster, asked), (error: Error & { hint?: string }) =>
        /csplade_seal\.lat/.test(error.hint ?? ""),
      );
      const sealed = request();
      await send("PUT", `/${sealed.name}`, source(["csplade", "csplade_seal.lat"]));
      assert.equal((await ensureIndex(cluster, sealed)).store_vectors, false);
    });
  });
}
