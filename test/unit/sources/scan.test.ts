import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { readChunk, type DocumentFailure } from "../../../src/sources/chunk.js";
import { testConfig } from "../../support/tiny-checkpoints.js";
import { identityOf } from "../../../src/config/document-identity.js";
import { openDeadLetters } from "../../../src/sources/dead-letters.js";
import { linesOf } from "../../../src/sources/lines.js";
import { scan } from "../../../src/sources/scan.js";
import type { SourceFile } from "../../../src/sources/source-file.js";
import { spool } from "../../../src/sources/spool.js";
import type { ScanRequest, ScannedChunk } from "../../../src/sources/scan-protocol.js";

let folder: string;
before(() => (folder = mkdtempSync(path.join(os.tmpdir(), "csplade-scan-"))));
after(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Buffer): string {
  const file = path.join(folder, name);
  writeFileSync(file, content);
  return file;
}

/** A plain file of lines that hold documents. */
function plain(file: string): SourceFile {
  const origin = { name: file, format: "ndjson", compression: "none" } as const;
  return { path: file, lines: "document", start: 0, origin };
}

function requestOf(
  files: readonly (string | SourceFile)[],
  more: Partial<ScanRequest> = {},
): ScanRequest {
  const fields = { id_field: "_id", text_fields: ["title", "text"] };
  const limits = { max_document_bytes: 2_000, job_documents: 3, job_bytes: 4_000, ahead: 2 };
  const sources = files.map((file) => (typeof file === "string" ? plain(file) : file));
  return { files: sources, fields, ...limits, ...more };
}

async function scanAll(
  files: readonly (string | SourceFile)[],
  more: Partial<ScanRequest> = {},
): Promise<ScannedChunk[]> {
  const chunks: ScannedChunk[] = [];
  for await (const chunk of scan(requestOf(files, more))) chunks.push(chunk);
  return chunks;
}

const reasons = (chunks: ScannedChunk[]): DocumentFailure[] =>
  chunks.flatMap((each) => each.failures);

describe("lines of a stream", () => {
  it("have the offsets and bytes of the file, however it is cut into buffers", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ maxLength: 20 }).map((text) => text.replaceAll("\n", ""))),
        fc.integer({ min: 1, max: 7 }),
        async (texts, cut) => {
          const content = Buffer.from(texts.join("\n"));
          const parts: Buffer[] = [];
          for (let i = 0; i < content.length; i += cut) parts.push(content.subarray(i, i + cut));
          for await (const line of linesOf(Readable.from(parts) as AsyncIterable<Buffer>, 1_000)) {
            assert.deepEqual(content.subarray(line.offset, line.offset + line.bytes), line.content);
            assert.equal(line.content?.toString(), Buffer.from(texts[line.number - 1]!).toString());
          }
        },
      ),
    );
  });
});

