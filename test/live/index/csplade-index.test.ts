import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { packageRoot } from "../../../src/config/package-root.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import {
  deleteIndex,
  ensureIndex,
  readIndexModel,
  refreshIndex,
} from "../../../src/index/csplade-index.js";
import { indexStats } from "../../../src/index/index-stats.js";
import { startTestOpenSearch, type TestOpenSearch } from "../../support/servers.js";
import { testCluster, testIndexRequest, testModel } from "../../support/test-index.js";

const modelB = testModel("model-b", "bbbbbbbbbbbbbbbb");

function fileOf(name: string): string {
  return readFileSync(path.join(packageRoot, name), "utf8");
}

async function errorOf(work: Promise<unknown>): Promise<CspladeError> {
  try {
    await work;
  } catch (thrown) {
    assert(thrown instanceof CspladeError, String(thrown));
    return thrown;
  }
  throw new Error("it should have failed");
}

for (const version of ["3.6.0", "2.19.1"] as const) {
  describe(`index on a real OpenSearch ${version}`, function () {
    this.timeout(600_000); // the first run on a machine downloads 2.19.1
    let cluster: Cluster;
    const made: string[] = [];
    const request = (changes: Parameters<typeof testIndexRequest>[0] = {}) => {
      const asked = testIndexRequest(changes);
      made.push(asked.name);
      return asked;
    };
    const get = async (resource: string) =>
      (await cluster.demand({ method: "GET", path: resource }, "test")) as Record<string, never>;

    let server: TestOpenSearch | undefined;
    before(async () => {
      if (version !== "3.6.0") server = await startTestOpenSearch(version);
      cluster = testCluster(server?.url);
    });
    after(async () => {
      for (const name of made) await deleteIndex(cluster, name);
      await cluster.close();
      await server?.stop();
    });

    it("is created once, however many workers start at the same time", async () => {
      const asked = request();
      const infos = await Promise.all(Array.from({ length: 8 }, () => ensureIndex(cluster, asked)));
      assert.equal(infos.filter(({ created }) => created).length, 1);
      for (const info of infos) assert.deepEqual(info.model, asked.model);
    });

    it("keeps its model, its passages and its fields in the mapping", async () => {
      const asked = request({
        passages: "nested",
        text_fields: ["headline", "body.full"],
        title_field: "headline",
      });
      await ensureIndex(cluster, asked);
      const read = await readIndexModel(cluster, asked.name);
      assert.deepEqual(read, {
        name: asked.name,
        indices: [asked.name],
        created: false,
        guard: "default_pipeline",
        model: asked.model,
        passages: "nested",
        text_fields: ["headline", "body.full"],
        title_field: "headline",
      });
      const { mappings } = (await get(`/${asked.name}`))[asked.name] as unknown as {
        mappings: {
          properties: Record<string, { type?: string; analyzer?: string; properties?: object }>;
        };
      };
      const fields = mappings.properties;
      assert.equal(fields.csplade?.type, "rank_features");
      assert.equal(fields.headline?.analyzer, "english");
      assert.deepEqual(fields.body?.properties, { full: { type: "text", analyzer: "english" } });
      assert.equal(fields.text, undefined);
    });

    it("takes as many shards and replicas as asked for, else no replica on a single node", async () => {
      const asked = request({ shards: 3, replicas: 2 });
      const plain = request();
      await ensureIndex(cluster, asked);
      await ensureIndex(cluster, plain);
      const settings = async (name: string) =>
        (
          (await get(`/${name}/_settings`))[name] as unknown as {
            settings: { index: Record<string, string> };
          }
        ).settings.index;
      assert.deepEqual(
        [
          (await settings(asked.name)).number_of_shards,
          (await settings(asked.name)).number_of_replicas,
        ],
        ["3", "2"],
      );
      assert.equal((await settings(plain.name)).number_of_replicas, "0");
    });

    for (const kind of ["_index_template", "_template"] as const) {
      it(`keeps the default pipeline and the shards that an index template names (${kind})`, async () => {
        const pipeline = "/_ingest/pipeline/templates-own";
        const processors = [{ set: { field: "seen", value: true } }];
        const put = (path: string, body: object) =>
          cluster.demand({ method: "PUT", path, body }, "test");
        await put(pipeline, { description: "theirs", processors });
        const asked = request();
        const copied = request({ inherit: { mappings: {} } });
        const settings = { default_pipeline: "templates-own", number_of_shards: 2 };
        const index_patterns = [asked.name, copied.name];
        const template = kind === "_template" ? { settings } : { template: { settings } };
        const path = `/${kind}/templates-own`;
        await put(path, { index_patterns, ...template });
        try {
          const made = await ensureIndex(cluster, asked);
          const copy = await ensureIndex(cluster, copied);
          const found = (await get(`/${asked.name},${copied.name}/_settings`)) as Record<
            string,
            { settings: { index: Record<string, string> } }
          >;
          const of = (name: string) => {
            const index = found[name]?.settings.index;
            const { default_pipeline, final_pipeline, number_of_shards } = index ?? {};
            return [default_pipeline, final_pipeline, number_of_shards];
          };
          const guard = `csplade-guard-${asked.model.fingerprint}-final`;
          assert.deepEqual(of(asked.name), ["templates-own", guard, "2"]);
          // What is copied went through the pipelines of its source, and keeps its bytes.
          assert.deepEqual(of(copied.name), ["templates-own", undefined, "2"]);
          assert.deepEqual([made.guard, copy.guard], [undefined, "default_pipeline"]);
        } finally {
          await cluster.send({ method: "DELETE", path });
          for (const name of index_patterns) await deleteIndex(cluster, name);
          await cluster.send({ method: "DELETE", path: pipeline });
        }
      });
    }

    it("refuses another model with a sentence that names both", async () => {
      const asked = request();
      await ensureIndex(cluster, asked);
      const error = await errorOf(ensureIndex(cluster, { ...asked, model: modelB }));
      assert.equal(error.code, "model_mismatch");
      assert.equal(
        error.message,
        `The index ${asked.name} holds vectors of the model model-a (fingerprint aaaaaaaaaaaaaaaa), ` +
          "but the model in use is model-b (fingerprint bbbbbbbbbbbbbbbb): their weights cannot be compared.",
      );
      assert.match(error.hint ?? "", /csplade reindex/);
    });

    it("refuses passages kept another way", async () => {
      const asked = request();
      await ensureIndex(cluster, asked);
      const error = await errorOf(ensureIndex(cluster, { ...asked, passages: "documents" }));
      assert.equal(error.code, "index_invalid");
      assert.match(
        error.message,
        /keeps passages as "merged", but ingest\.passages is "documents"/,
      );
    });

    for (const name of ["Upper", "a b", "a,b", "a*", "_all", "-a", "..", ""]) {
      it(`refuses "${name}" as a name`, async () => {
        assert.equal(
          (await errorOf(ensureIndex(cluster, request({ name })))).code,
          "index_invalid",
        );
        assert.equal((await errorOf(deleteIndex(cluster, name))).code, "index_invalid");
        made.pop();
      });
    }

    it("is read through an alias, whose indices must be of one model", async () => {
      const [a, b, c] = [request(), request(), request({ model: modelB })];
      for (const asked of [a, b, c]) await ensureIndex(cluster, asked);
      const alias = `${a.name}-alias`;
      const add = (index: string) =>
        cluster.demand({ method: "PUT", path: `/${index}/_alias/${alias}` }, "test");
      await add(a.name);
      await add(b.name);
      const read = await readIndexModel(cluster, alias);
      assert.deepEqual(read.indices, [a.name, b.name].sort());
      const several = await errorOf(ensureIndex(cluster, { ...a, name: alias }));
      assert.equal(several.code, "index_invalid");
      assert.match(several.message, /cannot be written to: it leads to several indices/);
      await add(c.name);
      const error = await errorOf(readIndexModel(cluster, alias));
      assert.equal(error.code, "model_mismatch");
      assert.match(
        error.message,
        /model-a \(fingerprint a{16}\).*model-b \(fingerprint b{16}\)|model-b.*model-a/,
      );
    });

    it("says so when an index is missing or has no vectors", async () => {
      const missing = await errorOf(readIndexModel(cluster, "test-not-there"));
      assert.equal(missing.code, "index_not_found");
      const asked = request();
      await cluster.demand({ method: "PUT", path: `/${asked.name}`, body: {} }, "test");
      const plain = await errorOf(readIndexModel(cluster, asked.name));
      assert.equal(plain.code, "index_invalid");
      assert.match(plain.message, /has no CSPLADE vectors/);
    });

    it("takes over an empty index made from mappings/index.json with curl, but none with documents", async () => {
      const asked = request();
      const body = JSON.parse(fileOf("mappings/index.json")) as object;
      await cluster.demand({ method: "PUT", path: `/${asked.name}`, body }, "test");
      assert.equal((await ensureIndex(cluster, asked)).created, true);
      assert.deepEqual((await readIndexModel(cluster, asked.name)).model, asked.model);
      await assert.rejects(
        write(asked.name, "1", { csplade: { 1: 1 }, csplade_model: "other" }),
        /must not mix/,
      );

      const foreign = request();
      await write(foreign.name, "1", { text: "somebody else's" });
      const error = await errorOf(ensureIndex(cluster, foreign));
      assert.equal(error.code, "index_invalid");
      assert.match(error.message, /has 1 documents but no CSPLADE model/);
    });

    it("has nested documents only where passages are nested: elsewhere they would slow every search", async () => {
      for (const passages of ["merged", "documents", "nested"] as const) {
        const asked = request({ passages });
        await ensureIndex(cluster, asked);
        const answer = (await cluster.demand(
          { method: "GET", path: `/${asked.name}/_mapping` },
          "test",
        )) as Record<string, { mappings: { properties: Record<string, { type?: string }> } }>;
        const types = Object.values(answer[asked.name]!.mappings.properties).map(
          ({ type }) => type,
        );
        assert.equal(types.includes("nested"), passages === "nested");
      }
    });

    it("takes over an empty index made from both mapping files for nested passages", async () => {
      const asked = request({ passages: "nested" });
      const put = (path: string, file: string) =>
        cluster.demand({ method: "PUT", path, body: JSON.parse(fileOf(file)) as object }, "test");
      await put(`/${asked.name}`, "mappings/index.json");
      await put(`/${asked.name}/_mapping`, "mappings/nested-passages.json");
      assert.equal((await ensureIndex(cluster, asked)).created, true);
    });

    it("does not take over an index whose vector field was mapped by guessing", async () => {
      const asked = request();
      await write(asked.name, "1", { csplade: { 17: 1.5 } });
      await cluster.demand({ method: "DELETE", path: `/${asked.name}/_doc/1` }, "test");
      const error = await errorOf(ensureIndex(cluster, asked));
      assert.match(error.message, /mapped as object, not as rank_features/);
    });

    it("installs the guard file as users install it", async () => {
      const text = fileOf("pipelines/csplade-guard.json").replaceAll(
        "FINGERPRINT",
        "cccccccccccccccc",
      );
      const name = "/_ingest/pipeline/csplade-guard-cccccccccccccccc";
      const body = JSON.parse(text.replaceAll("MODEL_NAME", "mine")) as object;
      await cluster.demand({ method: "PUT", path: name, body }, "test");
      await cluster.demand({ method: "DELETE", path: name }, "test");
    });

    it("lets no vector of another model in, whoever writes it and however", async () => {
      const asked = request();
      await ensureIndex(cluster, asked);
      const { fingerprint } = asked.model;
      await write(asked.name, "ours", { csplade: { 1: 1 }, csplade_model: fingerprint });
      await write(asked.name, "none", { text: "a document without vectors may be written" });
      const foreign = [
        { csplade: { 1: 1 } },
        { csplade: { 1: 1 }, csplade_model: modelB.fingerprint },
        { csplade_passages: [{ csplade: { 1: 1 } }], csplade_model: modelB.fingerprint },
        { csplade: { 1: 1 }, csplade_model: [fingerprint, modelB.fingerprint] },
      ];
      for (const document of foreign) {
        await assert.rejects(
          write(asked.name, "foreign", document),
          /vectors of the model model-a \(fingerprint a{16}\), but the document foreign .*must not mix/,
        );
      }
      // Updates: pipelines do not see those of bulk requests, the mapping does.
      const bulk = [{ update: { _index: asked.name, _id: "ours" } }, { doc: foreign[1] }];
      const updated = await cluster.send({
        method: "POST",
        path: "/_bulk",
        body: bulk.map((line) => `${JSON.stringify(line)}\n`).join(""),
      });
      assert.match(JSON.stringify(updated.body), /"errors":true.*csplade_model/);
      await assert.rejects(update(asked.name, "ours", foreign[1] ?? {}), /must not mix/);
      // Copied inside the cluster, without csplade.
      const other = request({ model: modelB });
      await ensureIndex(cluster, other);
      await write(other.name, "b", { csplade: { 1: 1 }, csplade_model: modelB.fingerprint });
      await refreshIndex(cluster, other.name);
      const copied = await cluster.send({
        method: "POST",
        path: "/_reindex",
        body: { source: { index: other.name }, dest: { index: asked.name } },
      });
      assert.match(JSON.stringify(copied.body), /must not mix/);
      assert.equal((await indexStats(cluster, asked.name)).documents, 2);
    });

    it("keeps vectors through updates and _reindex", async () => {
      const [asked, copy] = [request(), request()];
      await ensureIndex(cluster, asked);
      await ensureIndex(cluster, copy);
      await write(asked.name, "1", { csplade: { 7: 2 }, csplade_model: asked.model.fingerprint });
      await update(asked.name, "1", { year: 2025 });
      await refreshIndex(cluster, asked.name);
      await cluster.demand(
        {
          method: "POST",
          path: "/_reindex",
          query: { refresh: true },
          body: { source: { index: asked.name }, dest: { index: copy.name } },
        },
        "test",
      );
      assert.equal(await hits(asked.name, "csplade.7"), 1);
      assert.equal(await hits(copy.name, "csplade.7"), 1);
    });

    it("without vectors in _source: still searchable, and no copy loses its vector unnoticed", async () => {
      const [asked, copy] = [request({ store_vectors: false }), request()];
      await ensureIndex(cluster, asked);
      await ensureIndex(cluster, copy);
      await write(asked.name, "1", {
        text: "t",
        csplade: { 7: 2 },
        csplade_model: asked.model.fingerprint,
      });
      await refreshIndex(cluster, asked.name);
      assert.equal(await hits(asked.name, "csplade.7"), 1);
      const stored = (await get(`/${asked.name}/_doc/1`))._source as unknown as object;
      assert.deepEqual(Object.keys(stored).sort(), ["csplade_model", "text"]);
      const copied = await cluster.send({
        method: "POST",
        path: "/_reindex",
        body: { source: { index: asked.name }, dest: { index: copy.name } },
      });
      assert.match(JSON.stringify(copied.body), /brings no vector/);
      await assert.rejects(update(asked.name, "1", { year: 2025 }), /brings no vector/);
      assert.equal(await hits(asked.name, "csplade.7"), 1);
    });

    it("takes the hash off what others write, in an index of an older version too", async () => {
      const asked = request();
      await ensureIndex(cluster, asked);
      const guard = `/_ingest/pipeline/csplade-guard-${asked.model.fingerprint}`;
      const old = { processors: [{ fail: { if: "false", message: "of an older version" } }] };
      await cluster.demand({ method: "PUT", path: guard, body: old }, "test");
      await ensureIndex(cluster, asked);
      const document = { text: "t", csplade_hash: "h", csplade_text_hash: "i" };
      const own = { method: "PUT", path: `/${asked.name}/_doc/own`, body: document } as const;
      await cluster.demand({ ...own, query: { pipeline: "_none" } }, "test");
      await write(asked.name, "theirs", document);
      const stored = async (id: string) =>
        Object.keys((await get(`/${asked.name}/_doc/${id}`))._source as unknown as object).sort();
      assert.deepEqual(await stored("own"), ["csplade_hash", "csplade_text_hash", "text"]);
      assert.deepEqual(await stored("theirs"), ["text"]);
      await update(asked.name, "own", { text: "changed" });
      assert.deepEqual(await stored("own"), ["text"]);
    });

    it("puts the guard back if somebody deleted it", async () => {
      const asked = request({ model: testModel("model-d", "dddddddddddddddd") });
      await ensureIndex(cluster, asked);
      const guard = "/_ingest/pipeline/csplade-guard-dddddddddddddddd";
      // The cluster refuses to delete a pipeline in use as default, but not as final pipeline.
      await cluster.demand({ method: "DELETE", path: guard }, "test");
      await assert.rejects(write(asked.name, "1", { text: "t" }), /pipeline/);
      await ensureIndex(cluster, asked);
      await write(asked.name, "1", { text: "t" });
    });

    it("tells its size as it is now, not as it was some seconds ago", async () => {
      const asked = request({ passages: "nested" });
      await ensureIndex(cluster, asked);
      const empty = await indexStats(cluster, asked.name);
      assert.deepEqual(empty, { documents: 0, bytes: 0, segments: 0 });
      const passages = [1, 2, 3].map((n) => ({ start: n, end: n + 1, csplade: { [n]: 1 } }));
      await write(asked.name, "1", {
        csplade_passages: passages,
        csplade_model: asked.model.fingerprint,
      });
      const stats = await indexStats(cluster, asked.name);
      assert.equal(stats.documents, 1);
      assert(stats.bytes > 1_000 && stats.segments === 1, JSON.stringify(stats));
    });

    async function write(index: string, id: string, document: object): Promise<void> {
      await cluster.demand({ method: "PUT", path: `/${index}/_doc/${id}`, body: document }, "test");
    }

    async function update(index: string, id: string, doc: object): Promise<void> {
      await cluster.demand(
        { method: "POST", path: `/${index}/_update/${id}`, body: { doc } },
        "test",
      );
    }

    async function hits(index: string, field: string): Promise<number> {
      const query = { rank_feature: { field, linear: {} } };
      const answer = (await cluster.demand(
        { method: "POST", path: `/${index}/_count`, body: { query } },
        "test",
      )) as { count: number };
      return answer.count;
    }
  });
}
