import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathOf } from "../../../src/cluster/request.js";
import type { SettingName } from "../../../src/config/settings.js";
import { readIndexModel } from "../../../src/index/csplade-index.js";
import { openIngestSuite, type IngestSuite } from "../../support/ingesting.js";
import { contentOf } from "../../support/reindexing.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const ASKED = {
  "ingest.id_field": "sku",
  "ingest.text_fields": ["name", "body"],
  "ingest.passages": "documents",
  "document.prune_type": "top_k",
  "document.prune_ratio": 5,
};

describe("the identity of documents", function () {
  this.timeout(120_000);
  let suite: IngestSuite;
  before(async () => {
    suite = await openIngestSuite("identity-");
  });
  after(() => suite.close());

  function ingest(
    index: string,
    lines: readonly object[],
    flags: Partial<Record<SettingName, unknown>> = {},
    fromDeadLetters = false,
  ) {
    const config = testConfig({
      home: suite.folder,
      "opensearch.url": testServers().opensearchUrl,
      "redis.url": testServers().redisUrl,
      ...flags,
    });
    const file = suite.write(`${index}.ndjson`, lines);
    return suite.ingest(index, [file], { config, fromDeadLetters });
  }

  const product = (sku: string, body = "some words of a text") => ({ sku, name: "A name", body });
  const isThere = async (index: string) =>
    (await suite.cluster.send({ method: "HEAD", path: pathOf(index) })).status === 200;

  it("is recorded by the index, used by a command that leaves it out, and refuses another with both values", async () => {
    const index = "identity-recorded";
    await ingest(index, [product("a")], ASKED);
    const { id_field, text_fields, passages, pruning } = await readIndexModel(suite.cluster, index);
    assert.deepEqual(
      { id_field, text_fields, passages, pruning },
      {
        id_field: "sku",
        text_fields: ["name", "body"],
        passages: "documents",
        pruning: { prune_type: "top_k", prune_ratio: 5, quantize_bits: 9 },
      },
    );
    assert.equal((await ingest(index, [product("a")])).skipped, 1);
    assert.equal(
      (await ingest(index, [product("a", "other words of it"), product("b")])).written,
      2,
    );
    const stored = await contentOf(suite.cluster, index, { vectors: true });
    assert.deepEqual([...stored.keys()].sort(), ["a#0", "b#0"]);
    for (const { csplade } of stored.values()) {
      assert.equal(Object.keys(csplade as object).length, 5, "pruned as the index says");
    }
    const cases: [Partial<Record<SettingName, unknown>>, RegExp][] = [
      [{ "ingest.id_field": "url" }, /id_field: the index has "sku", this command "url"/],
      [{ "ingest.text_fields": ["name"] }, /has "name,body", this command "name"/],
      [{ "ingest.passages": "nested" }, /has "documents", this command "nested"/],
      [
        { "document.prune_type": "max_ratio", "document.prune_ratio": 0.2 },
        /has "top_k 5, 9 bits", this command "max_ratio 0.2, 9 bits"/,
      ],
    ];
    for (const [flags, message] of cases) {
      const line = { ...product("c"), url: "c" };
      await assert.rejects(ingest(index, [line], flags), { code: "index_invalid", message });
    }
  });

  it("leaves no index behind of which nothing could be written, and an empty one takes it anew", async () => {
    const index = "identity-empty";
    const put = (body: object) =>
      suite.cluster.demand({ method: "PUT", path: pathOf(index), body }, "test");
    const line = (n: unknown) => ({ text: "words", body: "other words", n });
    // Ten fail where they are written.
    const bad = Array.from({ length: 10 }, () => line(1)).map((each, i) => ({
      ...each,
      csplade: i,
    }));
    const failed = await ingest(index, bad.slice(0, 1).concat(bad));
    assert.deepEqual([failed.written, failed.failed], [0, 11]);
    assert.equal(await isThere(index), false);
    await put({ mappings: { properties: { n: { type: "integer" } } } });
    const words = [line("no number"), line("nor this")];
    assert.equal((await ingest(index, words, { "ingest.text_fields": ["text"] })).failed, 2);
    assert.equal(await isThere(index), true, "it was somebody else's");
    assert.deepEqual((await readIndexModel(suite.cluster, index)).text_fields, ["text"]);
    const taken = await ingest(index, [line(1)], { "ingest.text_fields": ["body"] });
    assert.equal(taken.written, 1);
    assert.deepEqual((await readIndexModel(suite.cluster, index)).text_fields, ["body"]);
  });

  it("is noted by dead letters, and a replay uses it, also where the index is gone", async () => {
    const index = "identity-replayed";
    const bad = { ...product("a"), csplade: "a name of ours" };
    assert.equal((await ingest(index, [bad], ASKED)).failed, 1);
    assert.equal(await isThere(index), false);
    const [letter] = readFileSync(suite.lettersOf(index), "utf8").trim().split("\n");
    const { identity, format } = JSON.parse(letter!) as { identity: object; format: string };
    assert.deepEqual(identity, {
      id_field: "sku",
      text_fields: ["name", "body"],
      title_field: "title",
      passages: "documents",
      pruning: { prune_type: "top_k", prune_ratio: 5, quantize_bits: 9 },
    });
    assert.equal(format, "ndjson");
    const mended = [JSON.parse(letter!.replaceAll("csplade", "ours")) as object];
    await assert.rejects(ingest(index, mended, { "ingest.id_field": "url" }, true), {
      code: "config_invalid",
      message: /"sku".*"url"/,
    });
    await assert.rejects(ingest(index, mended, { "ingest.text_fields": ["body"] }, true), {
      code: "config_invalid",
      message: /"name,body".*"body"/,
    });
    assert.equal((await ingest(index, mended, {}, true)).written, 1);
    assert.deepEqual([...(await contentOf(suite.cluster, index)).keys()], ["a#0"]);
    const { text_fields, pruning } = await readIndexModel(suite.cluster, index);
    assert.deepEqual(text_fields, ["name", "body"]);
    assert.equal(pruning?.prune_type, "top_k");
  });
});
