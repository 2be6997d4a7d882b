import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../../../src/cluster/cluster.js";
import type { BulkOperation, WriteResult } from "../../../src/cluster/bulk-operation.js";
import {
  createBulkWriter,
  type BulkRetry,
  type BulkWriter,
} from "../../../src/cluster/bulk-writer.js";
import { UnacknowledgedError } from "../../../src/cluster/write-failure.js";
import { JsonObject } from "../../../src/json/json-object.js";
import { contentHash } from "../../../src/index/content-hash.js";
import {
  deleteIndex,
  ensureIndex,
  refreshIndex,
  type IndexInfo,
} from "../../../src/index/csplade-index.js";
import { writeDocuments } from "../../../src/index/document-write.js";
import {
  deletionSteps,
  documentSteps,
  type VectorShape,
} from "../../../src/index/index-document.js";
import type { PassagesMode } from "../../../src/index/index-meta.js";
import { indexStats } from "../../../src/index/index-stats.js";
import { NOTHING_STORED, readStored } from "../../../src/index/stored-state.js";
import { writeAliasOf } from "../../../src/cluster/write-alias.js";
import { sparseVector } from "../../../src/sparse/sparse-vector.js";
import { testServers } from "../../support/servers.js";
import { testCluster, testIndexRequest, testModel } from "../../support/test-index.js";

const shape: VectorShape = { prune_type: "none", prune_ratio: 0, quantize_bits: 9 };
const bounds = { max_bytes: 200_000, concurrency: 3, max_wait_ms: 60_000 };

