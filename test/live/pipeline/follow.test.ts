import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { pathOf } from "../../../src/cluster/request.js";
import type { Config } from "../../../src/config/settings.js";
import type { Encoder } from "../../../src/encoder/encoder.js";
import { readIndexModel } from "../../../src/index/csplade-index.js";
import {
  followIndex,
  type FollowCounts,
  type FollowOptions,
} from "../../../src/pipeline/followed-documents.js";
import { csplade } from "../../support/csplade-command.js";
import { openIngestSuite } from "../../support/ingesting.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { contentOf, fill, testDocuments } from "../../support/reindexing.js";

describe("csplade follow", function () {
  this.timeout(180_000);
  let suite: ReindexSuite;
  let cluster: Cluster;
  let config: Config;
  let encoder: Encoder;

  before(async () => {
    suite = await openReindexSuite("in-");
    ({ cluster, config, encoder } = suite);
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: "/_ingest/pipeline/in-own" });
    await suite.close();
  });

  function follow(index: string, more: Partial<FollowOptions> = {}): Promise<FollowCounts> {
    const { signal } = new AbortController();
    return followIndex({ config, cluster, encoder, index, once: true, signal, ...more });
  }

  const put = (path: string, body: object) =>
    cluster.demand({ method: "PUT", path, body }, "Writing");
  const post = (path: string, body: object | string) =>
    cluster.demand({ method: "POST", path, body }, "Writing");

  async function vectorOf(index: string, id: string): Promise<Record<string, unknown>> {
    const found = (await contentOf(cluster, index, { vectors: true })).get(id);
    return found ?? {};
  }

  it("gives an index that is there already its vectors, and each document a new one when its text changes", async () => {
    await put("/in-plain", {
      mappings: { _meta: { owner: "shop" }, properties: { round: { type: "short" } } },
    });
    await fill(cluster, "in-plain", [
      ...testDocuments(60),
      { id: "blank", title: " ", text: "" },
      { id: "wrong", text: 17 },
    ]);
    const first = await follow("in-plain");
    assert.deepEqual([first.encoded, first.overtaken, first.refused], [60, 0, 2]);
    assert.deepEqual(
      first.failures.map(({ code, count, example }) => [code, count, example.id]).sort(),
      [
        ["document_no_text", 1, "blank"],
        ["document_wrong_type", 1, "wrong"],
      ],
    );
    const info = await readIndexModel(cluster, "in-plain");
    assert.equal(info.model.fingerprint, encoder.manifest.fingerprint);
    const mapping = (await cluster.demand(
      { method: "GET", path: "/in-plain/_mapping" },
      "Looking",
    )) as Record<
      string,
      { mappings: { _meta: { owner: string }; properties: Record<string, { type?: string }> } }
    >;
    const { _meta, properties = {} } = mapping["in-plain"]?.mappings ?? {};
    assert.equal(_meta?.owner, "shop");
    // A nested field would make every search on the vectors slower.
    assert.ok(Object.values(properties).every(({ type }) => type !== "nested"));
    assert.deepEqual(
      [properties.round?.type, properties.csplade?.type],
      ["short", "rank_features"],
    );
    assert.equal((await vectorOf("in-plain", "blank")).csplade_refused, "document_no_text");
    assert.equal((await vectorOf("in-plain", "wrong")).csplade_refused, "document_wrong_type");
    const before = await vectorOf("in-plain", "d7");
    assert.ok(Object.keys(before.csplade as object).length > 0);

    assert.equal((await follow("in-plain")).encoded, 0);
    await fill(cluster, "in-plain", [
      ...testDocuments(1, 1, 7),
      { id: "blank", title: "", text: "a text after all" },
    ]);
    assert.equal((await vectorOf("in-plain", "d7")).csplade, undefined, "no vector of an old text");
    const second = await follow("in-plain");
    assert.deepEqual([second.encoded, second.refused], [2, 0]);
    const after = await vectorOf("in-plain", "d7");
    assert.notDeepEqual(after.csplade, before.csplade);
    assert.equal(after.round, 1);
    assert.equal((await vectorOf("in-plain", "blank")).csplade_refused, undefined);
  });

  it("never overwrites what an application wrote while a document was being encoded", async () => {
    await fill(cluster, "in-race", testDocuments(30));
    const slow: Encoder = {
      ...encoder,
      async encodeDocuments(texts, options) {
        const encoded = await encoder.encodeDocuments(texts, options);
        if (texts.some((text) => text.includes("number 3 in round 0"))) {
          await fill(cluster, "in-race", testDocuments(1, 1, 3));
          await cluster.send({ method: "DELETE", path: "/in-race/_doc/d4" });
        }
        return encoded;
      },
    };
    const counts = await follow("in-race", { encoder: slow });
    assert.equal(counts.overtaken, 2);
    const content = await contentOf(cluster, "in-race", { vectors: true });
    assert.equal(content.has("d4"), false, "a deleted document stays deleted");
    assert.equal(content.get("d3")?.round, 1);
    assert.equal(content.size, 29);
    assert.ok([...content.values()].every(({ csplade }) => csplade !== undefined));
  });

  it("goes on as documents come, until it is stopped", async () => {
    await fill(cluster, "in-live", testDocuments(5));
    const stop = new AbortController();
    const running = follow("in-live", { once: false, signal: stop.signal });
    const missing = async () =>
      [...(await contentOf(cluster, "in-live", { vectors: true })).values()].filter(
        ({ csplade }) => csplade === undefined,
      ).length;
    while ((await missing()) > 0) await sleep(200);
    await fill(cluster, "in-live", testDocuments(20, 1, 3));
    while ((await missing()) > 0) await sleep(200);
    stop.abort();
    assert.equal((await running).encoded, 25);
  });

  it("takes routing, partial updates of one document, and passages in nested mode along", async () => {
    await put("/in-nested", { settings: { index: { number_of_shards: 3 } } });
    const long = { title: "long", text: "many words of a story ".repeat(120) };
    await cluster.demand(
      {
        method: "PUT",
        path: "/in-nested/_doc/a",
        query: { routing: "x", refresh: true },
        body: long,
      },
      "Writing",
    );
    const nested: Config = { ...config, "ingest.passages": "nested" };
    assert.equal((await follow("in-nested", { config: nested })).encoded, 1);
    const passages = (await vectorOf("in-nested", "a")).csplade_passages as unknown[];
    assert.ok(passages.length > 1);
    assert.equal((await contentOf(cluster, "in-nested")).size, 1, "not written to another shard");
    await cluster.demand(
      {
        method: "POST",
        path: "/in-nested/_update/a",
        query: { routing: "x", refresh: true },
        body: { doc: { text: "short" } },
      },
      "Updating",
    );
    const counts = await follow("in-nested", { config: nested });
    assert.equal(counts.encoded, 1, "the vector of another text was replaced");
    await post(
      "/in-nested/_bulk",
      `{"update":{"_id":"a","routing":"x"}}\n{"doc":{"text":"another text"}}\n`,
    );
    const bulk = await follow("in-nested", { config: nested });
    assert.equal(bulk.encoded, 1, "update actions of bulk requests are seen too");
    await post(
      "/in-nested/_bulk",
      `{"update":{"_id":"a","routing":"x"}}\n{"doc":{"price":1.50}}\n`,
    );
    const other = await follow("in-nested", { config: nested });
    assert.equal(other.encoded, 0, "the text is the same");
    await assert.rejects(follow("in-nested"), { code: "index_invalid" });
  });

  it("encodes what an application changes in an index that an ingest made, by a single update too", async () => {
    const files = await openIngestSuite("in-ingested");
    try {
      const index = "in-ingested";
      const texts = [0, 1, 2].map((i) => ({ _id: `d${i}`, text: `the text of number ${i}` }));
      const file = files.write("in-ingested.ndjson", texts);
      assert.equal((await files.ingest(index, [file])).written, 3);
      const before = await vectorOf(index, "d1");
      await post(`/${index}/_update/d1?refresh=true`, { doc: { text: "of something else" } });
      const updated = await vectorOf(index, "d1");
      assert.equal(updated.csplade_hash, undefined, "the vector is known to be of another text");
      assert.equal((await follow(index)).encoded, 1);
      const after = await vectorOf(index, "d1");
      assert.equal(after.text, "of something else");
      assert.notDeepEqual(after.csplade, before.csplade);
      const [encoded] = await encoder.encodeDocuments(["of something else"]);
      const { ids } = encoded!.passages[0]!.vector;
      const stored = Object.keys(after.csplade as object);
      assert.ok(stored.length > 0 && stored.every((id) => ids.includes(Number(id))));
      assert.equal((await follow(index)).encoded, 0);
      // The file's own text is written again, not taken for unchanged.
      const again = await files.ingest(index, [file]);
      assert.deepEqual([again.written, again.skipped], [1, 2]);
      assert.equal((await vectorOf(index, "d1")).text, texts[1]!.text);
    } finally {
      await files.close();
    }
  });

  it("gives the index no pipeline, so that what applications write keeps its bytes, and leaves theirs alone", async () => {
    const processors = [{ set: { field: "seen", value: true } }];
    await put("/_ingest/pipeline/in-own", { processors });
    await put("/in-piped", { settings: { index: { default_pipeline: "in-own" } } });
    await fill(cluster, "in-piped", testDocuments(3));
    assert.equal((await follow("in-piped")).encoded, 3);
    const found = await vectorOf("in-piped", "d1");
    assert.ok(found.seen === true && found.csplade !== undefined);

    // As an earlier version left it.
    const mark = { processors: [{ remove: { field: ["csplade"], ignore_missing: true } }] };
    await put("/_ingest/pipeline/csplade-mark", mark);
    await put("/in-bytes", { settings: { index: { default_pipeline: "csplade-mark" } } });
    const text = '{"z":1,"text":"digits","d":0.12345678901234567891,"n":9007199254740993,"e":1E+2}';
    const own = async () =>
      await cluster.demandText({ method: "GET", path: "/in-bytes/_source/1" }, "test");
    await follow("in-bytes");
    const answer = await fetch(`${cluster.url}/in-bytes/_doc/1`, {
      method: "PUT",
      body: text,
      headers: { "content-type": "application/json" },
    });
    assert.equal(answer.status, 201);
    assert.equal(await own(), text);
    assert.equal((await follow("in-bytes")).encoded, 1);
    assert.ok((await own()).startsWith(text.slice(0, -1)));
    await cluster.send({ method: "DELETE", path: "/_ingest/pipeline/csplade-mark" });
  });

  it("goes on where it stopped, and begins anew in an index that was made again", async () => {
    const read: string[] = [];
    const watched: Cluster = {
      ...cluster,
      async demandText(request, doing) {
        const answer = await cluster.demandText(request, doing);
        for (const [, id = ""] of answer.matchAll(/"_id":"(\w+)"/g)) read.push(id);
        return answer;
      },
    };
    await fill(cluster, "in-again", testDocuments(40));
    assert.equal((await follow("in-again")).encoded, 40);
    await fill(cluster, "in-again", testDocuments(1, 1, 7));
    assert.equal((await follow("in-again", { cluster: watched })).encoded, 1);
    assert.deepEqual([...new Set(read)], ["d7"], "nothing else is read");
    await cluster.demand({ method: "DELETE", path: "/in-again" }, "test");
    await fill(cluster, "in-again", testDocuments(2));
    assert.equal((await follow("in-again")).encoded, 2);
  });

  it("refuses an index whose documents it could not write back whole, and says what they lack", async () => {
    const cases: [name: string, body: object, message: RegExp][] = [
      [
        "excluded",
        { mappings: { _source: { excludes: ["secret"] } } },
        /_source\.excludes: secret/,
      ],
      ["included", { mappings: { _source: { includes: ["text"] } } }, /_source\.includes: text/],
      ["off", { mappings: { _source: { enabled: false } } }, /keeps no _source/],
      [
        "copied",
        {
          mappings: {
            properties: {
              headline: { type: "text", copy_to: ["text"] },
              lead: { properties: { long: { type: "text", copy_to: "text" } } },
              text: { type: "text" },
            },
          },
        },
        /text .*copy_to from headline, lead\.long/,
      ],
    ];
    for (const [name, body, message] of cases) {
      const index = `in-partial-${name}`;
      await put(`/${index}`, body);
      const document = { secret: "zebra", headline: "h", lead: { long: "l" } };
      await put(`/${index}/_doc/1?refresh=true`, document);
      await assert.rejects(follow(index), message);
      const { settings } = Object.values(
        (await cluster.demand({ method: "GET", path: `/${index}` }, "Looking")) as Record<
          string,
          { settings: { index: object } }
        >,
      )[0] as { settings: { index: object } };
      assert.ok(!Object.hasOwn(settings.index, "default_pipeline"), "nothing was changed");
    }
  });

  it("refuses what is not there, several indices at once, and an index of another model", async () => {
    await assert.rejects(follow("in-none"), { code: "index_not_found" });
    await fill(cluster, "in-one", testDocuments(1));
    await fill(cluster, "in-two", testDocuments(1));
    await post("/_aliases", { actions: [{ add: { index: "in-*", alias: "in-many" } }] });
    await assert.rejects(follow("in-many"), { code: "index_invalid" });
    await follow("in-one");
    const other = {
      ...encoder,
      manifest: { ...encoder.manifest, fingerprint: "0123456789abcdef" },
    };
    await assert.rejects(follow("in-one", { encoder: other }), { code: "model_mismatch" });
  });

  it("is a command", async () => {
    await fill(cluster, "in-command", [...testDocuments(10), { id: "blank", text: " " }]);
    const ended = await csplade(["follow", "in-command", "--once", "--json"], {
      env: {
        CSPLADE_MODEL: config["model.path"],
        CSPLADE_THREADS: "1",
        OPENSEARCH_URL: config["opensearch.url"],
      },
    });
    assert.equal(ended.status, 3, ended.output);
    const { index, encoded, refused } = JSON.parse(
      ended.output.split("\n").find((line) => line.startsWith("{")) ?? "",
    ) as FollowCounts;
    assert.deepEqual([index, encoded, refused], ["in-command", 10, 1]);
    const path = pathOf("in-command", "_doc", "d1");
    const { body } = await cluster.send({ method: "GET", path });
    assert.ok((body as { _source: { csplade?: object } })._source.csplade !== undefined);
  });
});
