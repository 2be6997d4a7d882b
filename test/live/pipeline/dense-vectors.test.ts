/** Dense vectors beside terms: stored with documents whoever brings them, and a ranking of mode hybrid. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import type { SettingName } from "../../../src/config/settings.js";
import { readIndexModel } from "../../../src/index/csplade-index.js";
import { followIndex } from "../../../src/pipeline/followed-documents.js";
import type { HybridOptions } from "../../../src/query/hybrid.js";
import { openSearcher, type QuestionOptions } from "../../../src/searcher/searcher.js";
import { openEncoder } from "../../../src/encoder/encoder.js";
import { openIngestSuite, type IngestSuite } from "../../support/ingesting.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { contentOf, fill } from "../../support/reindexing.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const DOCUMENTS = [
  { id: "stars", text: "An astronomer watched galaxies at an observatory." },
  { id: "bread", text: "Bread is baked from flour and water." },
  { id: "person", text: "A person who studies law." },
  {
    id: "long",
    text: [
      "Rivers carry sand into the sea where it settles. ".repeat(50),
      "Banks lend money to companies that build houses. ".repeat(50),
    ].join(" "),
  },
  { id: "japanese", text: "望遠鏡で星を観察する天文学者は夜空を眺めていた。" },
];
const QUESTION = "a person who studies stars";
const MODEL = path.join(packageRoot, "models", "csplade-minilm-words");
const FIELDS = { "model.path": MODEL, "ingest.id_field": "id", "ingest.text_fields": ["text"] };

type Flags = Partial<Record<SettingName, unknown>>;

describe("dense vectors beside terms", function () {
  this.timeout(240_000);
  let suite: IngestSuite;
  let runs: ReindexSuite;

  before(async () => {
    suite = await openIngestSuite("dense-", FIELDS);
    runs = await openReindexSuite("dense-", { ...FIELDS, "document.dense": true });
    await ingest("dense-all");
    await ingest("dense-without", { "document.dense": false });
  });
  after(async () => {
    await suite.cluster.send({ method: "DELETE", path: "/_index_template/dense-template" });
    await runs.close();
    await suite.close();
  });

  const ingest = (index: string, flags: Flags = {}, lines: readonly object[] = DOCUMENTS) =>
    suite.ingest(index, [suite.write(`${index}.ndjson`, lines)], {
      config: { ...suite.config, "document.dense": true, ...flags } as typeof suite.config,
    });
  const storedIn = async (index: string) => {
    const found = await contentOf(suite.cluster, index, { vectors: true });
    return new Map(
      [...found].map(([id, { csplade_dense }]) => [id, csplade_dense as number[] | undefined]),
    );
  };
  const ask = (index: string, hybrid: Partial<HybridOptions> = {}, more: QuestionOptions = {}) =>
    openSearcher(suite).search(index, QUESTION, { mode: "hybrid", hybrid, ...more });
  const cosine = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, value, i) => sum + value * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b));

  it("point where the checkpoint's vectors of the passages together point, one byte a dimension", async () => {
    const stored = await storedIn("dense-all");
    const texts = DOCUMENTS.map(({ text }) => text);
    const encoded = await suite.encoder.encodeDocuments(texts, { dense: true });
    assert.ok(encoded[3]!.passages.length >= 2, "one document is longer than the model reads");
    for (const [i, { id }] of DOCUMENTS.entries()) {
      const vectors = encoded[i]!.passages.flatMap(({ dense }) => (dense ? [[...dense]] : []));
      if (id === "japanese") {
        assert.deepEqual([vectors, stored.get(id)], [[], undefined], "the model knows no Japanese");
        continue;
      }
      for (const vector of vectors) assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-3);
      const mean = vectors[0]!.map((_, d) => vectors.reduce((sum, each) => sum + each[d]!, 0));
      const bytes = stored.get(id)!;
      assert.equal(bytes.length, 384);
      assert.ok(bytes.every((byte) => Number.isInteger(byte) && Math.abs(byte) <= 127));
      assert.equal(Math.max(...bytes.map(Math.abs)), 127);
      assert.ok(cosine(bytes, mean) > 0.9995, `${id}: ${cosine(bytes, mean)}`);
    }
    assert.deepEqual(new Set((await storedIn("dense-without")).values()), new Set([undefined]));
  });

  it("leave every byte of documents as it was, as fields of k-NN of the user's own do", async () => {
    const own = { type: "knn_vector", dimension: 2, method: { name: "hnsw", engine: "lucene" } };
    const template = {
      index_patterns: ["dense-bytes-*"],
      template: {
        settings: { "index.knn": true },
        mappings: { properties: { near: own, kept: { type: "object", enabled: false } } },
      },
    };
    const put = { method: "PUT", path: "/_index_template/dense-template", body: template } as const;
    await suite.cluster.demand(put, "Putting a template");
    const odd = `{"z":1.0, "near":[0.10,2.0000000001],"id":"odd","kept":{"big":12345678901234567890123,"e":1e3},"text":"caf\\u00e9 stars"}`;
    const file = path.join(suite.folder, "odd.ndjson");
    writeFileSync(file, `${odd}\n`);
    for (const dense of [true, false]) {
      const index = `dense-bytes-${dense}`;
      const config = { ...suite.config, "document.dense": dense };
      const { written } = await suite.ingest(index, [file], { config });
      assert.equal(written, 1);
      const text = await suite.cluster.demandText(
        { method: "GET", path: `/${index}/_doc/odd` },
        "Reading back",
      );
      assert.ok(text.includes(odd.slice(0, -1)), text);
    }
  });

  it("find what shares no word with a question, as a third ranking that is explained", async () => {
    const inOne = await ask("dense-all");
    assert.equal(inOne.hits.length, 5 - 1, "all but the document without a vector are near");
    const apart = await ask("dense-all", { requests: "two" });
    assert.deepEqual(
      apart.hits.map(({ id, score }) => [id, score.toFixed(5)]),
      inOne.hits.map(({ id, score }) => [id, score.toFixed(5)]),
    );
    const byAngle = await ask("dense-all", { technique: "min_max", weights: [0, 0, 1] });
    assert.equal(byAngle.hits[0]!.id, "stars");
    const explained = await ask("dense-all", {}, { explain: true });
    for (const { fusion, score, source } of explained.hits) {
      const parts = Object.values(fusion!);
      assert.ok(Math.abs(parts.reduce((sum, { share }) => sum + share, 0) - score) < 1e-6);
      assert.ok(!("csplade_dense" in source));
    }
    assert.equal(explained.hits.find(({ id }) => id === "stars")!.fusion!.dense!.rank, 1);
    const filtered = await ask("dense-all", {}, { filter: { ids: { values: ["bread"] } } });
    assert.deepEqual(
      filtered.hits.map(({ id }) => id),
      ["bread"],
    );
  });

  it("rank only where they are asked and there, and the other two rankings do without them", async () => {
    const without = await ask("dense-all", { rankings: ["bm25", "csplade"] });
    assert.deepEqual(
      without.hits.map(({ id }) => id),
      (await ask("dense-without")).hits.map(({ id }) => id),
    );
    const weighed = await ask("dense-all", { technique: "min_max", weights: [0.5, 0.5] });
    assert.deepEqual(
      weighed.hits.map(({ id }) => id).sort(),
      without.hits.map(({ id }) => id).sort(),
    );
    const { hits: ofBoth } = await ask("dense-all,dense-without");
    assert.equal(ofBoth.length, 2 * without.hits.length, "not all indices have them");
    await assert.rejects(ask("dense-without", { rankings: ["dense"] }), { code: "query_invalid" });
    await assert.rejects(ask("dense-all", { technique: "min_max", weights: [0.9, 0, 0] }), {
      code: "query_invalid",
    });
  });

  it("are an index's or not, and no checkpoint without them writes into one that has them", async () => {
    assert.equal((await readIndexModel(suite.cluster, "dense-all")).dense, true);
    assert.equal((await ingest("dense-all", { "document.dense": false })).skipped, 5);
    await assert.rejects(ingest("dense-without"), {
      code: "index_invalid",
      message: /document.dense: the index has "false", this command "true"/,
    });
    const tiny = testConfig({ ...suite.config, "model.path": testConfig()["model.path"] });
    const encoder = await openEncoder(tiny);
    try {
      const config = { ...suite.config, "document.dense": true };
      const file = suite.write("tiny.ndjson", DOCUMENTS);
      await assert.rejects(suite.ingest("dense-tiny", [file], { config, encoder }), {
        code: "model_mismatch",
        message: /gives none/,
      });
      await assert.rejects(encoder.encodeDocuments(["a"], { dense: true }), {
        code: "model_mismatch",
      });
    } finally {
      await encoder.close();
    }
    await assert.rejects(ingest("dense-nested", { "ingest.passages": "nested" }), {
      code: "index_invalid",
    });
  });

  it("are found where they are kept out of the source, and where passages are documents", async () => {
    await ingest("dense-lean", { "document.store_vectors": false });
    assert.deepEqual(new Set((await storedIn("dense-lean")).values()), new Set([undefined]));
    const options = { technique: "min_max", weights: [0, 0, 1] } as const;
    assert.equal((await ask("dense-lean", options)).hits[0]!.id, "stars");
    await ingest("dense-passages", { "ingest.passages": "documents" });
    const { hits } = await ask("dense-passages", options);
    assert.equal(hits[0]!.id, "stars#0");
    const parents = hits.map(({ collapsed_by }) => collapsed_by);
    assert.equal(new Set(parents).size, parents.length, "a document is found once");
  });

  it("are carried, verified and made anew by a reindexing as terms are", async () => {
    await fill(suite.cluster, "dense-source", DOCUMENTS);
    const what = { from: ["dense-source"], alias: "dense-search" };
    const first = await runs.run(what);
    assert.deepEqual(
      [first.state, first.encoded, first.verification?.ok, first.verification?.differing],
      ["done", 5, true, 0],
    );
    const again = await runs.run(what);
    assert.deepEqual([again.state, again.encoded, again.reused], ["done", 0, 5]);
    assert.equal((await storedIn("dense-search-v2")).get("stars")!.length, 384);
    const bare = await runs.run(what, { config: { ...runs.config, "document.dense": false } });
    assert.deepEqual([bare.state, bare.encoded, bare.reused], ["done", 5, 0]);
    assert.equal((await storedIn("dense-search-v3")).get("stars"), undefined);
  });

  it("come in place to an index that was made for them, and to no other", async () => {
    const follow = (index: string) =>
      followIndex({
        config: { ...suite.config, "document.dense": true },
        cluster: suite.cluster,
        encoder: suite.encoder,
        index,
        once: true,
        signal: new AbortController().signal,
      });
    await fill(suite.cluster, "dense-plain", DOCUMENTS);
    await assert.rejects(follow("dense-plain"), { code: "index_invalid", message: /index\.knn/ });
    const settings = { "index.knn": true, "index.knn.derived_source.enabled": false };
    const make = { method: "PUT", path: "/dense-made", body: { settings } } as const;
    await suite.cluster.demand(make, "Making an index for dense vectors");
    await fill(suite.cluster, "dense-made", DOCUMENTS);
    assert.equal((await follow("dense-made")).encoded, 5);
    assert.equal((await storedIn("dense-made")).get("stars")!.length, 384);
    assert.equal((await ask("dense-made")).hits.length, 4);
  });
});
