/**
 * Why a hit scored: Lucene's explanation tree (`"explain": true` or `_explain`) as one
 * contribution per term. `rank_feature`, `neural_sparse` and Elasticsearch's `sparse_vector`
 * all come down to Lucene's linear feature query and are explained alike.
 */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";
import type { OriginSpan } from "../sparse/literals.js";
import type { TermNames } from "../sparse/term-names.js";

/** One term's part of a score: `contribution = query_weight × document_weight`. */
export interface Contribution {
  /** Term id. */
  readonly id: number;
  /** The vector field it matched in. */
  readonly field: string;
  /** Weight in the query, boosts of the field included. */
  readonly query_weight: number;
  /** Weight in the document as Lucene stored it (9 significant bits). */
  readonly document_weight: number;
  readonly contribution: number;
}

/** A score taken apart: `score ≈ Σ contributions + other`, to float32 precision. */
export interface Explanation {
  readonly score: number;
  /** Largest first. For nested passages: those of the best passage. */
  readonly contributions: readonly Contribution[];
  /** What clauses other than our terms added (a user's own `match`, for example). */
  readonly other: number;
}

/** A contribution with the readable term and where it came from. */
export interface ExplainedTerm extends Contribution {
  readonly term: string;
  /** `true`: it stood in the text. `false`: the model added it (an expansion). */
  readonly literal: boolean;
  /** Words of the text that an added term came from, where they were asked for and found. */
  readonly origin?: readonly OriginSpan[];
}

/** A node of the cluster's explanation of a hit: a value and what it is made of. */
export interface ExplanationNode {
  readonly value: number;
  readonly description: string;
  readonly details: readonly ExplanationNode[];
}

/** Checks a node and all below it. */
export const explanationNodeSchema: z.ZodType<ExplanationNode> = z.object({
  value: z.number(),
  description: z.string(),
  get details() {
    return z.array(explanationNodeSchema).default([]);
  },
});

const LINEAR =
  /^Linear function on the (.+) field for the (\d+) feature, computed as w \* S from:$/s;

/** Nodes whose value is the sum of their details, or that of their only detail. */
const SUM = /^(?:sum of:|Score based on \d+ child docs in range from .*, using score mode Max)$/s;

/**
 * Reads the `_explanation` of a hit.
 * @throws CspladeError `cluster_rejected` when it is not an explanation tree.
 */
export function readExplanation(explanation: unknown): Explanation {
  const parsed = explanationNodeSchema.safeParse(explanation);
  if (!parsed.success) {
    throw new CspladeError(
      "cluster_rejected",
      `The cluster's explanation of a hit cannot be read: ${z.prettifyError(parsed.error)}`,
    );
  }
  const contributions: Contribution[] = [];
  const other = collect(parsed.data, contributions);
  contributions.sort((a, b) => b.contribution - a.contribution || a.id - b.id);
  return { score: parsed.data.value, contributions, other };
}

/** Adds the terms below a node and returns what else it adds to the score. */
function collect(node: ExplanationNode, into: Contribution[]): number {
  const linear = LINEAR.exec(node.description);
  if (linear !== null) {
    const [weight, stored] = [valueOf(node, "w,"), valueOf(node, "S,")];
    if (weight !== undefined && stored !== undefined) {
      into.push({
        id: Number(linear[2]),
        field: String(linear[1]),
        query_weight: weight,
        document_weight: stored,
        contribution: node.value,
      });
      return 0;
    }
  }
  if (SUM.test(node.description)) {
    return node.details.reduce((sum, detail) => sum + collect(detail, into), 0);
  }
  return node.value;
}

function valueOf(node: ExplanationNode, prefix: string): number | undefined {
  return node.details.find((detail) => detail.description.startsWith(prefix))?.value;
}

/**
 * Names the terms of an explanation and tells literal terms from expansions.
 * @param textIds ids of the terms that stand in the hit's text (`literals` of the encoder).
 */
export function nameTerms(
  contributions: readonly Contribution[],
  names: TermNames,
  textIds: Iterable<number>,
): ExplainedTerm[] {
  const words = new Set(Array.from(textIds, (id) => names.word(id)));
  return contributions.map((contribution) => ({
    ...contribution,
    term: names.term(contribution.id),
    literal: words.has(names.word(contribution.id)),
  }));
}
