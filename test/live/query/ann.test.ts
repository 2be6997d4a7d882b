/** Approximate search on a real OpenSearch: ids above 32,767 through the map, scores exact. */
import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { makeAnnIndex } from "../../../src/index/ann-index.js";
import { createBulkWriter, type BulkWriter } from "../../../src/cluster/bulk-writer.js";
import { ensureIndex, readIndexModel, refreshIndex } from "../../../src/index/csplade-index.js";
import { JsonObject } from "../../../src/json/json-object.js";
import { documentSteps } from "../../../src/index/index-document.js";
import { searchedFields } from "../../../src/query/searched-fields.js";
import { search } from "../../../src/query/search.js";
import type { SearchRequest } from "../../../src/query/search-request.js";
import { sparseVector, termsOf, type SparseVector } from "../../../src/sparse/sparse-vector.js";
import { randomVectors } from "../../support/random-vectors.js";
import { testCluster, testIndexRequest } from "../../support/test-index.js";
import { exactScore } from "../../support/vector-index.js";

const VOCABULARY = 49_152;
const random = randomVectors(11);

/** Vectors about one of thirty topics, of terms all over the vocabulary. */
function topical(i: number): SparseVector {
  const topic = Array.from({ length: 20 }, (_, j): [number, number] => [
    ((i % 30) * 1600 + j * 77) % VOCABULARY,
    1 + ((i * (j + 1)) % 20) / 10,
  ]);
  const seen = new Set(topic.map(([id]) => id));
  const rest = Array.from(termsOf(random(30, VOCABULARY))).filter(([id]) => !seen.has(id));
  return sparseVector([...topic, ...rest.map(([id, weight]) => [id, weight / 3] as const)]);
}

