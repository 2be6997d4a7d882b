import assert from "node:assert/strict";
import fc from "fast-check";
import { JsonObject, withoutMembers } from "../../../src/json/json-object.js";
import {
  endOfValue,
  inspect,
  itemsOf,
  membersOf,
  skipSpace,
  valueOf,
} from "../../../src/json/positions.js";
import { jsonTexts, objectTexts } from "../../support/json-texts.js";

function read(text: string): JsonObject {
  const found = JsonObject.read(text);
  assert.ok("object" in found, "problem" in found ? found.problem : "");
  return found.object;
}

function problemOf(text: string): string {
  const found = JsonObject.read(text);
  return "problem" in found ? found.problem : "none";
}

describe("positions in JSON text", () => {
  it("are where JSON.parse finds what stands there", () => {
    fc.assert(
      fc.property(objectTexts, (text) => {
        const parsed = JSON.parse(text) as Record<string, unknown>;
        for (const members of [membersOf(text, skipSpace(text, 0)), inspect(text).members]) {
          const names = members.map(({ name }) => name);
          assert.deepEqual(new Set(names), new Set(Object.keys(parsed)));
          assert.equal(names.length, Object.keys(parsed).length);
          for (const { name, start, value, end } of members) {
            assert.deepEqual(JSON.parse(text.slice(value, end)), parsed[name]);
            assert.ok(text.slice(start).startsWith('"'));
            assert.equal(valueOf(text, skipSpace(text, 0), name), value);
          }
        }
        assert.equal(inspect(text).duplicate, undefined);
      }),
      { numRuns: 1_000 },
    );
  });

  it("of an array's items too, and the end of any value is its end", () => {
    fc.assert(
      fc.property(fc.array(jsonTexts), (texts) => {
        const text = `[ ${texts.join(" ,")} ]`;
        const items = itemsOf(text, 0).map(({ start, end }) => text.slice(start, end));
        assert.deepEqual(items, texts);
        assert.equal(endOfValue(text, 0), text.length);
      }),
    );
  });

  it("find each number that JavaScript would write otherwise, and no other", () => {
    const text =
      '{"a":[1,1.0,9007199254740993,-0,0.5,1e3,"1.0"],"b":{"1.0":9007199254740991,"c":1e400}}';
    assert.deepEqual(
      inspect(text).unusual.map(({ start, end }) => text.slice(start, end)),
      ["1.0", "9007199254740993", "-0", "1e3", "1e400"],
    );
  });
});

