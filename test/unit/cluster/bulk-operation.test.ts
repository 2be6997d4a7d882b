import assert from "node:assert/strict";
import fc from "fast-check";
import { JsonText, linesOf, plainDocument } from "../../../src/cluster/bulk-operation.js";

const operation = { index: "articles", id: "1", action: "index" } as const;

describe("lines of a bulk operation", () => {
  it("are the document's JSON, whichever of its fields are JSON text already", () => {
    const names = fc.oneof(
      fc.string(),
      fc.constantFrom("__proto__", "constructor", "7", "csplade"),
    );
    const field = fc.tuple(names, fc.jsonValue(), fc.boolean());
    fc.assert(
      fc.property(fc.array(field, { maxLength: 8 }), (fields) => {
        const plain = Object.fromEntries(fields.map(([name, value]) => [name, value]));
        const mixed = Object.fromEntries(
          fields.map(([name, value, ready]) => [
            name,
            ready ? new JsonText(JSON.stringify(value)) : value,
          ]),
        );
        const head = '{"index":{"_index":"articles","_id":"1"}}';
        const lines = `${head}\n${JSON.stringify(plain)}\n`;
        assert.deepEqual(linesOf({ ...operation, document: mixed }), { lines });
        assert.deepEqual(plainDocument(mixed), JSON.parse(JSON.stringify(plain)));
        // Whoever writes the document without knowing of them writes the same.
        assert.deepEqual(JSON.parse(JSON.stringify(mixed)), JSON.parse(JSON.stringify(plain)));
      }),
    );
  });

  it("leave out fields without a value, beside JSON text too", () => {
    const document = { a: undefined, vector: new JsonText("{}"), b: undefined };
    const made = linesOf({ ...operation, document });
    assert.ok("lines" in made && made.lines.endsWith('\n{"vector":{}}\n'));
  });

  it("cannot be those of a document that is no JSON, beside JSON text too", () => {
    for (const document of [{ a: 1n }, { vector: new JsonText("{}"), a: 1n }]) {
      const made = linesOf({ ...operation, document });
      assert.match("problem" in made ? made.problem : "", /cannot be written as JSON/);
    }
  });
});
