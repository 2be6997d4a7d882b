/** What the tests of how searches rank share: an index of random vectors, and questions to it. */
import assert from "node:assert/strict";
import type { Cluster } from "../../src/cluster/cluster.js";
import type { VectorField } from "../../src/query/query-translator.js";
import type { SearchRequest } from "../../src/query/search-request.js";
import type { SearchResult } from "../../src/query/search-result.js";
import { search } from "../../src/query/search.js";
import { distributionLock, type OpenSearchVersion } from "../../src/servers/distribution-lock.js";
import { findJdk } from "../../src/servers/java.js";
import type { SparseVector } from "../../src/sparse/sparse-vector.js";
import { randomVectors } from "./random-vectors.js";
import { startTestOpenSearch, type TestOpenSearch } from "./servers.js";
import { testCluster } from "./test-index.js";
import { fillVectorIndex, vectorDocuments } from "./vector-index.js";

/** The index's documents. */
export const documents = vectorDocuments(400, 7);

/** The words of every question. */
export const TEXT = "fear of the ocean in winter";

/** The vectors of the documents' passages. */
export const NESTED: readonly VectorField[] = [
  { name: "csplade_passages.csplade", nested_path: "csplade_passages" },
];

const random = randomVectors(99);

/** Vectors of questions. */
export const queries = Array.from({ length: 6 }, () => random(25, 400));

/** An index to search, while its suite runs. */
export interface RankingSuite {
  readonly cluster: Cluster;
  readonly find: (vector: SparseVector, changes?: Partial<SearchRequest>) => Promise<SearchResult>;
}

/** Fills an index before the suite that calls this, and deletes it afterwards. */
export function rankingSuite(index: string, version: OpenSearchVersion): RankingSuite {
  let server: TestOpenSearch | undefined;
  let cluster: Cluster | undefined;

  before(async function () {
    this.timeout(600_000); // the first run on a machine downloads it
    if (version !== "3.6.0") {
      if (findJdk(distributionLock(version)) === undefined) this.skip();
      server = await startTestOpenSearch(version);
    }
    cluster = testCluster(server?.url);
    await fillVectorIndex(cluster, index, documents);
  });

  after(async function () {
    this.timeout(120_000);
    await cluster?.send({ method: "DELETE", path: `/${index}` });
    await cluster?.close();
    await server?.stop();
  });

  const suite = {
    get cluster(): Cluster {
      assert.ok(cluster, "the index is there once the suite runs");
      return cluster;
    },
    find: (vector: SparseVector, changes: Partial<SearchRequest> = {}) =>
      search(suite.cluster, { index, vector, text: TEXT, ...changes }),
  };
  return suite;
}

/** Asserts two scores to be the same but for the rounding of float32. */
export function close(actual: number, expected: number, message = ""): void {
  const tolerance = 2e-6 * Math.max(1, Math.abs(expected));
  assert.ok(Math.abs(actual - expected) <= tolerance, `${message} ${actual} ≠ ${expected}`);
}

/** Σ. */
export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