describe("JSON object", () => {
  it("that gets members and loses them again is the same text", () => {
    const ours = [
      ["csplade", '{"3":1.5}'],
      ["csplade_hash", '"x"'],
    ] as const;
    fc.assert(
      fc.property(objectTexts, (text) => {
        const longer = read(text).with(ours);
        assert.deepEqual(
          JSON.parse(longer),
          Object.fromEntries([
            ...Object.entries(JSON.parse(text) as object),
            ["csplade", { 3: 1.5 }],
            ["csplade_hash", "x"],
          ]),
        );
        const isOurs = (name: string) => name.startsWith("csplade");
        assert.equal(read(longer).without(isOurs).text, text);
        assert.equal(withoutMembers(longer, isOurs), text);
      }),
      { numRuns: 1_000 },
    );
  });

  it("without any of its members is JSON, and the others keep their text", () => {
    fc.assert(
      fc.property(objectTexts, fc.infiniteStream(fc.boolean()), (text, cuts) => {
        const object = read(text);
        const cut = new Set(object.members.filter(() => cuts.next().value).map(({ name }) => name));
        const rest = object.without((name) => cut.has(name));
        const kept = object.members.filter(({ name }) => !cut.has(name));
        assert.deepEqual(
          rest.members.map(({ start, end }) => rest.text.slice(start, end)),
          kept.map(({ start, end }) => text.slice(start, end)),
        );
      }),
      { numRuns: 1_000 },
    );
  });

  it("has one canonical text whatever the order of its fields, and another for another digit", () => {
    fc.assert(
      fc.property(objectTexts, (text) => {
        const object = read(text);
        const turned = [...object.members]
          .reverse()
          .map(({ start, end }) => text.slice(start, end));
        assert.equal(read(`{${turned.join(",")}}`).canonical(), object.canonical());
      }),
    );
    const canonical = (text: string) => read(text).canonical();
    assert.notEqual(canonical('{"n":9007199254740993}'), canonical('{"n":9007199254740992}'));
    assert.notEqual(canonical('{"n":1.0}'), canonical('{"n":1}'));
    assert.notEqual(canonical('{"n":1.0}'), canonical('{"n":"\\u00001.0"}'));
    assert.notEqual(canonical('{"a":1.0,"b":2.0}'), canonical('{"a":2.0,"b":1.0}'));
  });

  it("of numbers as JavaScript writes them has the canonical text it always had", () => {
    assert.equal(
      read('{"b": 1, "a": {"d":1.5,"c":[2]}}').canonical(),
      '{"a":{"c":[2],"d":1.5},"b":1}',
    );
  });

  it("finds a field by its name and through objects and arrays, and cuts what it finds", () => {
    const cases: [text: string, field: string, values: unknown[], rest: string][] = [
      ['{"a":"x","b":1}', "a", ["x"], '{"b":1}'],
      ['{"a.b":"x","a":{"b":"y"}}', "a.b", ["x"], '{"a":{"b":"y"}}'],
      ['{"a":{"b":"y","c":1.0}}', "a.b", ["y"], '{"a":{"c":1.0}}'],
      [
        '{"a":[{"b":"y"},{"c":2},{"b":"z","d":[1]}]}',
        "a.b",
        ["y", "z"],
        '{"a":[{},{"c":2},{"d":[1]}]}',
      ],
      ['{"a":[[{"b.c":["y"]}]]}', "a.b.c", [["y"]], '{"a":[[{}]]}'],
      ['{"a.b":{"c":"x"}}', "a.b.c", ["x"], '{"a.b":{}}'],
      ['{"a":1}', "a.b", [], '{"a":1}'],
      ['{"a":{"x":1}}', "toString", [], '{"a":{"x":1}}'],
    ];
    for (const [text, field, values, rest] of cases) {
      assert.deepEqual(read(text).valuesAt(field), values, text);
      assert.equal(read(text).withoutField(field).text, rest, text);
    }
  });

  it("is refused with the name that stands twice, at any depth and however it is spelled", () => {
    assert.match(problemOf('{"a":1,"a":2}'), /key "a" twice/);
    assert.match(problemOf('{"o":[{"x":1,"y":{"k":1,"\\u006b":2}}]}'), /key "k" twice/);
    const many = Array.from({ length: 40 }, (_, i) => `"k${i}":${i}`).join(",");
    assert.equal(problemOf(`{${many}}`), "none");
    assert.match(problemOf(`{${many},"k31":0}`), /key "k31" twice/);
    assert.equal(problemOf('{"a":{"k":1},"b":{"k":1},"k":[{"k":1}]}'), "none");
  });

  it("is what clusters take beyond JSON, too: comments and a byte order mark", () => {
    assert.equal(
      read('\ufeff{/*x*/"a":1.0,// y\n"b":"//"}').text.replaceAll(" ", ""),
      '{"a":1.0,"b":"//"}',
    );
  });

  it("may be nested deeper than any stack", () => {
    const deep = `{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
    assert.equal(read(deep).with([["b", "1"]]).length, deep.length + 6);
    assert.equal(
      withoutMembers(deep, (name) => name === "a"),
      "{}",
    );
  });

  it("pollutes no prototype", () => {
    const object = read('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
    object.parse();
    object.canonical();
    object.valuesAt("__proto__.polluted");
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
    assert.match(object.canonical(), /"__proto__":\{"polluted":1\}/);
  });

  it("is nothing else", () => {
    for (const text of ["", "[]", "1", "{", '{"a":1}x', "{'a':1}", '{"a":01}', '{"a":NaN}']) {
      assert.match(problemOf(text), /is not JSON|not an object/, text);
    }
  });
});
