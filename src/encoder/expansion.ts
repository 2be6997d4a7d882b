/**
 * Expansion control: how much of what a model adds to a question or a document counts, from nothing (its
 * exact words) to the whole vector. The factor is applied after encoding, so that it can be another one
 * for every search (Nguyen et al. 2024, "Multimodal Learned Sparse Retrieval with Probabilistic Expansion
 * Control").
 */
import { CspladeError } from "../errors/csplade-error.js";
import type { LexicalWord } from "../sparse/literals.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import type { EncodedText } from "./encoder-protocol.js";
import type { EncodeOptions, Encoder } from "./encoder.js";

/** A question's vector as an encoder gives it. */
interface EncodedVector {
  readonly vector: SparseVector;
  /** The words of its lexical part, where the model has one. */
  readonly words?: readonly LexicalWord[] | undefined;
}

/** @throws CspladeError `query_invalid` for a number that is no factor from 0 to 1. */
export function demandExpansion(factor: number): void {
  if (factor >= 0 && factor <= 1) return;
  throw new CspladeError(
    "query_invalid",
    `expansion is ${factor}; it is a factor from 0 (only the question's own words) to 1 (all that the model adds).`,
  );
}

/**
 * Questions whose added terms weigh `factor` of what the model gives them; those that stand in the
 * text keep their weights. What is no longer a term is gone: at 0 all that the model added.
 * @param texts of the questions, in the order of their vectors.
 * @param factor 0 to 1; at 1 the vectors are the same objects.
 * @throws CspladeError `query_invalid` for another factor; the signal's reason.
 */
export async function withExpansion<T extends EncodedVector>(
  encoder: Pick<Encoder, "literals" | "lexicon">,
  texts: readonly string[],
  questions: readonly T[],
  factor: number,
  signal?: AbortSignal,
): Promise<T[]> {
  demandExpansion(factor);
  if (factor === 1) return [...questions];
  const own = await ownTerms(encoder, texts, questions, signal);
  return questions.map((question, i) => ({
    ...question,
    vector: scaled(question.vector, own[i] ?? new Set(), factor),
  }));
}

/**
 * Documents encoded with added terms that weigh `factor` of what the model gives them. What stands in a
 * passage is its own, and where passages become one vector what stands in any of them.
 * @param factor 0 to 1; nothing more is done at 1, nor without it.
 * @throws CspladeError as {@link Encoder.encodeDocuments} and {@link withExpansion}.
 */
export async function encodeExpanded(
  encoder: Pick<Encoder, "encodeDocuments" | "literals">,
  texts: readonly string[],
  factor = 1,
  options: EncodeOptions = {},
): Promise<EncodedText[]> {
  demandExpansion(factor);
  const encoded = await encoder.encodeDocuments(texts, options);
  if (factor === 1) return encoded;
  const passages = encoded.flatMap((text, i) =>
    text.passages.map(({ start, end }) => (texts[i] ?? "").slice(start, end)),
  );
  const { signal } = options;
  const own = await encoder.literals(passages, signal === undefined ? {} : { signal });
  let next = 0;
  return encoded.map((text) => {
    const inText = own.slice(next, (next += text.passages.length)).map(({ ids }) => [...ids]);
    const inAny = new Set(options.merged === true ? inText.flat() : []);
    return {
      ...text,
      passages: text.passages.map((passage, i) => {
        const stands = options.merged === true ? inAny : new Set(inText[i]);
        return { ...passage, vector: scaled(passage.vector, stands, factor) };
      }),
    };
  });
}

/**
 * The ids of the terms that stand in each question; the model added the others.
 * @param texts of the questions, in the order of their vectors.
 * @throws the signal's reason.
 */
export async function ownTerms(
  encoder: Pick<Encoder, "literals" | "lexicon">,
  texts: readonly string[],
  questions: readonly Pick<EncodedVector, "words">[],
  signal?: AbortSignal,
): Promise<ReadonlySet<number>[]> {
  if (encoder.lexicon === undefined) {
    const literals = await encoder.literals(texts, signal === undefined ? {} : { signal });
    return literals.map(({ ids }) => new Set(ids));
  }
  // A word with a count of 0 is one that the model added.
  return questions.map(
    ({ words = [] }) => new Set(words.filter(({ count }) => count > 0).map(({ id }) => id)),
  );
}

function scaled(vector: SparseVector, own: ReadonlySet<number>, factor: number): SparseVector {
  const weights = new Map<number, number>();
  for (const [id, weight] of termsOf(vector)) {
    weights.set(id, own.has(id) ? weight : weight * factor);
  }
  return sparseVector(weights);
}
