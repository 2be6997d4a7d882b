/**
 * Questions to which nothing is added (SPLADE-Lexical): of what the model gives, the tokens that it read
 * stay, weighed by the factors in `query_weights.json`.
 */
import { CspladeError } from "../errors/csplade-error.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import type { CheckpointDirectory } from "./checkpoint-directory.js";
import { hasOwnTerms } from "./manifest.js";
import { QUERY_TABLE_FILE, readQueryTable } from "./query-table.js";

/** What is left of a question's vector. `read`: what the model read of it, special tokens included. */
export type OwnTerms = (vector: SparseVector, read: readonly number[]) => SparseVector;

/**
 * How a checkpoint leaves a question its own terms; undefined where it adds others.
 * @throws CspladeError `model_invalid` if it has no factors for them.
 */
export function ownTermsOf(checkpoint: CheckpointDirectory): OwnTerms | undefined {
  if (!hasOwnTerms(checkpoint.manifest)) return undefined;
  const factors = readQueryTable(checkpoint)?.weights;
  if (factors === undefined) {
    throw new CspladeError(
      "model_invalid",
      `The questions of ${checkpoint.directory} have their own terms alone, and its manifest lists no ${QUERY_TABLE_FILE} with their factors.`,
      { hint: "Copy the whole checkpoint directory again." },
    );
  }
  return (vector, read) => {
    const own = new Set(read);
    const kept = [...termsOf(vector)].filter(([id]) => own.has(id));
    return sparseVector(kept.map(([id, weight]) => [id, weight * (factors[id] ?? 0)] as const));
  };
}
