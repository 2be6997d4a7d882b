import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { sniff, type FileFormat } from "../../../src/sources/sniff.js";
import { compressionOf } from "../../../src/sources/unpack.js";

const formatOf = (text: string | Buffer, whole = true) => {
  const found = sniff(Buffer.from(text), whole);
  return "format" in found ? found.format : `refused: ${found.looksLike}`;
};

describe("the format of a file", () => {
  const action = '{"index":{"_index":"a","_id":"1","routing":"r"}}';
  const hit = '{"_index":"a","_type":"_doc","_id":"1","_score":1,"_source":{"text":"x"}}';
  const printed = JSON.stringify(
    { _id: "a", more: { text: "b" }, list: [{ c: 1 }, {}] },
    undefined,
    2,
  );

  const cases: readonly (readonly [text: string, format: FileFormat])[] = [
    ["", "ndjson"],
    ["\n\n", "ndjson"],
    ['{"_id":"a","text":"b"}', "ndjson"],
    ['{"_id":"a","text":"b"}\r\n{"_id":"b"}\r\n', "ndjson"],
    ['{broken\n{"_id":"a","text":"b"}\n', "ndjson"],
    ["{broken\n{also broken\n", "ndjson"],
    ["{'python': 1}\n{'python': 2}\n", "ndjson"],
    ['{"index":{"_id":"a"},"text":"a document with a field index"}\n{"text":"b"}\n', "ndjson"],
    ['{"index":{"price":1}}\n{"text":"b"}\n', "ndjson"],
    ["[]", "json-array"],
    ['[{"a":1}]', "json-array"],
    ['  [\n  {\n "a":1}]', "json-array"],
    ["[\n", "json-array"],
    [printed, "json-objects"],
    [`${printed}\n${printed}\n`, "json-objects"],
    ['{"a":1}{"a":2}', "json-objects"],
    ["{\n}\n{\n}\n", "json-objects"],
    [`${action}\n{"text":"x"}\n`, "bulk"],
    ['{"create":{}}\n{"text":"x"}\n', "bulk"],
    ['{"delete":{"_id":"1"}}\n', "bulk"],
    [`${hit}\n${hit}\n`, "elasticdump"],
    ["_id,title,text\n1,a,b\n2,c,d\n", "csv"],
    ['_id,text\n1,"a, with\na break"\n2,"c ""quoted"""\n', "csv"],
    ["_id;text\n1;a,b\n2;c,d\n", "csv"],
    ["_id\ttitle\ttext\r\n1\ta, b\tc\r\n", "tsv"],
    ["name,2019,2020\na,1,2\n", "csv"],
  ];
  for (const [text, format] of cases) {
    it(`is ${format} for ${JSON.stringify(text.slice(0, 50))}, with a byte order mark too`, () => {
      assert.equal(formatOf(text), format);
      assert.equal(formatOf("\ufeff" + text), format);
    });
  }

  it("is told from a head that ends anywhere", () => {
    const files: [string, FileFormat][] = [
      [JSON.stringify([{ text: "äöü".repeat(50) }, { b: 1 }], undefined, 2), "json-array"],
      [`${printed}\n${printed}\n`.repeat(3), "json-objects"],
    ];
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom(...files), (at, [text, format]) => {
        const content = Buffer.from(text);
        const head = content.subarray(0, 20 + (at % (content.length - 20)));
        assert.equal(formatOf(head, false), format);
      }),
    );
    const longLine = Buffer.from(`{"text":"${"x".repeat(500)}"}\n`);
    assert.equal(formatOf(longLine.subarray(0, 300), false), "ndjson");
  });

  it("is ndjson for any documents, one in each line", () => {
    const line = fc
      .record({ _id: fc.string(), text: fc.string() })
      .map((each) => JSON.stringify(each));
    fc.assert(
      fc.property(fc.array(line, { minLength: 1 }), (lines) => {
        assert.equal(formatOf(lines.join("\n")), "ndjson");
      }),
    );
  });

  const refused: readonly (readonly [head: string | Buffer, looksLike: RegExp])[] = [
    ["Obj\x01\x04\x00", /Avro/],
    ["PK\x03\x04\x14\x00", /zip.*Excel/],
    ["%PDF-1.7\n", /PDF/],
    ["<!DOCTYPE html><html>", /HTML/],
    ["\n <html lang='de'>", /HTML/],
    ["<?xml version='1.0'?><add><doc/></add>", /XML/],
    ["BZh91AY", /bzip2/],
    [Buffer.from("\ufeff{}", "utf16le"), /UTF-16/],
    [Buffer.from('{"text":"no mark"}', "utf16le"), /UTF-16/],
    [Buffer.from("_id,text\n1,Gr\xfc\xdfe\n", "latin1"), /not UTF-8/],
    [Buffer.from([1, 2, 3, 0, 0, 0, 7, 0, 9]), /binary/],
    ["[1, 2, 3]", /array of something other/],
    ["# A title\n\nSome words, and more of them.\nAnother line.\n", /plain text/],
    ["Dear all\nhello\n", /plain text/],
    ["1,first,text\n2,second,text\n", /without a header/],
  ];
  for (const [head, looksLike] of refused) {
    it(`is none for what looks like ${looksLike.source}`, () => {
      const found = sniff(typeof head === "string" ? Buffer.from(head, "latin1") : head, true);
      assert.ok("looksLike" in found, JSON.stringify(found));
      assert.match(found.looksLike, looksLike);
      assert.match(found.advice, /\.|:/);
    });
  }

  it("is looked for behind gzip and zstd, which their own first bytes tell", () => {
    assert.equal(compressionOf(gzipSync("x")), "gzip");
    assert.equal(compressionOf(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 4])), "zstd");
    assert.equal(compressionOf(Buffer.from([0x52, 0x2a, 0x4d, 0x18, 4])), "zstd");
    assert.equal(compressionOf(Buffer.from("{}")), "none");
    assert.equal(compressionOf(Buffer.alloc(0)), "none");
  });
});