describe("bulk writer on a real OpenSearch", () => {
  let cluster: Cluster;
  let writer: BulkWriter;
  const made: string[] = [];
  const retries: BulkRetry[] = [];

  before(() => {
    cluster = testCluster();
    writer = createBulkWriter(cluster, { ...bounds, onRetry: (retry) => retries.push(retry) });
  });
  after(async () => {
    await writer.close();
    for (const name of made) await deleteIndex(cluster, name);
    await cluster.close();
  });

  async function index(passages: PassagesMode = "merged"): Promise<IndexInfo> {
    const info = await ensureIndex(cluster, testIndexRequest({ passages }));
    made.push(info.name);
    return info;
  }

  function document(info: IndexInfo, id: string, terms = 50): BulkOperation {
    const features = Object.fromEntries(
      Array.from({ length: terms }, (_, n) => [n * 7, 1 + n / 100]),
    );
    return {
      index: info.name,
      id,
      action: "index",
      document: { text: `text ${id}`, csplade: features, csplade_model: info.model.fingerprint },
    };
  }

  async function count(info: IndexInfo, query: object = { match_all: {} }): Promise<number> {
    await refreshIndex(cluster, info.name);
    const answer = await cluster.demand(
      { method: "POST", path: `/${info.name}/_count`, body: { query } },
      "test",
    );
    return (answer as { count: number }).count;
  }

  const having = (field: string) => ({ rank_feature: { field, linear: {} } });

  it("writes, replaces, creates and deletes", async () => {
    const info = await index();
    const results = await writer.write([
      document(info, "a"),
      document(info, "a"),
      { ...document(info, "b"), action: "create" },
      { index: info.name, id: "a", action: "delete" },
      { ...document(info, "b"), action: "create" },
    ]);
    const short = results.map((r) => (r.status === "written" ? r.result : r.status));
    assert.deepEqual(short, ["created", "updated", "created", "deleted", "skipped"]);
    assert.equal(await count(info), 1);
  });

  it("takes documents of thousands of terms, and finds them by any of them", async () => {
    const info = await index();
    const [result] = await writer.write([document(info, "many", 5_000)]);
    assert.equal(result?.status, "written");
    assert.equal(await count(info, having(`csplade.${4_999 * 7}`)), 1);
  });

  it("fails what the mapping or the guard refuses, each document alone, without repeating it", async () => {
    const info = await index();
    await writer.write([{ ...document(info, "0"), document: { when: "2025-01-01" } }]);
    const before = retries.length;
    const results = await writer.write([
      document(info, "1"),
      { ...document(info, "2"), document: { when: "not a date" } },
      { ...document(info, "3"), document: { csplade: { 1: 1 }, csplade_model: "b".repeat(16) } },
      {
        ...document(info, "4"),
        document: { csplade: { 1: -1 }, csplade_model: info.model.fingerprint },
      },
      { ...document(info, "5"), document: { text: { an: "object" } } },
      document(info, "6"),
    ]);
    const reasons = results.map((r) => (r.status === "failed" ? r.reason : ""));
    assert.deepEqual(
      results.map(({ status }) => status),
      ["written", "failed", "failed", "failed", "failed", "written"],
    );
    assert.match(reasons[1] ?? "", /mapper_parsing_exception.*when/);
    assert.match(reasons[2] ?? "", /Vectors of different models must not mix/);
    assert.match(reasons[3] ?? "", /positive/);
    assert.match(reasons[4] ?? "", /text/);
    assert.equal(retries.length, before);
  });

  it("skips older versions of a document", async () => {
    const info = await index();
    const at = async (version: number) =>
      (await writer.write([{ ...document(info, "v"), version }]))[0];
    assert.equal((await at(5))?.status, "written");
    assert.equal((await at(4))?.status, "skipped");
    assert.equal((await at(5))?.status, "skipped");
    assert.equal((await at(6))?.status, "written");
  });

  const set = (name: string, settings: object) =>
    cluster.demand(
      { method: "PUT", path: `/${name}/_settings`, body: { index: settings } },
      "test",
    );

  const blocks = ["read_only_allow_delete", "write", "read_only"] as const;
  for (const block of blocks) {
    it(`waits while ${block} is set, and writes everything when it is lifted`, async () => {
      const info = await index();
      await writer.write([document(info, "first")]);
      await set(info.name, { [`blocks.${block}`]: true });
      const before = retries.length;
      const written = writer.write([document(info, "a"), document(info, "b")]);
      await sleep(700);
      await set(info.name, { [`blocks.${block}`]: null });
      assert((await written).every(({ status }) => status === "written"));
      assert(retries.length > before);
      assert.match(retries.at(-1)?.reason ?? "", /cluster_block_exception.*read-only|write/);
    });
  }

  it("waits while the index is closed", async () => {
    const info = await index();
    const before = retries.length;
    await writer.write([document(info, "first")]);
    await cluster.demand({ method: "POST", path: `/${info.name}/_close` }, "test");
    const written = writer.write([document(info, "a")]);
    await sleep(700);
    await cluster.demand({ method: "POST", path: `/${info.name}/_open` }, "test");
    assert.equal((await written)[0]?.status, "written");
    assert(retries.length > before);
  });

  async function failureOf(written: Promise<WriteResult[]>): Promise<UnacknowledgedError> {
    const thrown: unknown = await written.then(
      () => undefined,
      (error: unknown) => error,
    );
    assert(thrown instanceof UnacknowledgedError, String(thrown));
    return thrown;
  }

  it("fails no document for a deleted guard pipeline: the write ends, and says what to do", async () => {
    const info = await ensureIndex(
      cluster,
      testIndexRequest({ model: testModel("model-g", "abcdefabcdefabcd") }),
    );
    made.push(info.name);
    await writer.write([document(info, "a")]);
    await cluster.demand(
      { method: "DELETE", path: "/_ingest/pipeline/csplade-guard-abcdefabcdefabcd" },
      "test",
    );
    const error = await failureOf(writer.write([document(info, "b"), document(info, "c")]));
    assert.equal(error.code, "cluster_rejected");
    assert.match(error.message, /pipeline with id \[csplade-guard-abcdefabcdefabcd\]/);
    assert.deepEqual(error.results, [undefined, undefined]);
  });

  it("never creates an index: a write to one that is missing or was deleted ends, whatever its action", async () => {
    const isThere = async (name: string) =>
      (await cluster.send({ method: "HEAD", path: `/${name}` })).status === 200;
    const never = { index: "test-never-made", id: "x", action: "delete" } as const;
    assert.equal((await failureOf(writer.write([never]))).code, "index_not_found");
    assert.equal(await isThere("test-never-made"), false);

    const info = await index();
    await writer.write([document(info, "a")]);
    await deleteIndex(cluster, info.name);
    const operations: BulkOperation[] = [
      document(info, "b"),
      { ...document(info, "c"), action: "create" },
      { ...document(info, "d"), version: 7 },
      { ...document(info, "e"), if_seq_no: 3, if_primary_term: 1 },
      { index: info.name, id: "f", action: "delete" },
      { index: info.name, id: "g", action: "delete", version: 7 },
    ];
    for (const operation of operations) {
      const error = await failureOf(writer.write([operation]));
      assert.equal(error.code, "index_not_found", error.message);
    }
    assert.equal(await isThere(info.name), false);
    assert.equal(await isThere(encodeURIComponent(writeAliasOf(info.name))), false);
    // Nor does it write to another index that somebody made under the name.
    await cluster.demand({ method: "PUT", path: `/${info.name}` }, "test");
    assert.equal((await failureOf(writer.write([document(info, "h")]))).code, "index_not_found");
    assert.equal(await count(info), 0);
  });

  it("fails fast, and no document, where an alias has several indices or a routing is demanded", async () => {
    const [one, other, routed] = [await index(), await index(), testIndexRequest().name];
    made.push(routed);
    const alias = `${one.name}-both`;
    await cluster.demand(
      {
        method: "POST",
        path: "/_aliases",
        body: { actions: [{ add: { indices: [one.name, other.name], alias } }] },
      },
      "test",
    );
    const several = await failureOf(writer.write([document({ ...one, name: alias }, "a")]));
    assert.equal(several.code, "index_invalid");
    const body = { mappings: { _routing: { required: true } } };
    await cluster.demand({ method: "PUT", path: `/${routed}`, body }, "test");
    const unrouted = await failureOf(writer.write([document({ ...one, name: routed }, "a")]));
    assert.equal(unrouted.code, "index_invalid");
    assert.match(unrouted.why.hint ?? "", /routing/);
  });

  for (const mode of ["merged", "nested", "documents"] as const) {
    it(`${mode}: an unchanged document is recognised, a shorter one leaves nothing behind, a deleted one neither`, async () => {
      const info = await index(mode);
      const source = (text: string) => ({
        id: "d#1",
        text,
        body: JsonObject.of({ title: "T", text }),
      });
      const hashOf = (text: string) =>
        contentHash(source(text).body, info, { ...shape, max_passages: 10 });
      const stateNow = async () =>
        (await readStored(cluster, info, [{ id: "d#1" }, { id: "absent" }]))[0] ?? NOTHING_STORED;
      const put = async (text: string): Promise<WriteResult[]> => {
        const passages = text.split(" ").map((word, n) => ({
          start: n,
          end: n + 1,
          vector: sparseVector([[1_000 + Number(word), 1.5]]),
        }));
        const context = { shape, hash: hashOf(text), stored: await stateNow() };
        return writeDocuments(writer, [documentSteps(info, source(text), passages, context)]);
      };
      const field = mode === "nested" ? "csplade_passages.csplade" : "csplade";
      const found = (term: number) => {
        const query = having(`${field}.${1_000 + term}`);
        return count(
          info,
          mode === "nested" ? { nested: { path: "csplade_passages", query } } : query,
        );
      };

      assert.equal((await stateNow()).hash, undefined);
      assert.deepEqual(
        (await put("1 2 3 4 5")).map(({ status }) => status),
        ["written"],
      );
      assert.equal((await stateNow()).hash, hashOf("1 2 3 4 5"));
      assert.equal(await found(5), 1);
      await put("1 6");
      assert.deepEqual([await found(1), await found(5), await found(6)], [1, 0, 1]);
      assert.equal((await indexStats(cluster, info.name)).documents, mode === "documents" ? 2 : 1);
      await writeDocuments(writer, [deletionSteps(info, { id: "d#1" }, await stateNow())]);
      assert.equal(await count(info), 0);
    });
  }

  it("loses nothing and doubles nothing when OpenSearch is killed with kill -9 in the middle", async () => {
    const info = await index();
    const before = retries.length;
    const total = 6_000;
    const chunks = Array.from({ length: 60 }, (_, c) =>
      Array.from({ length: total / 60 }, (_, n) => document(info, `${c}-${n}`, 120)),
    );
    let acknowledged = 0;
    const writing = Promise.all(
      chunks.map(async (chunk) => {
        const results = await writer.write(chunk);
        acknowledged += results.filter(({ status }) => status === "written").length;
      }),
    );
    while (acknowledged < total / 6) await sleep(5);
    await testServers().killOpenSearch();
    const atKill = acknowledged;
    await testServers().restartOpenSearch();
    await writing;
    assert(atKill < total, "the kill came too late to prove anything");
    assert.equal(acknowledged, total);
    assert.equal(await count(info), total);
    assert.equal(await count(info, having("csplade.7")), total);
    assert(retries.slice(before).some(({ cause }) => cause === "away"));
  }).timeout(120_000);

  it("gives up on a cluster that stays away, and knows what was not written", async () => {
    const info = await index();
    const impatient = createBulkWriter(cluster, { ...bounds, max_wait_ms: 1_500 });
    await impatient.write([document(info, "before")]);
    await testServers().killOpenSearch();
    try {
      const started = performance.now();
      await assert.rejects(impatient.write([document(info, "during")]), (thrown) => {
        assert(thrown instanceof UnacknowledgedError);
        assert.equal(thrown.code, "cluster_unreachable");
        assert.deepEqual(thrown.results, [undefined]);
        return true;
      });
      assert(performance.now() - started < 5_000);
    } finally {
      await testServers().restartOpenSearch();
    }
    assert.equal((await impatient.write([document(info, "after")]))[0]?.status, "written");
    await impatient.close();
  }).timeout(120_000);
});
