import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { pathOf } from "../../../src/cluster/request.js";
import type { Config } from "../../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { deleteIndex, refreshIndex } from "../../../src/index/csplade-index.js";
import { itemsOf, valueOf } from "../../../src/json/positions.js";
import { ingestFiles, type IngestSummary } from "../../../src/pipeline/ingest-files.js";
import { runCsplade } from "../../support/csplade-command.js";
import { formatFiles, hostileDocuments, PACKINGS } from "../../support/document-formats.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

describe("ingesting files of any format", function () {
  this.timeout(240_000);
  let folder: string;
  let config: Config;
  let cluster: Cluster;
  let encoder: Encoder;
  const index = "ingest-formats";

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-formats-"));
    const { opensearchUrl, redisUrl } = testServers();
    config = testConfig({ home: folder, "opensearch.url": opensearchUrl, "redis.url": redisUrl });
    cluster = connectCluster(config);
    encoder = await openEncoder(config);
  });
  after(async () => {
    await encoder.close();
    await cluster.close();
    rmSync(folder, { recursive: true });
  });
  afterEach(() => deleteIndex(cluster, index));

  function write(name: string, content: string | Buffer): string {
    const file = path.join(folder, name);
    writeFileSync(file, content);
    return file;
  }

  const lettersOf = (name: string) => path.join(folder, `${name}-dead-letters.ndjson`);

  function ingest(
    file: string,
    more: Partial<Parameters<typeof ingestFiles>[0]> = {},
  ): Promise<IngestSummary> {
    const signal = new AbortController().signal;
    const deadLetters = lettersOf(path.basename(file));
    return ingestFiles({
      config,
      cluster,
      encoder,
      inputs: [file],
      index,
      deadLetters,
      signal,
      ...more,
    });
  }

  /** What the cluster stores: the text of `_source`, and the routing, of each id. */
  async function stored(): Promise<Map<string, { source: string; routing: string | undefined }>> {
    await refreshIndex(cluster, index);
    const url = `${testServers().opensearchUrl}${pathOf(index)}/_search?size=1000`;
    const text = await (await fetch(url)).text();
    const hits = valueOf(text, valueOf(text, 0, "hits") ?? 0, "hits") ?? 0;
    const found = itemsOf(text, hits).map(({ start, end }) => {
      const hit = text.slice(start, end);
      const { _id, _routing } = JSON.parse(hit) as { _id: string; _routing?: string };
      return [_id, { source: hit.slice(valueOf(hit, 0, "_source")), routing: _routing }] as const;
    });
    return new Map(found);
  }

  const exists = () => cluster.send({ method: "HEAD", path: pathOf(index) });

  const documents = hostileDocuments(50);
  for (const { name, format, content, stored: expected } of formatFiles(documents)) {
    it(`stores 50 documents of ${name} (${format}) byte for byte under their ids, plain or packed`, async () => {
      for (const [compression, pack] of Object.entries(PACKINGS)) {
        const file = write(`${name}.${compression}`, pack(Buffer.from(content)));
        const summary = await ingest(file, { force: true });
        assert.deepEqual([summary.read, summary.failed, summary.written], [50, 0, 50], compression);
        assert.deepEqual(summary.sources, [{ name: file, format, compression }]);
        const found = await stored();
        assert.equal(found.size, 50);
        for (const document of documents) {
          const { source, routing } = found.get(document.id)!;
          // csplade's own fields stand behind those of the document.
          const own = expected(document).replace(/\s*\}$/, "");
          assert.ok(source.startsWith(own), `${source.slice(0, 400)}\n${own}`);
          assert.match(source.slice(own.length), /^\s*,"csplade":/);
          assert.equal(routing, format === "bulk" || format === "elasticdump" ? "r" : undefined);
        }
        await deleteIndex(cluster, index);
      }
      assert.deepEqual(readdirSync(path.join(folder, "spool")), []);
    });
  }

  it("keeps a bad element, row or hit as a dead letter with its line, and takes the others", async () => {
    const good = (id: string) => `{"_id":"${id}","text":"words"}`;
    const files: [name: string, content: string, bad: [line: number, code: string][]][] = [
      [
        "a.json",
        `[${good("a")},\n5,\n{'x': 1},\n${good("b")}]`,
        [
          [2, "document_malformed"],
          [3, "document_malformed"],
        ],
      ],
      [
        "b.csv",
        "_id,text\na,words\nb\nc,\nd,words\n",
        [
          [3, "document_malformed"],
          [4, "document_no_text"],
        ],
      ],
      [
        "c.bulk",
        `{"index":{"_id":"a"}}\n{"text":"words"}\n{"index":{"_id":"b"}}\n{broken\n{"index":{"_id":"c"}}\n{"text":"words"}\n`,
        [[4, "document_malformed"]],
      ],
      [
        "d.dump",
        `{"_id":"a","_source":{"text":"words"}}\n{"_id":"b"}\n{"_id":"c","_source":{"text":"words"}}\n`,
        [[2, "document_malformed"]],
      ],
    ];
    for (const [name, content, bad] of files) {
      const summary = await ingest(write(name, content));
      assert.equal(summary.written, 2, name);
      assert.equal(summary.failed, bad.length, name);
      const kinds = new Map<string, number>();
      for (const [, code] of bad) kinds.set(code, (kinds.get(code) ?? 0) + 1);
      assert.deepEqual(
        summary.failures.map(({ code, count, example }) => [code, count, example.line]),
        [...kinds].map(([code, count]) => [code, count, bad.find((each) => each[1] === code)![0]]),
      );
      await deleteIndex(cluster, index);
    }
  });

  it("replays the dead letter of a _bulk body under the id and routing of its action", async () => {
    const action = (id: string) => `{"index":{"_id":"${id}","routing":"r"}}`;
    const body = `${action("a")}\n{"text":"words"}\n${action("b")}\n{"body":"words"}\n`;
    const file = write("letters.bulk", body);
    assert.equal((await ingest(file)).failed, 1);
    const letters = readFileSync(lettersOf("letters.bulk"), "utf8");
    const mended = write("mended.ndjson", letters.replace("body", "text"));
    const summary = await ingest(mended, { fromDeadLetters: true });
    assert.deepEqual([summary.read, summary.written], [1, 1]);
    const found = await stored();
    assert.deepEqual([...found.keys()].sort(), ["a", "b"]);
    assert.equal(found.get("b")?.routing, "r");
  });

  it("takes a Parquet file, packed too, with the digits of its columns", async () => {
    const columnData = [
      { name: "_id", data: ["p1", "p2"], type: "STRING" as const },
      { name: "text", data: ["words of one", "words of two"], type: "STRING" as const },
      { name: "n", data: [9_007_199_254_740_993n, -1n], type: "INT64" as const },
    ];
    const buffer = Buffer.from(parquetWriteBuffer({ columnData }));
    for (const [name, content] of [
      ["rows.parquet", buffer],
      ["rows.parquet.gz", gzipSync(buffer)],
    ] as const) {
      const summary = await ingest(write(name, content));
      assert.deepEqual([summary.read, summary.failed], [2, 0], name);
      assert.equal(summary.sources[0]?.format, "parquet");
    }
    assert.match((await stored()).get("p1")?.source ?? "", /"n":9007199254740993/);
  });

  it("refuses what it cannot take before it makes an index", async () => {
    const refused: [name: string, content: string, message: RegExp][] = [
      ["x.parquet", "PAR1\x15\x04", /x\.parquet cannot be read: It is damaged/],
      ["x.html", "<!doctype html><p>words", /looks like HTML/],
      ["x.txt", "Some words.\nSome more.\n", /looks like plain text/],
      [
        "x.bulk",
        '{"index":{"_id":"1"}}\n{"text":"a"}\n{"update":{"_id":"1"}}\n{}\n',
        /update action/,
      ],
      ["x.json", '[{"text":"a"}', /ends before its JSON array does/],
      [
        "x.csv",
        "sku,body\n1,words\n2,words\n",
        /All of the first 2 documents fail.*have: sku, body/,
      ],
    ];
    for (const [name, content, message] of refused) {
      await assert.rejects(ingest(write(name, content)), message);
      assert.equal((await exists()).status, 404, name);
    }
  });

  it("stops when the cluster refuses the first thousand documents for one reason", async () => {
    await ingest(write("number.ndjson", '{"_id":"first","text":"words","n":1}\n'));
    const line = (i: number) => `{"_id":"d${i}","text":"words","n":"no number"}\n`;
    const file = write("strings.ndjson", Array.from({ length: 3_000 }, (_, i) => line(i)).join(""));
    await assert.rejects(ingest(file), (error: Error & { code?: string }) => {
      assert.equal(error.code, "document_rejected");
      assert.match(
        error.message,
        /^The first 1\d\d\d documents failed for one reason.*field \[n\]/s,
      );
      return true;
    });
  });

  it("says on the command line what files are, what fails, and what a dry run finds", async () => {
    const file = write("shown.csv", "_id,text,price\n1,words,1.50\n2,,2\n3,words,x\n");
    const args = ["ingest", file, "--index", index, "--types", "price:number"];
    const dry = await runCsplade(folder, [...args, "--dry-run"]);
    assert.equal(dry.code, 0, dry.err);
    assert.deepEqual(dry.out.split("\n").slice(0, 3), [
      `${file}: CSV`,
      "fields: _id, text, price",
      'first document: 1 {"text":"words","price":1.50}',
    ]);
    assert.equal((await exists()).status, 404);
    const real = await runCsplade(folder, args);
    assert.equal(real.code, 3, real.err);
    assert.match(real.err, new RegExp(`^${file}: CSV$`, "m"));
    assert.match(real.out, /1 × document_no_text: The document has no text in title, text. \(2\)/);
    assert.match(real.out, /1 × document_malformed: The column price must hold a number, not "x"/);
    const json = await runCsplade(folder, [...args, "--json"]);
    const summary = JSON.parse(json.out) as IngestSummary;
    assert.deepEqual(summary.sources, [{ name: file, format: "csv", compression: "none" }]);
    const wrong = await runCsplade(folder, [
      "ingest",
      write("y.pdf", "%PDF-1.7"),
      "--index",
      "other",
    ]);
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /looks like a PDF[^]*hint: Take its text out/);
    const typo = await runCsplade(folder, [...args.slice(0, -1), "price:float"]);
    assert.equal(typo.code, 2, typo.err);
  });
});
