/**
 * The wire form of a vector: an object from feature name to weight, where the name is the
 * decimal token id. Ids, because a dot in a feature name indexes silently and then matches
 * nothing, and because `rank_features`, the ANN `sparse_vector` field and Elasticsearch all
 * take them.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { luceneStored } from "./quantize.js";
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
export function toFeatures(vector: SparseVector): Features {
  return featuresWith(vector, knownDecimal);
}

/**
 * A document's vector as features: weights in the fewest digits of which the index keeps the same
 * number as of the weight itself (see {@link storedDecimal}). `_source` is what most bytes of an
 * index are, and digits beyond those that count are most of its bytes.
 */
export function toStoredFeatures(vector: SparseVector): Features {
  return featuresWith(vector, storedDecimal);
}

/** Every written document comes by here: no iterator, and numbers as keys, which objects keep as indices. */
function featuresWith(
  { ids, weights }: SparseVector,
  decimalOf: (weight: number) => number,
): Features {
  const features: Features = {};
  for (let i = 0; i < ids.length; i++) {
    features[ids[i] as number] = decimalOf(weights[i] as number);
  }
  return features;
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

/** Quantized weights are few: the decimal of each is looked for once. */
const MOST_DECIMALS = 16_384;

const knownDecimal = remembering(shortDecimal);

/**
 * The shortest decimal that a `rank_features` field stores as it stores `weight`: Lucene cuts a
 * weight off after 9 significant bits, so 1.223 is kept as 1.22265625 is. Three or four digits.
 */
export const storedDecimal = remembering(shortestStored);

function remembering(decimalOf: (weight: number) => number): (weight: number) => number {
  const decimals = new Map<number, number>();
  return (weight) => {
    const known = decimals.get(weight);
    if (known !== undefined) return known;
    const decimal = decimalOf(weight);
    if (decimals.size < MOST_DECIMALS) decimals.set(weight, decimal);
    return decimal;
  };
}

function shortestStored(weight: number): number {
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