describe("a scan", () => {
  it("cuts a file into chunks whose lines are exactly the good documents", async () => {
    const documents = Array.from({ length: 20 }, (_, i) => ({ _id: `d${i}`, text: `text ${i}` }));
    for (const end of ["", "\n", "\n\n"]) {
      const file = write(
        "good.ndjson",
        documents.map((each) => JSON.stringify(each)).join("\n") + end,
      );
      const chunks = await scanAll([file]);
      assert.equal(chunks.length, 7);
      const lines = (await Promise.all(chunks.map(({ chunk }) => readChunk(chunk)))).flat();
      assert.deepEqual(
        lines.map((line) => JSON.parse(line.content.toString()) as unknown),
        documents,
      );
      assert.deepEqual(
        lines.map((line) => line.number),
        documents.map((_, i) => i + 1),
      );
    }
  });

  it("ends with its signal, on which scans that share it put one listener", async () => {
    const file = write("shared.ndjson", '{"_id":"a","text":"text"}\n'.repeat(60));
    const interruption = new AbortController();
    const { signal } = interruption;
    const scans = Array.from({ length: 12 }, () => scan(requestOf([file]), signal));
    for (const each of scans) assert.equal((await each.next()).done, false);
    assert.equal(getEventListeners(signal, "abort").length, 1);
    await scans.shift()?.return(undefined);
    interruption.abort();
    for (const each of scans) await assert.rejects(each.next(), { code: "aborted" });
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });

  it("names every bad line with its reason and keeps the good ones", async () => {
    const file = write(
      "bad.ndjson",
      Buffer.concat([
        Buffer.from('{"_id":"a","text":"good"}\n'),
        Buffer.from("{broken\n"),
        Buffer.from('{"_id":"a","text":"again"}\n'),
        Buffer.from('{"_id":"b","text":"  "}\n'),
        Buffer.from('{"_id":"c","text":{"no":"string"}}\n'),
        Buffer.from(`{"_id":"d","text":"${"x".repeat(3_000)}"}\n`),
        Buffer.from('["an array"]\n'),
        Buffer.from([0x22, 0xff, 0x22, 0x0a]),
        Buffer.from(`{"_id":"${"i".repeat(600)}","text":"long id"}\n`),
        Buffer.from('{"_id":{},"text":"odd id"}\n'),
        Buffer.from('\n{"_id":"z","text":"good too"}'),
      ]),
    );
    const chunks = await scanAll([file]);
    assert.deepEqual(
      reasons(chunks).map((failure) => [failure.line, failure.code]),
      [
        [2, "document_malformed"],
        [3, "document_duplicate"],
        [4, "document_no_text"],
        [5, "document_wrong_type"],
        [6, "document_too_large"],
        [7, "document_malformed"],
        [8, "document_malformed"],
        [9, "document_rejected"],
        [10, "document_wrong_type"],
      ],
    );
    assert.match(reasons(chunks)[1]!.reason, /line 1 of/);
    const lines = (await Promise.all(chunks.map(({ chunk }) => readChunk(chunk)))).flat();
    assert.deepEqual(
      lines.map((line) => line.number),
      [1, 12],
    );
    assert.equal(
      chunks.reduce((sum, each) => sum + each.read, 0),
      11,
    );
  });

  it("finds duplicates across files", async () => {
    const first = write("1.ndjson", '{"_id":1,"text":"one"}\n');
    const second = write("2.ndjson", '{"_id":"1","text":"one again"}\n');
    const [failure] = reasons(await scanAll([first, second]));
    assert.equal(failure?.code, "document_duplicate");
    assert.ok(failure.reason.includes(first));
  });

  it("reports a file that is gone", async () => {
    await assert.rejects(scanAll([path.join(folder, "missing")]), { code: "source_unreadable" });
  });
});

describe("spooled inputs", () => {
  const request = { fromDeadLetters: false, maxDocumentBytes: 2_000, stdin: Readable.from([]) };

  it("unpack gzip whatever the name, take stdin and BEIR folders, and clean up", async () => {
    const plain = '{"_id":"a","text":"good"}\n';
    const packed = write("packed.ndjson", gzipSync(plain));
    write("corpus.jsonl", plain);
    const spooled = await spool({
      ...request,
      inputs: [packed, "-", folder],
      folder: path.join(folder, "spool"),
      stdin: Readable.from([Buffer.from(plain)]),
    });
    assert.equal(spooled.files.length, 3);
    assert.equal(spooled.bytes, 3 * plain.length);
    await spooled.remove();
    await assert.rejects(scanAll([spooled.files[0]!]), { code: "source_unreadable" });
  });

  it("name an input that does not exist or is broken gzip", async () => {
    const inputs = [path.join(folder, "nothing")];
    await assert.rejects(spool({ ...request, inputs, folder: path.join(folder, "s1") }), /nothing/);
    const broken = write("broken.gz", Buffer.from([0x1f, 0x8b, 1, 2, 3]));
    await assert.rejects(spool({ ...request, inputs: [broken], folder: path.join(folder, "s2") }), {
      code: "source_unreadable",
    });
  });
});

describe("dead letters", () => {
  it("replay the very bytes that failed, copied or not", async () => {
    const lines = ['{"_id":"a","text":"ä"}', "{broken"];
    const file = write("source.ndjson", lines.join("\n"));
    const letters = openDeadLetters(path.join(folder, "letters.ndjson"), identityOf(testConfig()));
    const place = (line: number, offset: number, bytes: number) => ({ file, line, offset, bytes });
    const [first, second] = lines.map((line) => Buffer.byteLength(line)) as [number, number];
    await letters.add([
      { ...place(1, 0, first), code: "document_rejected", reason: "for the test", id: "a" },
      { ...place(2, first + 1, second), code: "document_malformed", reason: "for the test" },
    ]);
    await letters.close();
    assert.equal(letters.count, 2);
    const spooled = await spool({
      inputs: [letters.path],
      fromDeadLetters: true,
      maxDocumentBytes: 2_000,
      folder: path.join(folder, "replay"),
      stdin: Readable.from([]),
    });
    const chunks = await scanAll(spooled.files);
    assert.equal(chunks[0]!.documents, 1);
    assert.equal(reasons(chunks).length, 1);
    await spooled.remove();
  });
});
