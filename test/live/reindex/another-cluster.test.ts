/** Reindexing out of another cluster, which is only read: by a user who may read, and from Elasticsearch. */
import assert from "node:assert/strict";
import os from "node:os";
import { Redis } from "ioredis";
import { connectCluster, connectWithSource, type Cluster } from "../../../src/cluster/cluster.js";
import type { Config, SettingName } from "../../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { createWorkerMetrics } from "../../../src/observe/worker-metrics.js";
import { reindex, type RunSummary } from "../../../src/reindex/reindex.js";
import { startReindexWorker } from "../../../src/reindex/slice-worker.js";
import { startCsplade } from "../../support/csplade-command.js";
import { testElasticsearch } from "../../support/elasticsearch.js";
import { discardIndices, reindexConfig } from "../../support/reindexing.js";
import { startSecuredOpenSearch } from "../../support/secured-opensearch.js";

const READER = "reader";
const PASSWORD = "Chrysanthemum-7-hunter";

/** What reading an index for a reindexing takes, and no more. */
const READING = {
  cluster_permissions: ["cluster:monitor/main", "cluster:monitor/state"],
  index_permissions: [
    {
      index_patterns: ["products*"],
      allowed_actions: [
        "read",
        "indices:admin/get",
        "indices:admin/mappings/get",
        "indices:admin/refresh*",
        "indices:monitor/stats",
      ],
    },
  ],
};

/** Documents as somebody wrote them: id, routing, bytes. */
const DOCUMENTS: readonly (readonly [string, string | undefined, string])[] = [
  [
    "a/b #1",
    undefined,
    '{"big":12345678901234567890123, "price":1.0,"text":"an old lamp","z":{"b":1e3,"a":[]}}',
  ],
  ["ünï", "somewhere", '{"text":"a caf\\u00e9 table","price":2.50,"title":"Table"}'],
  ["source:1", "else where", '{"text":"a chair of wood",  "price":3}'],
  ...Array.from(
    { length: 40 },
    (_, i) =>
      [
        `d${i}`,
        i % 3 === 0 ? `r${i % 7}` : undefined,
        `{"text":"item ${i} of wood","n":${i}.0}`,
      ] as const,
  ),
];

interface Source {
  readonly name: string;
  readonly owner: Config;
  readonly reading: Partial<Record<SettingName, unknown>>;
}

