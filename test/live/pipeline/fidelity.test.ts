/**
 * A document comes out as it went in: what is stored, copied, re-encoded and written back is the text
 * that the user wrote, read here from the cluster without any of the code that writes it.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { pathOf } from "../../../src/cluster/request.js";
import type { Config } from "../../../src/config/settings.js";
import type { Encoder } from "../../../src/encoder/encoder.js";
import { makeAnnIndex } from "../../../src/index/ann-index.js";
import { bulkWriterOptions, createBulkWriter } from "../../../src/cluster/bulk-writer.js";
import { makePrunedIndex } from "../../../src/evaluate/pruned-index.js";
import { ingestFiles, type IngestSummary } from "../../../src/pipeline/ingest-files.js";
import { followIndex } from "../../../src/pipeline/followed-documents.js";
import { openSearcher } from "../../../src/searcher/searcher.js";
import { objectTexts } from "../../support/json-texts.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";
import { testServers } from "../../support/servers.js";

const FIRST =
  '{"n":9007199254740993,"price":1.0,"d":0.12345678901234567891,"text":"the harbour at dawn"}';

/** Texts that have gone wrong, or could; each is what a cluster takes. */
const HOSTILE = [
  FIRST,
  '{"z":1,"a":2,"text":"keys in their own order","m":3}',
  '{"text":"zero", "zero":-0 ,"nought":-0.0,"e":1E+2,"f":1e-7}',
  '{"text":"too large for a double","big":1e400,"long":123456789012345678901234567890}',
  '{"text":"escapes \\u00e9\\/\\u2028","half":"\\ud800"}',
  '{"text":"hostile","__proto__":{"polluted":1}}',
  '{"text":"hostile too","constructor":{"prototype":{"polluted":1}}}',
  '{"text":"numbers for names","7":1,"1":2,"0x":3}',
  `{"text":"deep","deep":${'{"a":'.repeat(15)}1.0${"}".repeat(15)}}`,
  `{"text":"deeper","deeper":${'[{"a":'.repeat(200)}1.0${"}]".repeat(200)}}`,
  '{ "text" : "white space" , "list" : [ 1.0 , 2 ] }',
];

/** The texts with ids of their own, as NDJSON whose id field is `sku`. */
function withIds(texts: readonly string[]): Map<string, string> {
  return new Map(
    texts.map((text, i) => {
      const id = String(9_007_199_254_740_993n + BigInt(i));
      return [id, text.replace("{", `{"sku":${id},`)];
    }),
  );
}

/** The text of an object up to the end of its last member. */
const unclosed = (text: string) => text.slice(0, text.lastIndexOf("}")).trimEnd();

