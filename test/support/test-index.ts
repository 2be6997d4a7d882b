/** Indices for live tests: names of their own, models of their own, documents with vectors. */
import { randomBytes } from "node:crypto";
import { connectCluster, type Cluster } from "../../src/cluster/cluster.js";
import { loadConfig } from "../../src/config/load-config.js";
import type { IndexRequest } from "../../src/index/csplade-index.js";
import type { IndexModel } from "../../src/index/index-meta.js";
import { testServers } from "./servers.js";

/** A connection to the OpenSearch of this test run, or to another one. */
export function testCluster(url = testServers().opensearchUrl): Cluster {
  return connectCluster(loadConfig({ env: { OPENSEARCH_URL: url } }).values);
}

/** A model that exists in name only. */
export function testModel(name: string, fingerprint: string): IndexModel {
  return { name, fingerprint, variant: "bi", vocabulary_size: 49_152 };
}

/** A request for an index that no other test uses. */
export function testIndexRequest(changes: Partial<IndexRequest> = {}): IndexRequest {
  return {
    name: `test-${randomBytes(6).toString("hex")}`,
    model: testModel("model-a", "aaaaaaaaaaaaaaaa"),
    passages: "merged",
    text_fields: ["title", "text"],
    title_field: "title",
    ...changes,
  };
}
