/** Documents that have gone wrong, or could, from a seed: the same number gives the same documents. */
import fc from "fast-check";
import { objectTexts } from "./json-texts.js";

/** Members that each cost somebody a digit or a field once. */
const HOSTILE = [
  '"n":9007199254740993,"price":1.0,"d":0.12345678901234567891',
  '"zero":-0 ,"nought":-0.0,"e":1E+2,"f":1e-7',
  '"long":123456789012345678901234567890,"least":-9223372036854775808',
  '"escapes":"\\u00e9\\/\\u2028","half":"\\ud800","sign":"\u{1F600} ÅŁ"',
  '"__proto__":{"polluted":1}',
  '"constructor":{"prototype":{"polluted":1}},"toString":null',
  '"7":1,"1":2,"0x":3,"z":1,"a":2',
  `"deep":${'{"a":'.repeat(15)}1.0${"}".repeat(15)}`,
  '"list" : [ 1.0 , {"k":2.50,"a":[{"b":1},{"b":1.00}]} , {} ]',
] as const;

/** Random objects that documents share. */
const POOL = 2_000;

/** Ids begin where doubles lose the last digit. */
const FIRST_ID = 9_007_199_254_740_993n;

/** Hostile documents by their number. */
export interface HostileDocuments {
  /** The id of the document with a number: digits, of 64 bits. */
  id(number: number): string;
  /** Its JSON text in a version; the members stand in another order in each. */
  text(number: number, version: number): string;
}

/** Documents of a seed. */
export function hostileDocuments(seed: number): HostileDocuments {
  const pool = fc.sample(objectTexts, { seed, numRuns: POOL }).map((text) => {
    const inner = text.trim().slice(1, -1);
    return inner.trim() === "" ? undefined : inner;
  });
  const id = (number: number) => String(FIRST_ID + BigInt(number));
  return {
    id,
    text(number, version) {
      const random = pool[(number * 7 + version * 131) % POOL];
      // A name may be in the random part and among the hostile ones, and none may come twice.
      const hostile = HOSTILE[(number + version) % HOSTILE.length] ?? "";
      const more = number % 3 === 0 ? random : hostile;
      const members = [
        `"sku":${id(number)}`,
        `"text":"hostile document ${number} in version ${version} of subject ${number % 17}"`,
        ...(more === undefined ? [] : [more]),
      ];
      const turn = (number + version) % members.length;
      return `{${[...members.slice(turn), ...members.slice(0, turn)].join(",")}}`;
    },
  };
}