describe("a document", function () {
  this.timeout(240_000);
  let suite: ReindexSuite;
  let cluster: Cluster;
  let encoder: Encoder;
  let config: Config;
  let folder: string;

  const texts = [
    ...HOSTILE,
    ...fc.sample(objectTexts, 200).map((text, i) => {
      const inner = text.slice(1);
      const more = inner.trim() === "}" ? "" : ",";
      return `{"text":"random document ${i}"${more}${inner}`;
    }),
  ];
  const documents = withIds(texts);

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-fidelity-"));
    suite = await openReindexSuite("fidelity-", {
      home: folder,
      "ingest.id_field": "sku",
      "ingest.text_fields": ["text"],
    });
    ({ cluster, encoder, config } = suite);
    const file = path.join(folder, "hostile.ndjson");
    writeFileSync(file, [...documents.values()].join("\n") + "\n");
    await cluster.demand({ method: "PUT", path: "/fidelity-a", body: anyFields() }, "test");
    const summary = await ingest("fidelity-a", file);
    assert.deepEqual([summary.written, summary.failed], [documents.size, 0]);
  });
  after(async () => {
    await suite.close();
    rmSync(folder, { recursive: true });
  });

  const anyFields = () => ({
    settings: { index: { number_of_replicas: 0 } },
    mappings: { dynamic: false, properties: { text: { type: "text" } } },
  });

  function ingest(
    index: string,
    file: string,
    more: Partial<Parameters<typeof ingestFiles>[0]> = {},
  ): Promise<IngestSummary> {
    return ingestFiles({
      config,
      cluster,
      encoder,
      inputs: [file],
      index,
      deadLetters: path.join(folder, `${index}-dead-letters.ndjson`),
      signal: new AbortController().signal,
      ...more,
    });
  }

  /** What the cluster's own answer says between `"_source":` and the end, without our fields. */
  async function storedText(index: string, id: string): Promise<string> {
    const url = `${testServers().opensearchUrl}${pathOf(index, "_source", id)}`;
    const answer = await fetch(url);
    assert.equal(answer.status, 200, `${id} is in ${index}`);
    return await answer.text();
  }

  async function assertSame(index: string): Promise<void> {
    for (const [id, text] of documents) {
      const stored = await storedText(index, id);
      // Our fields stand together behind the user's.
      const ours =
        /,"csplade(?:_passages|_model)?":[\s\S]*?"csplade_(?:text_)?hash":"[\w-]{11}"(?:,"csplade_ann":\{[^}]*\}|,"csplade(?:_passages)?":[[{][\s\S]*?[\]}])?(?=\s*\}$)/;
      assert.match(stored, ours, `${index} ${stored}`);
      assert.equal(stored.replace(ours, ""), text, index);
    }
  }

  it("is stored by ingest with its digits, its order of fields and its spelling, under its own id", async () => {
    await assertSame("fidelity-a");
    assert.ok((await storedText("fidelity-a", "9007199254740993")).includes(FIRST.slice(1, -1)));
  });

  it("is not encoded again when nothing changed, and is when a last digit did", async () => {
    const file = path.join(folder, "hostile.ndjson");
    const again = await ingest("fidelity-a", file);
    assert.deepEqual([again.skipped, again.written], [documents.size, 0]);
    const changed = path.join(folder, "changed.ndjson");
    const [first = ""] = documents.values();
    writeFileSync(changed, `${first.replace('"n":9007199254740993', '"n":9007199254740992')}\n`);
    assert.equal((await ingest("fidelity-a", changed)).written, 1);
    writeFileSync(changed, `${first}\n`);
    assert.equal((await ingest("fidelity-a", changed)).written, 1);
  });

  it("that was refused takes its own id when it is mended and replayed, and a duplicate key is named", async () => {
    const file = path.join(folder, "refused.ndjson");
    const lines = [
      '{"sku":71,"text":"fine"}',
      '{"sku":72,"text":7}',
      '{"sku":73,"text":"x","a":{"k":1,"k":2}}',
    ];
    writeFileSync(file, lines.join("\n"));
    const first = await ingest("fidelity-replayed", file);
    assert.deepEqual([first.written, first.failed], [1, 2]);
    const letters = readFileSync(first.dead_letters ?? "", "utf8");
    assert.match(letters, /"reason":"The line has the key \\"k\\" twice/);
    const mended = path.join(folder, "mended.ndjson");
    writeFileSync(
      mended,
      letters.replace('\\"text\\":7', '\\"text\\":\\"7\\"').replace('\\"k\\":2', '\\"j\\":2'),
    );
    const again = await ingest("fidelity-replayed", mended, {
      fromDeadLetters: true,
      config: { ...config, "ingest.id_field": "_id" },
    });
    assert.deepEqual([again.written, again.failed], [2, 0]);
    for (const id of ["71", "72", "73"]) {
      assert.match(await storedText("fidelity-replayed", id), new RegExp(`^{"sku":${id},`));
    }
  });

  it("is found, whatever its keys, and never looks like a cluster that is away", async () => {
    const searcher = openSearcher({ cluster, encoder });
    const { hits } = await searcher.search("fidelity-a", "hostile", { size: 300 });
    const found = hits.map(({ source }) => source);
    assert.ok(found.some((source) => Object.hasOwn(source, "__proto__")));
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
  });

  it("is printed by csplade search --json with every byte of its own", async () => {
    const args = ["search", "--index", "fidelity-a", "--json", "--size", "300"];
    const question = "hostile random document zero deep";
    const { out, err } = await runCsplade(folder, [...args, question], environmentOf(config));
    assert.match(out, /^{/, err);
    const printed = [...documents.values()].filter((text) =>
      out.includes(`"source":${unclosed(text)}`),
    );
    const { hits } = JSON.parse(out) as { hits: { source: { csplade?: object } }[] };
    assert.ok(hits.length > 100);
    assert.equal(printed.length, hits.length);
    assert.ok(hits.every(({ source }) => source.csplade === undefined));
  });

  for (const passages of ["nested", "documents"] as const) {
    it(`is the same beside its passages (${passages}), also after a reindexing`, async () => {
      const long = " the harbour at dawn, and its boats.".repeat(100);
      const texts = HOSTILE.map((text) => text.replace(/("text" ?: ?"[^"]*)"/, `$1${long}"`));
      const file = path.join(folder, `${passages}.ndjson`);
      writeFileSync(file, [...withIds(texts).values()].join("\n") + "\n");
      const index = `fidelity-${passages}`;
      await cluster.demand({ method: "PUT", path: pathOf(index), body: anyFields() }, "test");
      const own = { ...config, "ingest.passages": passages };
      const summary = await ingest(index, file, { config: own });
      assert.deepEqual([summary.written, summary.failed], [texts.length, 0]);
      // An index that is cut into documents holds no whole text, and is no source.
      const from = passages === "nested" ? index : "fidelity-long";
      if (from !== index) {
        await cluster.demand({ method: "PUT", path: pathOf(from), body: anyFields() }, "test");
        await ingest(from, file);
      }
      const { target } = await suite.run({ from: [from], alias: `${index}-c` }, { config: own });
      for (const each of [index, target]) {
        for (const [id, text] of withIds(texts)) {
          const first = passages === "documents" ? `${id}#0` : id;
          const stored = await storedText(each, first);
          const [before = "", after = ""] = text.split(/,?"text" ?: ?"[^"]*" ?,?/);
          assert.ok(stored.startsWith(before.trimEnd()), stored);
          assert.ok(stored.includes(unclosed(after).trim()), stored);
          if (passages === "nested") assert.ok(stored.startsWith(unclosed(text)));
        }
      }
    });
  }

  it("is the same when follow writes it back with its vector", async () => {
    await cluster.demand({ method: "PUT", path: "/fidelity-own", body: anyFields() }, "test");
    const lines = [...documents].map(
      ([_id, text]) => `${JSON.stringify({ index: { _id } })}\n${text}\n`,
    );
    const path_ = "/fidelity-own/_bulk";
    const done = await cluster.demand(
      { method: "POST", path: path_, body: lines.join("") },
      "test",
    );
    assert.equal((done as { errors: boolean }).errors, false);
    const counts = await followIndex({
      config,
      cluster,
      encoder,
      index: "fidelity-own",
      once: true,
      signal: new AbortController().signal,
    });
    assert.deepEqual([counts.encoded, counts.refused], [documents.size, 0]);
    await assertSame("fidelity-own");
  });

  it("is the same in the index of a reindexing, also of one that reads csplade's own index", async () => {
    for (const [from, to] of [
      ["fidelity-own", "fidelity-b"],
      ["fidelity-a", "fidelity-c"],
    ] as const) {
      const summary = await suite.run({ from: [from], alias: to });
      assert.equal(summary.dead_letters, 0);
      await assertSame(to);
    }
  });

  it("is the same in a copy for approximate search and in a pruned one", async () => {
    const writer = createBulkWriter(cluster, bulkWriterOptions(config));
    await makeAnnIndex(cluster, writer, { from: "fidelity-a", into: "fidelity-ann" });
    await assertSame("fidelity-ann");
    const pruning = { prune_type: "max_ratio", prune_ratio: 0.5 } as const;
    await makePrunedIndex(cluster, writer, {
      from: "fidelity-a",
      into: "fidelity-pruned",
      pruning,
    });
    await assertSame("fidelity-pruned");
    await writer.close();
  });
});
