import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { parquetWriteBuffer, type ColumnSource, type SchemaElement } from "hyparquet-writer";
import { parquetDocuments } from "../../../src/sources/parquet.js";

describe("the documents of a Parquet file", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-parquet-"));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** What a file of these columns gives, or the reason of a fault. */
  async function documentsOf(
    columnData: ColumnSource[],
    {
      schema,
      rowGroupSize = 100,
      maxBytes = 10_000,
    }: {
      schema?: SchemaElement[];
      rowGroupSize?: number;
      maxBytes?: number;
    } = {},
  ): Promise<string[]> {
    const file = path.join(folder, "file.parquet");
    const buffer = parquetWriteBuffer({
      columnData,
      rowGroupSize,
      ...(schema === undefined ? {} : { schema }),
    });
    writeFileSync(file, Buffer.from(buffer));
    const found: string[] = [];
    for await (const { content, fault } of parquetDocuments(file, maxBytes)) {
      found.push(fault?.reason ?? content.toString("utf8"));
    }
    return found;
  }

  it("keep the digits of integers, decimals, numbers and times", async () => {
    const schema: SchemaElement[] = [
      { name: "root", num_children: 6 },
      { name: "id", type: "INT64", repetition_type: "REQUIRED" },
      {
        ...{ name: "price", type: "INT64", repetition_type: "REQUIRED" },
        ...{ converted_type: "DECIMAL", scale: 4, precision: 18 },
      },
      {
        ...{ name: "wide", type: "FIXED_LEN_BYTE_ARRAY", type_length: 16, scale: 2, precision: 38 },
        ...{ converted_type: "DECIMAL", repetition_type: "REQUIRED" },
      },
      {
        name: "at",
        type: "INT64",
        converted_type: "TIMESTAMP_MICROS",
        repetition_type: "REQUIRED",
      },
      { name: "day", type: "INT32", converted_type: "DATE", repetition_type: "REQUIRED" },
      { name: "small", type: "FLOAT", repetition_type: "REQUIRED" },
    ] as SchemaElement[];
    const columns = [
      { name: "id", data: [9_007_199_254_740_993n, -1n] },
      { name: "price", data: [90_071_992_547_409_931n, -5n] },
      { name: "wide", data: [123_456_789_012_345_678_901_234_567n, -123n] },
      { name: "at", data: [1_700_000_000_123_456n, -1n] },
      { name: "day", data: [19_675, -1] },
      { name: "small", data: [Math.fround(0.1), -0] },
    ] as unknown as ColumnSource[];
    assert.deepEqual(await documentsOf(columns, { schema }), [
      '{"id":9007199254740993,"price":9007199254740.9931,"wide":1234567890123456789012345.67,"at":"2023-11-14T22:13:20.123456Z","day":"2023-11-14","small":0.1}',
      '{"id":-1,"price":-0.0005,"wide":-1.23,"at":"1969-12-31T23:59:59.999999Z","day":"1969-12-31","small":-0}',
    ]);
  });

  it("have JSON as it stands, bytes as text or base64, and null for what is absent or not a number", async () => {
    const found = await documentsOf([
      { name: "__proto__", data: ["a", "b"], type: "STRING" },
      { name: "json", data: [{ a: 1 }, null], type: "JSON" },
      { name: "bytes", data: [Buffer.from("wörter"), new Uint8Array([0xff])], type: "BYTE_ARRAY" },
      { name: "number", data: [Number.NaN, 1.5], type: "DOUBLE" },
    ]);
    assert.deepEqual(found, [
      '{"__proto__":"a","json":{"a":1},"bytes":"wörter","number":null}',
      '{"__proto__":"b","json":null,"bytes":"/w==","number":1.5}',
    ]);
  });

  it("fail alone, with the column's name, where JSON has no word for a value or they are too large", async () => {
    const column = { name: "n", data: [1, Number.POSITIVE_INFINITY, 2], type: "DOUBLE" } as const;
    const [first, broken, last] = await documentsOf([column as unknown as ColumnSource]);
    assert.deepEqual([first, last], ['{"n":1}', '{"n":2}']);
    assert.match(broken ?? "", /The column n holds Infinity/);
    const texts = { name: "text", data: ["short", "l".repeat(100)], type: "STRING" } as const;
    const sized = await documentsOf([texts as unknown as ColumnSource], { maxBytes: 50 });
    assert.match(sized[1] ?? "", /ingest\.max_document_bytes is 50/);
  });

  it("are all there, in order, over row groups of any size, whatever the texts and numbers", async () => {
    const row = fc.record({
      text: fc.string({ unit: "grapheme" }),
      n: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { minLength: 1 }),
        fc.integer({ min: 1, max: 7 }),
        async (rows, rowGroupSize) => {
          const columns = [
            { name: "text", data: rows.map(({ text }) => text), type: "STRING" },
            { name: "n", data: rows.map(({ n }) => n), type: "INT64" },
          ] as unknown as ColumnSource[];
          const wanted = rows.map(({ text, n }) => `{"text":${JSON.stringify(text)},"n":${n}}`);
          assert.deepEqual(await documentsOf(columns, { rowGroupSize }), wanted);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("are refused where the file is damaged", async () => {
    const file = path.join(folder, "damaged.parquet");
    writeFileSync(file, "PAR1 and no more");
    await assert.rejects(parquetDocuments(file, 100).next(), { code: "source_unreadable" });
  });
});
