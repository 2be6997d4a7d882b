import assert from "node:assert/strict";
import { Readable } from "node:stream";
import fc from "fast-check";
import { jsonValues, type FoundValue, type ValueLayout } from "../../../src/sources/json-values.js";

function streamOf(text: string, cut: number): AsyncIterable<Buffer> {
  const content = Buffer.from(text);
  const parts: Buffer[] = [];
  for (let i = 0; i < content.length; i += cut) parts.push(content.subarray(i, i + cut));
  return Readable.from(parts) as AsyncIterable<Buffer>;
}

async function valuesOf(
  text: string,
  layout: ValueLayout,
  { cut = 1_000, maxBytes = 1_000_000 } = {},
): Promise<FoundValue[]> {
  const found: FoundValue[] = [];
  for await (const value of jsonValues(streamOf(text, cut), layout, maxBytes)) found.push(value);
  return found;
}

const texts = (found: FoundValue[]) => found.map(({ content }) => content?.toString());

describe("values of a JSON stream", () => {
  const documents = fc.array(fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 }), {
    maxLength: 8,
  });
  const indents = fc.constantFrom(undefined, 1, 2, "\t");

  it("are the own bytes of an array's elements, however it is printed and cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        documents,
        indents,
        fc.integer({ min: 1, max: 9 }),
        async (all, indent, cut) => {
          const text = JSON.stringify(all, undefined, indent);
          const found = await valuesOf(text, "array", { cut });
          assert.deepEqual(
            found.map(({ content }) => JSON.parse(content?.toString() ?? "") as unknown),
            JSON.parse(text),
          );
          for (const { content, line, bytes, fault } of found) {
            assert.ok(text.includes(content?.toString() ?? "?"));
            assert.equal(bytes, content?.length);
            assert.equal(fault, undefined);
            assert.ok(line <= text.split("\n").length);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it("are the own bytes of objects one after another, with or without space between them", async () => {
    const between = fc.constantFrom("", "\n", " ", "\r\n\r\n", ",\n");
    await fc.assert(
      fc.asyncProperty(documents, indents, between, async (all, indent, space) => {
        const printed = all.map((each) => JSON.stringify(each, undefined, indent));
        assert.deepEqual(
          texts(await valuesOf(printed.join(space), "objects", { cut: 3 })),
          printed,
        );
      }),
      { numRuns: 200 },
    );
  });

  it("name the line they begin in", async () => {
    const found = await valuesOf(
      '[\n  {"a": 1},\n\n  {\n "b": [\n{}]\n}\n, 5, "x",\nnull]\n',
      "array",
    );
    assert.deepEqual(
      found.map(({ line, content }) => [line, content?.toString()]),
      [
        [2, '{"a": 1}'],
        [4, '{\n "b": [\n{}]\n}'],
        [8, "5"],
        [8, '"x"'],
        [9, "null"],
      ],
    );
  });

  it("pass over what is larger than the limit and count its bytes", async () => {
    const big = `{"big":"${"x".repeat(500)}"}`;
    const found = await valuesOf(`[{"a":1},${big},{"b":2}]`, "array", { maxBytes: 100, cut: 64 });
    assert.deepEqual(texts(found), ['{"a":1}', undefined, '{"b":2}']);
    assert.equal(found[1]?.bytes, big.length);
  });

  it("keep a broken value to itself, and tell a line break inside a string", async () => {
    const found = await valuesOf('[{\'a\': 1},{"b":"x\ny"},garbage,{"c":1,}]', "array");
    assert.deepEqual(texts(found), ["{'a': 1}", '{"b":"x\ny"}', "garbage", '{"c":1,}']);
    assert.deepEqual(
      found.map(({ fault }) => fault !== undefined),
      [false, true, false, false],
    );
  });

  it("are refused as a whole where the file is cut off or goes on", async () => {
    for (const text of [
      '[{"a":1},{"b":',
      '[{"a":1}',
      '[{"a":1},',
      "[",
      '{"a":1}',
      '[{"a":1}] {}',
    ]) {
      await assert.rejects(valuesOf(text, "array"), { code: "source_unreadable" }, text);
    }
    await assert.rejects(valuesOf('{"a":1}\n{"b":{}\n', "objects"), /begins in line 2/);
    assert.deepEqual(await valuesOf(" [ ] \n", "array"), []);
    assert.deepEqual(await valuesOf("", "objects"), []);
  });
});
