import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import { lookAtFirst } from "../../../src/sources/first-documents.js";
import { readHit, writeHit } from "../../../src/sources/hit-line.js";
import { sourceLines, type SourceFile } from "../../../src/sources/source-file.js";
import { spool, type SpoolRequest } from "../../../src/sources/spool.js";
import { formatFiles, hostileDocuments, PACKINGS } from "../../support/document-formats.js";
import { zstdFrame } from "../../support/zstd-frame.js";

let folder: string;
let number = 0;
before(() => (folder = mkdtempSync(path.join(os.tmpdir(), "csplade-spool-"))));
after(() => rmSync(folder, { recursive: true }));

function write(content: string | Buffer, name = `file-${number++}`): string {
  const file = path.join(folder, name);
  writeFileSync(file, content);
  return file;
}

function spooled(inputs: string[], more: Partial<SpoolRequest> = {}) {
  return spool({
    inputs,
    fromDeadLetters: false,
    maxDocumentBytes: 10_000,
    folder: path.join(folder, `spool-${number++}`),
    stdin: Readable.from([]),
    ...more,
  });
}

async function documentsOf(files: readonly SourceFile[]) {
  const all = [];
  for (const file of files) {
    for await (const { found } of sourceLines(file, 10_000))
      if (found !== undefined) all.push(found);
  }
  return all;
}

describe("a hit in a line", () => {
  it("keeps a document's own bytes, id, routing, place and fault, whatever they are", () => {
    const beside = fc.record(
      {
        id: fc.string({ unit: "binary" }),
        routing: fc.string(),
        fault: fc.record(
          { code: fc.constant("document_malformed" as const), reason: fc.string() },
          { noNullPrototype: true },
        ),
      },
      { requiredKeys: [], noNullPrototype: true },
    );
    const json = fc.dictionary(fc.string(), fc.jsonValue()).map((value) => JSON.stringify(value));
    fc.assert(
      fc.property(beside, fc.nat(), json, (more, n, text) => {
        const document = { line: n + 1, content: Buffer.from(text), ...more };
        const line = writeHit(document);
        const { offset, content, ...read } = readHit(line.subarray(0, -1), 10_000);
        const shown = more.fault === undefined ? text : JSON.stringify(text);
        assert.equal(content.toString(), shown);
        assert.deepEqual(line.subarray(offset, offset + content.length), content);
        assert.deepEqual(read, { line: n + 1, ...more });
        assert.equal(line.indexOf("\n"), line.length - 1);
      }),
    );
  });

  it("is read from any line of elasticdump, digits of a number as an id included", () => {
    const line =
      ' {"_score":1, "_source" : {"n":1.0,"_source":{}} ,"_id":9007199254740993,"_routing":"r"} ';
    const { content, id, routing, offset } = readHit(Buffer.from(line), 1_000);
    assert.equal(content.toString(), '{"n":1.0,"_source":{}}');
    assert.deepEqual([id, routing, offset], ["9007199254740993", "r", 26]);
    for (const bad of ["{broken", "[]", "5", '{"_id":"1"}', '{"\\ud8":1,"_source":{}}', ""]) {
      assert.equal(readHit(Buffer.from(bad), 1_000).fault?.code, "document_malformed", bad);
    }
    assert.equal(readHit(Buffer.from(line), 10).fault?.code, "document_too_large");
  });
});

