/**
 * The wire form of a vector: an object from feature name to weight, where the name is the
 * decimal token id. Ids, because a dot in a feature name indexes silently and then matches
 * nothing, and because `rank_features`, the ANN `sparse_vector` field and Elasticsearch all
 * take them.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { luceneBits, luceneStored } from "./quantize.js";
import { MIN_WEIGHT, sparseVector, type SparseVector } from "./sparse-vector.js";

/** Feature name (decimal token id) → weight, as documents and queries carry it. */
export type Features = Record<string, number>;

const FEATURE_NAME = /^(?:0|[1-9]\d{0,9})$/;
const LARGEST_FLOAT32 = 3.4028234663852886e38;

/** The feature name of a token id. */
export function featureName(id: number): string {
  return String(id);
}

/**
 * A vector as features. Keys come in ascending id order, which is the order JavaScript and
 * JSON keep them in; weights are the shortest decimals that read back as the same float32.
 */
export function toFeatures({ ids, weights }: SparseVector): Features {
  const features: Features = {};
  for (let i = 0; i < ids.length; i++) {
    features[ids[i] as number] = knownDecimal(weights[i] as number);
  }
  return features;
}

/** {@link toFeatures} as JSON text. */
export function featuresJson(vector: SparseVector): string {
  return jsonWith(vector, (weight) => Buffer.from(String(knownDecimal(weight))));
}

/**
 * A document's vector as features, as JSON text: weights in the fewest digits of which the index
 * keeps the same number as of the weight itself (see {@link storedDecimal}). `_source` is what most
 * bytes of an index are, and digits beyond those that count are most of its bytes.
 */
export function storedFeaturesJson(vector: SparseVector): string {
  return jsonWith(vector, storedDigits);
}

/** More than a vector has terms; 32 bits of id times it is still exact in a double. */
const PLACES = 2 ** 20;

/** Most bytes of a feature: a comma, quotes, 10 digits, a colon and a number. */
const MOST_FEATURE_BYTES = 48;

const [COMMA, QUOTE, COLON, OPEN, CLOSE, ZERO] = [0x2c, 0x22, 0x3a, 0x7b, 0x7d, 0x30];

let scratch = Buffer.alloc(1_000 * MOST_FEATURE_BYTES);

/**
 * Writes bytes: every written document comes by here, and an object under hundreds of names that
 * are numbers costs ten times as much to make and to write.
 */
function jsonWith({ ids, weights }: SparseVector, digitsOf: (weight: number) => Buffer): string {
  const { length } = ids;
  // Sorted as plain numbers, each an id and, in its lower digits, where the id's weight is.
  const places = new Float64Array(length);
  for (let i = 0; i < length; i++) places[i] = (ids[i] as number) * PLACES + i;
  places.sort();
  const most = 2 + length * MOST_FEATURE_BYTES;
  if (scratch.length < most) scratch = Buffer.alloc(most);
  let end = 0;
  scratch[end++] = OPEN;
  for (let i = 0; i < length; i++) {
    const place = places[i] as number;
    const id = Math.floor(place / PLACES);
    if (i > 0) scratch[end++] = COMMA;
    scratch[end++] = QUOTE;
    end = writeDigits(id, end);
    scratch[end++] = QUOTE;
    scratch[end++] = COLON;
    const digits = digitsOf(weights[place - id * PLACES] as number);
    for (let at = 0; at < digits.length; at++) scratch[end++] = digits[at] as number;
  }
  scratch[end++] = CLOSE;
  return scratch.toString("latin1", 0, end);
}

/** Writes a whole number of 32 bits. @returns where it ends. */
function writeDigits(number: number, start: number): number {
  let end = start;
  for (let rest = number; rest > 9; rest = (rest / 10) >>> 0) end++;
  for (let at = end, rest = number; at >= start; at--) {
    const tens = (rest / 10) >>> 0;
    scratch[at] = ZERO + rest - tens * 10;
    rest = tens;
  }
  return end + 1;
}

/**
 * Reads features back, from `_source` or from a request.
 * @throws CspladeError `index_invalid` naming the feature that is not a token id, or whose
 * weight is not a positive normal float32.
 */
export function fromFeatures(features: Readonly<Record<string, unknown>>): SparseVector {
  return sparseVector(checkedTerms(features));
}

function* checkedTerms(
  features: Readonly<Record<string, unknown>>,
): Generator<readonly [id: number, weight: number]> {
  for (const [name, weight] of Object.entries(features)) {
    const id = Number(name);
    if (!FEATURE_NAME.test(name) || id > 0xffffffff) {
      throw new CspladeError(
        "index_invalid",
        `The feature ${JSON.stringify(name)} is not a decimal token id.`,
        { hint: "Another program wrote this vector; CSPLADE names features by token id." },
      );
    }
    if (typeof weight !== "number" || !(weight >= MIN_WEIGHT && weight <= LARGEST_FLOAT32)) {
      throw new CspladeError(
        "index_invalid",
        `The feature ${name} has the weight ${JSON.stringify(weight)}; weights are numbers from 1.18e-38 to 3.4e38.`,
      );
    }
    yield [id, weight];
  }
}

/** The digits of {@link storedDecimal} by what Lucene keeps of a weight: 16 bits without the sign. */
const storedTexts = new Array<Buffer | undefined>(2 ** 16);

function storedDigits(weight: number): Buffer {
  return (storedTexts[luceneBits(weight)] ??= Buffer.from(String(storedDecimal(weight))));
}

/** Quantized weights are few: the decimal of each is looked for once. */
const MOST_DECIMALS = 16_384;
const decimals = new Map<number, number>();

function knownDecimal(weight: number): number {
  const known = decimals.get(weight);
  if (known !== undefined) return known;
  const decimal = shortDecimal(weight);
  if (decimals.size < MOST_DECIMALS) decimals.set(weight, decimal);
  return decimal;
}

/**
 * The shortest decimal that a `rank_features` field stores as it stores `weight`: Lucene cuts a
 * weight off after 9 significant bits, so 1.223 is kept as 1.22265625 is. Three or four digits.
 */
export function storedDecimal(weight: number): number {
  const stored = luceneStored(weight);
  const magnitude = Math.floor(Math.log10(stored));
  for (let digits = 1; digits < 9; digits++) {
    // What is next above as well: below lies another stored weight.
    const above = stored + 0.5 * 10 ** (magnitude - digits + 1);
    for (const near of [stored, above]) {
      const short = Number(near.toPrecision(digits));
      if (luceneStored(short) === stored) return short;
    }
  }
  return shortDecimal(stored);
}

/**
 * The shortest decimal that rounds to the same float32 (9 digits always do), so that bodies
 * stay small and readable: 0.1 and not 0.10000000149011612.
 */
export function shortDecimal(weight: number): number {
  const single = Math.fround(weight);
  for (let digits = 4; digits < 9; digits++) {
    const short = Number(single.toPrecision(digits));
    if (Math.fround(short) === single) return short;
  }
  return Number(single.toPrecision(9));
}
