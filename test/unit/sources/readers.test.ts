import assert from "node:assert/strict";
import { Readable } from "node:stream";
import fc from "fast-check";
import { bulkDocuments } from "../../../src/sources/bulk-body.js";
import { rowDocuments, type ColumnOptions } from "../../../src/sources/delimited.js";
import type { FoundDocument } from "../../../src/sources/found-document.js";

function streamOf(content: string | Buffer, cut = 7): AsyncIterable<Buffer> {
  const bytes = Buffer.from(content);
  const parts: Buffer[] = [];
  for (let i = 0; i < bytes.length; i += cut) parts.push(bytes.subarray(i, i + cut));
  return Readable.from(parts) as AsyncIterable<Buffer>;
}

async function all(documents: AsyncGenerator<FoundDocument>): Promise<FoundDocument[]> {
  const found: FoundDocument[] = [];
  for await (const each of documents) found.push(each);
  return found;
}

describe("rows of columns", () => {
  const options = (more: Partial<ColumnOptions> = {}): ColumnOptions => ({
    delimiter: ",",
    types: {},
    maxBytes: 10_000,
    ...more,
  });
  const rows = async (content: string | Buffer, more: Partial<ColumnOptions> = {}) =>
    (await all(rowDocuments(streamOf(content), options(more)))).map(({ content, line, fault }) => [
      line,
      fault === undefined ? content.toString() : fault.reason,
    ]);

  it("are documents of strings, whatever stands in a cell", async () => {
    const cell = fc.string({
      unit: fc.constantFrom("a", " ", ",", ";", '"', "\n", "\r", "\t", "ä", "😀", "0", "\\"),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(cell, { minLength: 3, maxLength: 3 }), { maxLength: 10 }),
        fc.constantFrom(",", ";", "\t"),
        fc.constantFrom("\n", "\r\n"),
        fc.boolean(),
        async (cells, delimiter, end, mark) => {
          const quoted = (row: string[]) =>
            row.map((each) => `"${each.replaceAll('"', '""')}"`).join(delimiter);
          const text = [["_id", "title", "text"], ...cells].map(quoted).join(end) + end;
          const found = await all(
            rowDocuments(streamOf((mark ? "\ufeff" : "") + text), options({ delimiter })),
          );
          assert.deepEqual(
            found.map(({ content }) => content.toString()),
            cells.map(([_id, title, text]) => JSON.stringify({ _id, title, text })),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it("name their first line, count embedded breaks, and keep a bad row to itself", async () => {
    const text = '_id,text\n1,"a\nb"\n2\n3,c,d\n\n4,5" disk\n';
    assert.deepEqual(await rows(text), [
      [2, '{"_id":"1","text":"a\\nb"}'],
      [4, "The row has 1 columns, the header 2."],
      [5, "The row has 3 columns, the header 2."],
      [6, '{"_id":"4","text":"5\\" disk"}'],
    ]);
  });

  it("take numbers with the digits that stand there, truth values and JSON where types say so", async () => {
    const types = { n: "number", b: "boolean", j: "json" } as const;
    const text =
      'n,b,j\n9007199254740993,True,"[1.0,{""a"":2}]"\n1.0,false,\n,,null\n1e5,,\nx,,\n01,,\n,maybe,\n,,{\n';
    assert.deepEqual(
      (await rows(text, { types })).map(([, shown]) => shown),
      [
        '{"n":9007199254740993,"b":true,"j":[1.0,{"a":2}]}',
        '{"n":1.0,"b":false,"j":null}',
        '{"n":null,"b":null,"j":null}',
        '{"n":1e5,"b":null,"j":null}',
        'The column n must hold a number, not "x".',
        'The column n must hold a number, not "01".',
        'The column b must hold a boolean, not "maybe".',
        'The column j must hold a json, not "{".',
      ],
    );
  });

  it("are refused as a whole where the header is none, a quote stays open or the text is not UTF-8", async () => {
    await assert.rejects(rows("a,a\n1,2\n"), /Two columns are named a/);
    await assert.rejects(rows("a,b\n1,2\n", { types: { c: "number" } }), { code: "usage" });
    await assert.rejects(rows(Buffer.from("a,b\n1,Gr\xfc\xdfe\n", "latin1")), /not UTF-8/);
    await assert.rejects(rows('a,b\n1,"open\n2,3\n'), { code: "source_unreadable" });
  });

  it("name a column without a name by its number, and no field `__proto__` is lost", async () => {
    assert.deepEqual(await rows(",__proto__\n0,x\n"), [[2, '{"column_1":"0","__proto__":"x"}']]);
  });
});

describe("a _bulk body", () => {
  const bulk = (content: string, maxBytes = 1_000) =>
    all(bulkDocuments(streamOf(content), maxBytes)).then((found) =>
      found.map(({ content, ...rest }) => ({ ...rest, content: content.toString() })),
    );

  it("gives its documents untouched, with the ids and routing of their actions", async () => {
    const text =
      '{"index":{"_index":"x","_id":"1","routing":"r"}}\n{"n": 1.0, "n2":9007199254740993}\n' +
      '{"create":{"_id":9007199254740993,"_routing":5}}\n{"a":1}\n\n{"index":{}}\n{"b":1}';
    assert.deepEqual(await bulk(text), [
      { line: 2, id: "1", routing: "r", content: '{"n": 1.0, "n2":9007199254740993}' },
      { line: 4, id: "9007199254740993", routing: "5", content: '{"a":1}' },
      { line: 7, content: '{"b":1}' },
    ]);
  });

  it("keeps a document that is too large to itself", async () => {
    const text = `{"index":{"_id":"1"}}\n{"a":"${"x".repeat(100)}"}\n{"index":{"_id":"2"}}\n{}\n`;
    const [first, second] = await bulk(text, 50);
    assert.equal(first?.fault?.code, "document_too_large");
    assert.equal(first.id, "1");
    assert.equal(second?.content, "{}");
  });

  it("is refused where it asks for what ingesting cannot do, or is none", async () => {
    const after = '{"index":{}}\n{}\n';
    const unsupported = { code: "source_unsupported" };
    await assert.rejects(bulk(`${after}{"delete":{"_id":"1"}}\n`), /Line 3 is a delete action/);
    await assert.rejects(bulk(`{"update":{"_id":"1"}}\n{"doc":{}}\n`), unsupported);
    await assert.rejects(bulk(`{"index":{"pipeline":"p"}}\n{}\n`), /asks for pipeline/);
    await assert.rejects(bulk(`${after}{"text":"no action"}\n`), /Line 3 is no action/);
    await assert.rejects(bulk(`${after}{broken\n`), { code: "source_unreadable" });
    await assert.rejects(bulk(`${after}{"index":{}}\n`), /without its document/);
  });
});