describe("approximate search", function () {
  this.timeout(300_000);
  const request = testIndexRequest();
  const into = `${request.name}-ann`;
  const documents = Array.from({ length: 600 }, (_, i) => topical(i));
  const queries = Array.from({ length: 12 }, (_, i) => topical(i * 7));
  let cluster: Cluster;
  let writer: BulkWriter;

  const write = async (index: string, id: number, vector: SparseVector) => {
    const info = await readIndexModel(cluster, index);
    const document = {
      id: String(id),
      text: `number ${id}`,
      body: JsonObject.of({ text: `number ${id}`, year: 1900 + (id % 100) }),
    };
    const steps = documentSteps(info, document, [{ start: 0, end: 1, vector }], {
      shape: { prune_type: "none", prune_ratio: 0, quantize_bits: 9 },
      stored: { hash: undefined, passages: 0 },
    });
    for (const step of steps) {
      for (const result of await writer.write(step)) assert.equal(result.status, "written");
    }
  };

  const find = async (vector: SparseVector, changes: Partial<SearchRequest> = {}) => {
    const info = await readIndexModel(cluster, into);
    const fields = searchedFields(info);
    return await search(cluster, { index: into, vector, ...fields, ...changes });
  };

  before(async () => {
    cluster = testCluster();
    writer = createBulkWriter(cluster, { max_bytes: 5e6, concurrency: 2, max_wait_ms: 60_000 });
    await ensureIndex(cluster, request);
    await Promise.all(documents.map((vector, i) => write(request.name, i, vector)));
    await refreshIndex(cluster, request.name);
  });

  after(async () => {
    await writer.close();
    for (const index of [request.name, into]) {
      await cluster.send({ method: "DELETE", path: `/${index}` });
    }
    await cluster.close();
  });

  it("is made from an index, its ids numbered without gaps, its model and guard kept", async () => {
    const summary = await makeAnnIndex(cluster, writer, {
      from: request.name,
      into,
      parameters: { approximate_threshold: 1, n_postings: 300 },
    });
    assert.equal(summary.documents, documents.length);
    assert.equal(summary.unnumbered_ids, 0);
    const info = await readIndexModel(cluster, into);
    assert.deepEqual(info.model, request.model);
    const live = new Set(documents.flatMap(({ ids }) => [...ids]));
    assert.equal(info.ann?.size, live.size);
    assert.ok([...live].some((id) => id > 32_767));
    await cluster.demand(
      { method: "POST", path: `/${into}/_forcemerge`, query: { max_num_segments: 1 } },
      "Merging",
    );
  });

  it("finds what plain scoring finds, with its scores", async () => {
    let found = 0;
    for (const query of queries) {
      const [exact, approximate] = await Promise.all([
        find(query),
        find(query, { mode: "ann", explain: true }),
      ]);
      assert.equal(approximate.mode, "ann");
      for (const hit of approximate.hits) {
        const expected = exactScore(query, documents[+hit.id]!);
        assert.ok(Math.abs(hit.score - expected) < 1e-2 * expected, `${hit.score} ≠ ${expected}`);
        const sum = hit.contributions.reduce((total, term) => total + term.contribution, 0);
        assert.ok(Math.abs(hit.score - sum) < 1e-4 * hit.score);
      }
      const best = new Set(exact.hits.map((hit) => hit.id));
      found += approximate.hits.filter((hit) => best.has(hit.id)).length;
    }
    assert.ok(found >= 0.95 * 10 * queries.length, `${found} of ${10 * queries.length}`);
  });

  it("keeps filters and aggregations, and the terms that have no number", async () => {
    const filter = [{ range: { year: { lt: 1950 } } }, { match_all: {} }];
    const body = { aggs: { latest: { max: { field: "year" } } } };
    const strange = sparseVector([...termsOf(queries[0]!), [VOCABULARY + 5, 0.5]]);
    const { hits, aggregations, notes } = await find(strange, { mode: "ann", filter, body });
    assert.ok(hits.length > 0);
    assert.ok(hits.every((hit) => (hit.source.year as number) < 1950));
    assert.ok((aggregations?.latest as { value: number }).value < 1950);
    assert.match(notes[0]!, /^\d+ query terms stood in no document/);
  });

  it("keeps min_score, highlights, fields, post_filter, collapse and counting around it", async () => {
    const vector = queries[1]!;
    const all = await find(vector, { mode: "ann", size: 10 });
    const min_score = (all.hits[4]!.score + all.hits[3]!.score) / 2;
    const body = {
      min_score,
      fields: ["year"],
      highlight: { fields: { text: {} }, highlight_query: { match: { text: "number" } } },
      track_total_hits: true,
    };
    const some = await find(vector, { mode: "ann", body });
    assert.deepEqual(
      some.hits.map((hit) => hit.id),
      all.hits.filter((hit) => hit.score >= min_score).map((hit) => hit.id),
    );
    for (const { fields, highlight, source } of some.hits) {
      assert.deepEqual(fields?.year, [source.year]);
      assert.match(highlight?.text?.[0] ?? "", /<em>number<\/em>/);
    }
    const post_filter = { range: { year: { lt: 1950 } } };
    const later = await find(vector, { mode: "ann", body: { post_filter } });
    assert.ok(later.hits.every((hit) => (hit.source.year as number) < 1950));
    const collapsed = await find(vector, { mode: "ann", collapse: "year", size: 5 });
    assert.equal(new Set(collapsed.hits.map((hit) => hit.collapsed_by)).size, 5);
    await assert.rejects(find(vector, { mode: "ann", body: { sort: ["year"] } }), /takes no sort/);
  });

  it("finds a document that is written afterwards", async () => {
    await write(into, 5000, topical(3));
    await refreshIndex(cluster, into);
    const { hits } = await find(topical(3), { mode: "ann", ann: { heap_factor: 5, top_n: 40 } });
    assert.ok(hits.some((hit) => hit.id === "5000"));
  });

  it("is refused with a sentence where the index has no such field, and with options out of range", async () => {
    const vector = queries[0]!;
    await assert.rejects(search(cluster, { index: request.name, vector, mode: "ann" }), {
      code: "index_invalid",
    });
    await assert.rejects(find(vector, { mode: "ann", ann: { k: 0 } }), { code: "query_invalid" });
    const again = makeAnnIndex(cluster, writer, { from: request.name, into });
    await assert.rejects(again, { code: "cluster_rejected" });
    assert.equal((await find(vector, { mode: "ann" })).hits.length, 10);
  });
});
