/** Arbitrary JSON as people write it: any spelling of a number, any escapes, any white space. */
import fc from "fast-check";

const space = fc.constantFrom("", "", "", " ", "\t", " \r ");

const number = fc.oneof(
  fc.integer().map(String),
  fc.constantFrom("-0", "0", "1.0", "1e3", "1E+2", "0.12345678901234567891", "-0.0", "1e-7"),
  fc.bigInt({ min: 2n ** 53n - 2n, max: 2n ** 53n + 2n }).map(String),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
);

const string = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }).map((text) => JSON.stringify(text)),
  fc.string({ maxLength: 12 }).map((text) => JSON.stringify(text)),
  fc.constantFrom('"\\u00e9\\/"', '"\\ud800"', '"\\\\\\""', '"{[,:]}"', '"//"', '"a\\u0000b"'),
);

/** Names that clusters take: not empty, no points, no half characters; some that JavaScript trips over. */
const name = fc.oneof(
  fc.string({ minLength: 1, maxLength: 8 }).map((text) => `f${text.replaceAll(".", "_")}`),
  fc.constantFrom("__proto__", "constructor", "prototype", "toString", "7", "length", "a b", "é"),
);

function object(value: fc.Arbitrary<string>, most: number): fc.Arbitrary<string> {
  const member = fc.tuple(name, space, space, value);
  return fc
    .tuple(fc.uniqueArray(member, { maxLength: most, selector: ([key]) => key }), space, space)
    .map(([members, before, after]) => {
      const inner = members.map(
        ([key, a, b, text]) => `${b}${JSON.stringify(key)}${a}:${b}${text}`,
      );
      return `{${before}${inner.join(",")}${after}}`;
    });
}

const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.oneof(number, string, fc.constantFrom("true", "false", "null")),
    fc
      .tuple(fc.array(tie("value"), { maxLength: 4 }), space)
      .map(([items, a]) => `[${a}${items.join(`,${a}`)}]`),
    object(tie("value"), 4),
  ),
}));

/** The text of any JSON value. */
export const jsonTexts = value;

/** The text of any JSON object without a name twice. */
export const objectTexts = object(value, 6);
