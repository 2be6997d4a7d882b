import assert from "node:assert/strict";
import fc from "fast-check";
import { differingField } from "../../../src/index/source-comparison.js";
import { JsonObject } from "../../../src/json/json-object.js";
import { objectTexts } from "../../support/json-texts.js";

describe("comparing a stored document with its source", () => {
  it("finds nothing where only our fields and the order of theirs differ", () => {
    fc.assert(
      fc.property(objectTexts, (text) => {
        const stored = (JsonObject.read(text) as { object: JsonObject }).object.with([
          ["csplade", '{"1":2}'],
          ["csplade_hash", '"x"'],
        ]);
        assert.equal(differingField(text, stored), undefined);
      }),
    );
    assert.equal(
      differingField('{"a":1,"b":{"c":1.0,"d":2}}', '{"b":{"d":2,"c":1.0},"a":1}'),
      undefined,
    );
  });

  it("names the field of a digit, a field or a nested name that is another or missing", () => {
    const source = '{"a":9007199254740993,"b":1.0,"c":{"d":[1]}}';
    const cases: [string, string][] = [
      ['{"a":9007199254740992,"b":1.0,"c":{"d":[1]}}', "a"],
      ['{"a":9007199254740993,"b":1,"c":{"d":[1]}}', "b"],
      ['{"a":9007199254740993,"b":1.0,"c":{"d":[2]}}', "c"],
      ['{"a":9007199254740993,"c":{"d":[1]}}', "b"],
      ['{"a":9007199254740993,"b":1.0,"c":{"d":[1]},"e":null}', "e"],
    ];
    for (const [stored, field] of cases) assert.equal(differingField(source, stored), field);
  });
});