describe("files of any format", () => {
  const documents = hostileDocuments(50);
  for (const { name, format, content, stored } of formatFiles(documents)) {
    for (const [compression, pack] of Object.entries(PACKINGS)) {
      it(`give the same documents from ${name} (${format}, ${compression})`, async () => {
        const packed = pack(Buffer.from(content));
        for (const input of [write(packed), "-"]) {
          const ready = await spooled([input], { stdin: Readable.from([packed]) });
          const { files } = ready;
          assert.deepEqual(files[0]?.origin, { name: input, format, compression });
          const found = await documentsOf(files);
          assert.equal(found.length, 50);
          for (const [i, { content, id, routing, fault, line, offset }] of found.entries()) {
            assert.equal(fault, undefined);
            const text = content.toString();
            const own = JSON.parse(text) as { _id?: string };
            const document = documents[i]!;
            assert.equal(id ?? own._id, document.id);
            const withoutId = (json: string) => json.replace(/,?\s*"_id": ?"[^"]*",?/, "");
            assert.equal(withoutId(text), stored(document));
            assert.equal(routing, ["bulk", "elasticdump"].includes(format) ? "r" : undefined);
            assert.ok(line >= (name === "array" ? 1 : i + 1));
            const file: Buffer = readFileSync(files[0].path);
            assert.deepEqual(file.subarray(offset, offset + content.length), content);
          }
          await ready.remove();
        }
      });
    }
  }

  it("are named with what they look like where they can not be taken, and nothing is left behind", async () => {
    const avro = write("Obj\x01\x04");
    await assert.rejects(spooled([avro]), {
      code: "source_unsupported",
      message: `${avro} looks like Avro, of which no documents are taken.`,
    });
    const cut = zstdFrame(Buffer.from('{"text":"a"}\n'.repeat(20_000))).subarray(0, 200_000);
    const broken: [content: string | Buffer, message: RegExp][] = [
      [cut, /zstd data is damaged/],
      ['[{"text":"a"},', /before its JSON array does, after 1 elements/],
      ['{\n"text":"a"\n}\n{\n"text":', /begins in line 4/],
      ['{"index":{"_id":"1"}}\n{}\n{"delete":{"_id":"1"}}\n', /Line 3 is a delete action/],
      ["a,a\n1,2\n", /Two columns are named a/],
    ];
    for (const [content, message] of broken) {
      const file = write(content);
      await assert.rejects(spooled([file]), (error: Error) => {
        assert.match(error.message, message);
        assert.ok(error.message.startsWith(file));
        return true;
      });
    }
  });

  it("are what somebody says they are, whatever their first bytes say", async () => {
    const action = '{"index":{"_id":"1"}}\n{"text":"a"}\n';
    const { files } = await spooled([write(action)], { format: "ndjson" });
    assert.equal((await documentsOf(files)).length, 2);
    const typed = await spooled([write("1,2.50\n3,4.0\n")], {
      format: "csv",
      types: { "1": "number" },
    });
    const [row] = await documentsOf(typed.files);
    assert.equal(row?.content.toString(), '{"1":3,"2.50":"4.0"}');
  });

  it("that zstd itself has packed are read, with several frames and checksums", async () => {
    // printf '{"text":"one"}\n' | zstd -19 --check, twice, each 500 times the line.
    const frame = Buffer.from(ZSTD_OF_500_LINES, "base64");
    const { files } = await spooled([write(Buffer.concat([frame, frame]))]);
    assert.equal((await documentsOf(files)).length, 1_000);
  });
});

describe("the first documents", () => {
  const fields = { id_field: "_id", text_fields: ["title", "text"] };
  const look = async (content: string) =>
    lookAtFirst((await spooled([write(content)])).files, fields, 10_000);

  it("are refused where all fail for one reason, with the fields that they have", async () => {
    const rows = "sku,body\n" + "1,words\n".repeat(1_500);
    await assert.rejects(look(rows), (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, "document_no_text");
      assert.match(error.message, /^All of the first 1000 documents fail for one reason/);
      assert.match(error.message, /no text in title, text.*line 2 of .*have: sku, body\)$/);
      assert.match(error.hint ?? "", /--text-fields/);
      return true;
    });
    await assert.rejects(look("{'a': 1}\n{'a': 2}\n"), { code: "document_malformed" });
  });

  it("are let through where one is good or reasons differ, and the first good one is shown", async () => {
    const found = await look('{"a":1}\n{"_id":"x","text":"t","n":1.0}\n');
    assert.deepEqual(found.fields, ["a", "_id", "text", "n"]);
    assert.equal(found.first?.id, "x");
    assert.equal((await look('{"a":1}\n{"text":5}\n')).first, undefined);
    assert.deepEqual(await look(""), { fields: [], first: undefined, texts: [] });
    const late = '{"a":1}\n'.repeat(999) + '{"text":"b"}\n';
    assert.equal((await look(late)).first?.json, '{"text":"b"}');
  });

  it("are as many as tell what texts are like, whatever else fails among them", async () => {
    const { texts } = await look('{"text":"good"}\n{"a":1}\n'.repeat(900));
    assert.deepEqual(texts, Array(500).fill("good"));
  });
});

const ZSTD_OF_500_LINES = "KLUv/QRovQAAeHsidGV4dCI6Im9uZSJ9CgEAOi39rANOjz22";
