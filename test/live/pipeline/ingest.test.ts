import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { pathOf } from "../../../src/cluster/request.js";
import type { Config, SettingName } from "../../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { deleteIndex } from "../../../src/index/csplade-index.js";
import { ingestFiles, type IngestSummary } from "../../../src/pipeline/ingest-files.js";
import { documents, whileWriting } from "../../support/ingesting.js";
import { testServers } from "../../support/servers.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

interface Hit {
  readonly _id: string;
  readonly _source: Record<string, unknown>;
}

describe("ingest", function () {
  this.timeout(240_000);
  let folder: string;
  let config: Config;
  let cluster: Cluster;
  let encoder: Encoder;
  let indices: string[] = [];

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-ingest-"));
    config = liveConfig();
    cluster = connectCluster(config);
    encoder = await openEncoder(config);
  });
  after(async () => {
    await encoder.close();
    await cluster.close();
    rmSync(folder, { recursive: true });
  });
  afterEach(async () => {
    for (const index of indices) await deleteIndex(cluster, index);
    indices = [];
  });

  function liveConfig(flags: Partial<Record<SettingName, unknown>> = {}): Config {
    const { opensearchUrl, redisUrl } = testServers();
    return testConfig({
      home: folder,
      "opensearch.url": opensearchUrl,
      "redis.url": redisUrl,
      "ingest.job_documents": 50,
      ...flags,
    });
  }

  function write(name: string, lines: readonly (object | string)[]): string {
    const file = path.join(folder, name);
    const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
    writeFileSync(file, text.join("\n") + "\n");
    return file;
  }

  function ingest(
    index: string,
    inputs: string[],
    more: Partial<Parameters<typeof ingestFiles>[0]> = {},
  ): Promise<IngestSummary> {
    indices.push(index);
    return ingestFiles({
      config,
      cluster,
      encoder,
      inputs,
      index,
      deadLetters: path.join(folder, `${index}-dead-letters.ndjson`),
      signal: new AbortController().signal,
      ...more,
    });
  }

  async function hitsOf(index: string, size = 10_000): Promise<Hit[]> {
    const body = (await cluster.demand(
      {
        method: "POST",
        path: `${pathOf(index)}/_search`,
        body: { size, query: { match_all: {} } },
      },
      "Reading the index back",
    )) as { hits: { hits: Hit[] } };
    return body.hits.hits;
  }

  it("leaves documents of low quality without a vector, for BM25 alone, and encodes them when that changes", async () => {
    const licence = {
      _id: "licence",
      title: "",
      text:
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this " +
        "software, without warranty of any kind. In no event shall the authors be liable for any claim.",
    };
    const prose = {
      _id: "prose",
      title: "",
      text:
        "The morning train along the river was late because a herd of cattle had wandered onto the " +
        "track near the old bridge, and the driver waited until the farmer came with his dogs.",
    };
    for (const passages of ["merged", "nested", "documents"] as const) {
      const index = `ingest-quality-${passages}`;
      const file = write("quality.ndjson", [licence, prose]);
      const with_ = (min_quality: number) => ({
        config: liveConfig({ "ingest.passages": passages, "ingest.min_quality": min_quality }),
      });
      const counts = ({ written, encoded, low_quality, skipped, failed }: IngestSummary) => ({
        written,
        encoded,
        low_quality,
        skipped,
        failed,
      });
      assert.deepEqual(counts(await ingest(index, [file], with_(0.4))), {
        written: 2,
        encoded: 1,
        low_quality: 1,
        skipped: 0,
        failed: 0,
      });
      const terms = async () => {
        const hits = await hitsOf(index);
        return Object.fromEntries(
          hits.map(({ _id, _source }) => {
            const nested = _source.csplade_passages as { csplade: object }[] | undefined;
            const vectors = nested?.map(({ csplade }) => csplade) ?? [_source.csplade ?? {}];
            const count = vectors.reduce((sum: number, one) => sum + Object.keys(one).length, 0);
            return [_id.replace(/#.*/, ""), count] as const;
          }),
        );
      };
      const found = await terms();
      assert.equal(found.licence, 0);
      assert.ok(found.prose! > 0);
      const words = (await cluster.demand(
        {
          method: "POST",
          path: `${pathOf(index)}/_search`,
          body: { query: { match: { text: "permission granted" } } },
        },
        "Searching by words",
      )) as { hits: { hits: Hit[] } };
      assert.deepEqual(
        words.hits.hits.map(({ _id }) => _id.replace(/#.*/, "")),
        ["licence"],
      );
      // Another threshold with the same outcome encodes nothing again.
      const same = counts(await ingest(index, [file], with_(0.3)));
      assert.deepEqual([same.written, same.encoded, same.skipped], [0, 0, 2]);
      const all = counts(await ingest(index, [file], with_(0)));
      assert.deepEqual([all.written, all.encoded, all.low_quality, all.skipped], [1, 1, 0, 1]);
      assert.ok((await terms()).licence! > 0);
      const back = counts(await ingest(index, [file], with_(0.4)));
      assert.deepEqual([back.written, back.encoded, back.low_quality, back.skipped], [1, 0, 1, 1]);
      assert.equal((await terms()).licence, 0);
    }
  });

  it("writes every document once with its vector, and a second run changes nothing", async () => {
    const file = write("plain.ndjson", documents(230));
    const first = await ingest("ingest-plain", [file]);
    assert.deepEqual(
      [first.read, first.encoded, first.written, first.skipped, first.failed],
      [230, 230, 230, 0, 0],
    );
    const hits = await hitsOf("ingest-plain");
    assert.equal(hits.length, 230);
    const second = await ingest("ingest-plain", [file]);
    assert.deepEqual([second.read, second.encoded, second.skipped], [230, 0, 230]);
    assert.equal((await hitsOf("ingest-plain")).length, 230);
  });

  it("encodes again what changed, and only that", async () => {
    const all = documents(60);
    await ingest("ingest-changed", [write("before.ndjson", all)]);
    all[7]!.text = "Something else altogether.";
    const again = await ingest("ingest-changed", [write("after.ndjson", all)]);
    assert.deepEqual([again.encoded, again.written, again.skipped], [1, 1, 59]);
    const changed = (await hitsOf("ingest-changed")).find((hit) => hit._id === "d7");
    assert.equal(changed?._source.text, "Something else altogether.");
  });

  it("writes again what somebody else changed, though its own document is the same", async () => {
    const all = documents(40);
    const file = write("foreign.ndjson", all);
    await ingest("ingest-foreign", [file]);
    const send = (route: string, body: object) =>
      cluster.demand({ method: "POST", path: `/ingest-foreign/${route}`, body }, "Changing a text");
    await send("_update/d3", { doc: { text: "A text of somebody else." } });
    await send("_update_by_query?refresh=true", {
      query: { term: { _id: "d5" } },
      script: { source: "ctx._source.text = 'Another text of somebody else.'" },
    });
    const again = await ingest("ingest-foreign", [file]);
    assert.deepEqual([again.encoded, again.written, again.skipped], [2, 2, 38]);
    const texts = new Map((await hitsOf("ingest-foreign")).map((hit) => [hit._id, hit._source]));
    for (const i of [3, 5]) assert.equal(texts.get(`d${i}`)?.text, all[i]!.text);
    const third = await ingest("ingest-foreign", [file]);
    assert.equal(third.skipped, 40);
  });

  it("knows its own documents behind a pipeline of the user's", async () => {
    await cluster.demand(
      {
        method: "PUT",
        path: "/_ingest/pipeline/users-own",
        body: { processors: [{ set: { field: "seen", value: true } }] },
      },
      "Installing a pipeline",
    );
    await cluster.demand(
      {
        method: "PUT",
        path: "/ingest-piped",
        body: { settings: { index: { default_pipeline: "users-own" } } },
      },
      "Making an index",
    );
    const file = write("piped.ndjson", documents(20));
    assert.equal((await ingest("ingest-piped", [file])).written, 20);
    assert.equal((await ingest("ingest-piped", [file])).skipped, 20);
    assert.equal((await hitsOf("ingest-piped"))[0]?._source.seen, true);
  });

  it("keeps bad documents as dead letters with their reasons, and replays mended ones", async () => {
    const file = write("mixed.ndjson", [
      { _id: "good", text: "a good document" },
      "{broken",
      { _id: "good", text: "the same id again" },
      { _id: "blank", text: " " },
      { _id: "odd", text: 42 },
      { _id: "clash", text: "a number field that holds a word", year: "not a number" },
      { _id: "year", text: "first comes a number", year: 1999 },
    ]);
    await cluster.demand(
      {
        method: "PUT",
        path: pathOf("ingest-mixed"),
        body: { mappings: { properties: { year: { type: "integer" } } } },
      },
      "Creating the index beforehand",
    );
    const summary = await ingest("ingest-mixed", [file]);
    assert.deepEqual([summary.read, summary.written, summary.failed], [7, 2, 5]);
    assert.ok(summary.dead_letters !== null);
    const letters = readFileSync(summary.dead_letters, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { line: number; code: string; reason: string });
    assert.deepEqual(
      letters.map(({ line, code }) => [line, code]).sort((a, b) => Number(a[0]) - Number(b[0])),
      [
        [2, "document_malformed"],
        [3, "document_duplicate"],
        [4, "document_no_text"],
        [5, "document_wrong_type"],
        [6, "document_rejected"],
      ],
    );
    const mended = readFileSync(summary.dead_letters, "utf8").replaceAll("not a number", "2001");
    const mendedFile = write("mended.ndjson", mended.trim().split("\n"));
    const replay = await ingest("ingest-mixed", [mendedFile], { fromDeadLetters: true });
    assert.equal(replay.read, 5);
    // The repeated id now stands alone, so it is taken as a newer version of that document.
    assert.equal(replay.written, 2);
    assert.equal(replay.failed, 3);
  });

  it("refuses to write into an index of another model, naming both", async () => {
    await ingest("ingest-model", [write("one.ndjson", documents(1))]);
    const echo = liveConfig({ "model.path": tinyCheckpoint("echo") });
    const other = await openEncoder(echo);
    try {
      await assert.rejects(
        ingest("ingest-model", [write("one.ndjson", documents(1))], {
          config: echo,
          encoder: other,
        }),
        (error: Error & { code?: string }) =>
          error.code === "model_mismatch" &&
          error.message.includes(encoder.manifest.fingerprint) &&
          error.message.includes(other.manifest.fingerprint),
      );
    } finally {
      await other.close();
    }
  });

  for (const passages of ["merged", "nested", "documents"] as const) {
    it(`keeps long documents as ${passages} passages, findable by their last words`, async () => {
      const filler = "Some ordinary sentence stands here to fill the pages. ".repeat(30);
      const file = write("long.ndjson", [
        { _id: "long", title: "A long one", text: `${filler} The closing word is zebra.` },
        { _id: "short", title: "A short one", text: "Nothing to see." },
      ]);
      const index = `ingest-${passages}`;
      const summary = await ingest(index, [file], {
        config: liveConfig({ "ingest.passages": passages }),
      });
      assert.deepEqual([summary.read, summary.written, summary.failed], [2, 2, 0]);
      assert.ok(summary.passages > 5);
      assert.equal(summary.truncated, 0);
      const hits = await hitsOf(index);
      if (passages === "documents") assert.ok(hits.length > 5);
      else assert.equal(hits.length, 2);
    });
  }

  it("takes hostile texts: control characters, emoji, lone surrogates, a megabyte without spaces", async () => {
    const file = write("hostile.ndjson", [
      { _id: "control", text: "nul \u0000 bell \u0007 escape \u001b" },
      { _id: "emoji", text: "👩‍🚀🏳️‍🌈 日本語 العربية" },
      '{"_id":"surrogate","text":"half a pair \\ud83d here"}',
      { _id: "endless", text: "x".repeat(1_000_000) },
    ]);
    const summary = await ingest("ingest-hostile", [file]);
    assert.deepEqual([summary.read, summary.written, summary.failed], [4, 4, 0]);
    assert.deepEqual([summary.truncated, summary.truncated_ids], [1, ["endless"]]);
  });

  async function assertWhole(index: string, count: number): Promise<void> {
    const ids = (await hitsOf(index)).map((hit) => hit._id);
    assert.equal(ids.length, count, "no document is doubled");
    assert.equal(new Set(ids).size, count, "no document is lost");
  }

  it("loses and doubles nothing when OpenSearch is killed and comes back", async () => {
    const servers = testServers();
    const file = write("kill-opensearch.ndjson", documents(4_000));
    const running = ingest("ingest-kill-opensearch", [file]);
    await whileWriting(cluster, "ingest-kill-opensearch");
    await servers.killOpenSearch();
    await sleep(1_000);
    await servers.restartOpenSearch();
    const summary = await running;
    assert.deepEqual([summary.read, summary.failed], [4_000, 0]);
    assert.equal(summary.written + summary.skipped, 4_000);
    await assertWhole("ingest-kill-opensearch", 4_000);
  });

  it("loses and doubles nothing when Redis is killed and comes back", async () => {
    const servers = testServers();
    const file = write("kill-redis.ndjson", documents(4_000));
    const running = ingest("ingest-kill-redis", [file]);
    await whileWriting(cluster, "ingest-kill-redis");
    await servers.killRedis();
    await sleep(1_000);
    await servers.restartRedis();
    const summary = await running;
    assert.deepEqual([summary.read, summary.failed], [4_000, 0]);
    assert.equal(summary.written + summary.skipped, 4_000);
    await assertWhole("ingest-kill-redis", 4_000);
  });

  it("says in a sentence that Redis or the cluster cannot be reached", async () => {
    const file = write("one.ndjson", documents(1));
    const noRedis = liveConfig({ "redis.url": "redis://127.0.0.1:1" });
    await assert.rejects(ingest("ingest-unreachable", [file], { config: noRedis }), {
      code: "queue_unreachable",
    });
    const nowhere = liveConfig({ "opensearch.url": "http://127.0.0.1:1" });
    const noCluster = connectCluster(nowhere);
    await assert.rejects(
      ingest("ingest-unreachable", [file], { config: nowhere, cluster: noCluster }),
      {
        code: "cluster_unreachable",
      },
    );
    await noCluster.close();
    indices = [];
  });
});