describe("reindexing out of another cluster", function () {
  this.timeout(300_000);
  let target: Cluster;
  let encoder: Encoder;
  let config: Config;
  const sources: Source[] = [];
  const open: (() => Promise<void>)[] = [];

  before(async () => {
    config = reindexConfig({ "ingest.text_fields": ["title", "text"] });
    target = connectCluster(config);
    encoder = await openEncoder(config);
    const secured = await startSecuredOpenSearch();
    if (typeof secured === "string") {
      process.stderr.write(`A secured source is skipped: ${secured}\n`);
    } else {
      const owner = reindexConfig({
        "opensearch.url": secured.url,
        "opensearch.ca_file": secured.caFile,
        "opensearch.username": "admin",
        "opensearch.password": "admin",
      });
      await makeReader(owner);
      const reading = {
        "source.ca_file": secured.caFile,
        "source.username": READER,
        "source.password": PASSWORD,
      };
      sources.push({ name: "a secured OpenSearch 2.19", owner, reading });
    }
    const elastic = await testElasticsearch();
    if (typeof elastic === "string") {
      process.stderr.write(`Elasticsearch as a source is skipped: ${elastic}\n`);
    } else {
      const owner = reindexConfig({ "opensearch.url": elastic.url });
      sources.push({ name: "Elasticsearch 7.17", owner, reading: {} });
    }
  });
  after(async () => {
    for (const close of open) await close();
    await discardIndices(target, "another-");
    await encoder.close();
    await target.close();
  });

  async function makeReader(owner: Config): Promise<void> {
    const admin = connectCluster(owner);
    const api = "/_plugins/_security/api";
    for (const [kind, body] of [
      [`roles/${READER}`, READING],
      [`internalusers/${READER}`, { password: PASSWORD }],
      [`rolesmapping/${READER}`, { users: [READER] }],
    ] as const) {
      await admin.demand({ method: "PUT", path: `${api}/${kind}`, body }, `Making ${kind}`);
    }
    await admin.close();
  }

  async function fillSource(cluster: Cluster, index: string): Promise<void> {
    const mappings = { dynamic: false, properties: { text: { type: "text" } } };
    const settings = { "index.number_of_shards": 2, "index.number_of_replicas": 0 };
    const make = { method: "PUT", path: `/${index}`, body: { settings, mappings } } as const;
    await cluster.demand(make, "Making a source");
    const lines = DOCUMENTS.flatMap(([id, routing, text]) => [
      JSON.stringify({ index: { _id: id, ...(routing === undefined ? {} : { routing }) } }),
      text,
    ]);
    const body = `${lines.join("\n")}\n`;
    const answer = await cluster.demand(
      { method: "POST", path: `/${index}/_bulk`, body, query: { refresh: true } },
      "Filling a source",
    );
    assert.equal(
      (answer as { errors: boolean }).errors,
      false,
      JSON.stringify(answer).slice(0, 300),
    );
  }

  /** All that a write would change. */
  async function stateOf(cluster: Cluster, index: string): Promise<unknown> {
    const ask = (path: string) => cluster.demand({ method: "GET", path }, "Looking at the source");
    const stats = await ask(`/${index}/_stats?level=shards&filter_path=**.seq_no`);
    return [await ask(`/${index}`), stats, await ask("/_alias?expand_wildcards=all")];
  }

  const run = async (
    { owner, reading }: Source,
    index: string,
    alias: string,
  ): Promise<[RunSummary, Config]> => {
    const url = owner["opensearch.url"];
    const from = { ...config, "source.url": url, ...reading } as Config;
    const cluster = connectWithSource(from);
    try {
      const summary = await reindex({
        config: from,
        cluster,
        encoder,
        what: { from: [`${url}/${index}`], alias },
        metrics: createWorkerMetrics(),
        signal: new AbortController().signal,
      });
      return [summary, from];
    } finally {
      await cluster.close();
    }
  };

  const eachSource = async (look: (source: Source, admin: Cluster, i: number) => Promise<void>) => {
    assert.ok(sources.length > 0, "no source could be started");
    for (const [i, source] of sources.entries()) {
      const admin = connectCluster(source.owner);
      try {
        await look(source, admin, i);
      } finally {
        await admin.close();
      }
    }
  };

  it("copies every byte, id and routing, and changes nothing there", async () => {
    await eachSource(async (source, admin, i) => {
      const index = `products-${i}`;
      await fillSource(admin, index);
      const before = await stateOf(admin, index);
      const [summary] = await run(source, index, `another-${i}`);
      assert.deepEqual(
        [summary.state, summary.written, summary.dead_letters, summary.verification?.problems],
        ["done", DOCUMENTS.length, 0, []],
        source.name,
      );
      assert.equal(summary.verification?.source_documents, DOCUMENTS.length);
      for (const [id, routing, text] of DOCUMENTS) {
        const stored = await target.demandText(
          {
            method: "GET",
            path: `/another-${i}/_doc/${encodeURIComponent(id)}`,
            query: routing === undefined ? {} : { routing },
          },
          "Reading a copy",
        );
        assert.ok(stored.includes(text.slice(0, -1)), `${source.name}: ${stored}`);
        if (routing !== undefined) assert.ok(stored.includes(`"_routing":"${routing}"`), stored);
      }
      assert.deepEqual(await stateOf(admin, index), before, "the source is as it was");
    });
  });

  it("copies again what changed there, and drops what was deleted", async () => {
    await eachSource(async (source, admin, i) => {
      const index = `products-${i}`;
      const put = (id: string, body: object) =>
        admin.demand({ method: "PUT", path: `/${index}/_doc/${id}`, body }, "Changing the source");
      await put("d1", { text: "item 1 of iron", n: 1 });
      await put("new", { text: "a new item" });
      await admin.demand({ method: "DELETE", path: `/${index}/_doc/d2` }, "Deleting");
      const [summary] = await run(source, index, `another-${i}`);
      assert.deepEqual(
        [summary.state, summary.written, summary.verification?.problems],
        ["done", DOCUMENTS.length, []],
        source.name,
      );
      assert.ok(summary.reused >= DOCUMENTS.length - 10, `${summary.reused} vectors were reused`);
      const look = (id: string) => target.send({ method: "GET", path: `/another-${i}/_doc/${id}` });
      assert.equal((await look("new")).status, 200);
      assert.equal((await look("d2")).status, 404);
    });
  });

  it("keeps credentials out of Redis, of the run's record and of what is said", async () => {
    await eachSource(async (source, _admin, i) => {
      const [summary, from] = await run(source, `products-${i}`, `another-kept-${i}`);
      const record = await target.demandText(
        { method: "GET", path: `/csplade-runs/_search`, query: { size: 1_000 } },
        "Reading the records",
      );
      assert.ok(record.includes(summary.run));
      assert.ok(record.includes(`"cluster":"${source.owner["opensearch.url"]}"`), "where it reads");
      const redis = new Redis(from["redis.url"]);
      try {
        let kept = record;
        for (const key of await redis.keys("*")) {
          kept += (await redis.dump(key).catch(() => null)) ?? "";
          if ((await redis.type(key)) === "hash") kept += JSON.stringify(await redis.hgetall(key));
        }
        assert.ok(!kept.includes(PASSWORD), "no password is kept");
      } finally {
        redis.disconnect();
      }
    });
  });

  it("says what is wrong with a source before anything is made", async () => {
    const [source] = sources;
    assert.ok(source !== undefined);
    const url = source.owner["opensearch.url"];
    const env = {
      CSPLADE_TEXT_FIELDS: "text",
      CSPLADE_MAX_WAIT_MS: "1000",
      CSPLADE_SOURCE_USERNAME: READER,
      CSPLADE_SOURCE_PASSWORD: PASSWORD,
    };
    const ask = async (from: string) => {
      const child = startCsplade(
        os.tmpdir(),
        ["reindex", "--from", from, "--to", "another-bad"],
        env,
      );
      let said = "";
      child.stdout.on("data", (part: Buffer) => (said += part.toString()));
      child.stderr.on("data", (part: Buffer) => (said += part.toString()));
      const code = await new Promise((resolve) => child.on("close", resolve));
      assert.ok(!said.includes(PASSWORD) && !said.includes("hunter2"), said);
      return { code, said };
    };
    const withUser = await ask("https://me:hunter2@127.0.0.1:1/products");
    assert.match(withUser.said, /must be without credentials[\s\S]*CSPLADE_SOURCE_USERNAME/);
    assert.match((await ask("http://127.0.0.1:1/")).said, /names no index/);
    const missing = await ask(`${sources.at(-1)!.owner["opensearch.url"]}/not-there`);
    assert.match(missing.said, /not-there/);
    assert.notEqual(missing.code, 0);
    const made = await target.send({ method: "GET", path: "/another-bad*" });
    assert.deepEqual(made.body, {}, url);
  });

  it("gives slices back where a worker does not read from that cluster, and says what to set", async () => {
    const source = sources.at(-1)!;
    const url = source.owner["opensearch.url"];
    const from = { ...config, "source.url": url, ...source.reading } as Config;
    const cluster = connectWithSource(from);
    const said: string[] = [];
    const metrics = createWorkerMetrics();
    const onTrouble = (message: string) => void said.push(message);
    const stranger = await startReindexWorker({
      config,
      cluster: target,
      encoder,
      metrics,
      onTrouble,
    });
    try {
      const work = reindex({
        config: from,
        cluster,
        encoder,
        work: false,
        what: { from: [`${url}/products-${sources.length - 1}`], alias: "another-strange" },
        metrics,
        signal: new AbortController().signal,
      });
      while (
        !said.some((line) => line.includes("CSPLADE_SOURCE_URL") || line.includes("source.url"))
      ) {
        await Promise.race([work, new Promise((resolve) => setTimeout(resolve, 50))]);
      }
      await stranger.close(10_000);
      const helper = await startReindexWorker({
        config: from,
        cluster,
        encoder,
        metrics,
        onTrouble,
      });
      const { state, dead_letters } = await work;
      await helper.close(10_000);
      assert.deepEqual([state, dead_letters], ["done", 0]);
    } finally {
      await cluster.close();
    }
  });
});
