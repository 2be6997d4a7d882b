/** The `csplade` clause: what may stand in it, and what it asks for. */
import type { Node } from "jsonc-parser";
import { getNodeValue } from "jsonc-parser";
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";
import { MOST_RERANKED } from "../rerank/rerank.js";
import { conversationShape } from "./conversation.js";

/** Options of `{"csplade": {…}}`; `{"csplade": "text"}` is short for `query_text` alone. */
export const clauseSchema = z
  .strictObject({
    query_text: z.string().optional().describe("The question; encoded by the gateway's model."),
    query_tokens: z
      .record(
        z.string().regex(/^(?:0|[1-9]\d{0,9})$/, "a token id is a whole number"),
        z
          .number()
          .min(1.1754943508222875e-38, "a weight is a positive, normal float32")
          .max(3.4028234663852886e38, "a weight is a finite float32"),
      )
      .optional()
      .describe("A ready vector of the index's model: token id → weight."),
    boost: z.number().positive().max(1e9).default(1),
    expansion: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe(
        "Factor of what the model adds to query_text; the setting query.expansion without it.",
      ),
    ...conversationShape,
    rerank: z
      .number()
      .int()
      .min(0)
      .max(MOST_RERANKED)
      .optional()
      .describe("How many first hits of the search a reranker puts into its own order; 0 is none."),
    prune_type: z.enum(["none", "top_k", "max_ratio", "alpha_mass", "abs_value"]).optional(),
    prune_ratio: z.number().optional(),
    dialect: z
      .enum(["rank_feature", "neural_sparse", "sparse_vector"])
      .optional()
      .describe("The query that is sent; the cluster's best one without it."),
    inner_hits: z
      .record(z.string(), z.unknown())
      .optional()
      .describe("Nested passages: options of inner_hits, to see which passage matched."),
    _name: z.string().optional(),
  })
  .refine((clause) => (clause.query_text === undefined) !== (clause.query_tokens === undefined), {
    message: "give either query_text or query_tokens",
  })
  .refine(
    ({ query_text, expansion, history, rerank }) =>
      query_text !== undefined || [expansion, history, rerank].every((each) => each === undefined),
    {
      message:
        "expansion, history and rerank are for query_text: query_tokens are taken as they are",
    },
  )
  .refine((clause) => (clause.prune_type === undefined) === (clause.prune_ratio === undefined), {
    message: "give prune_type and prune_ratio together",
  });

/** A checked clause. */
export type CspladeClause = z.infer<typeof clauseSchema>;

/** An error that knows where in the body it is. */
export class ClauseError extends CspladeError {
  /** Offset into the body's text. */
  readonly offset: number;

  constructor(message: string, offset: number, hint?: string) {
    super("query_invalid", message, hint === undefined ? {} : { hint });
    this.offset = offset;
  }
}

/**
 * Reads the clause of a query object that has the key `csplade`.
 * @param path of the query object, for messages.
 * @throws ClauseError naming the option at fault.
 */
export function readClause(query: Node, value: Node, path: string): CspladeClause {
  const at = `${path}.csplade`;
  if ((query.children?.length ?? 0) > 1) {
    throw new ClauseError(
      `[${at}] stands beside other keys; a query object has one key.`,
      query.offset,
      'Put it beside other queries in a bool: {"bool": {"must": [{"csplade": …}, …]}}.',
    );
  }
  const raw: unknown = getNodeValue(value);
  if (typeof raw === "string") return { query_text: raw, boost: 1 };
  const parsed = clauseSchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const option = (issue?.path ?? []).join(".");
  throw new ClauseError(
    issue?.code === "unrecognized_keys"
      ? `[${at}] does not support [${issue.keys.join(", ")}].`
      : `[${option === "" ? at : `${at}.${option}`}]: ${issue?.message ?? "it is not valid"}.`,
    optionNode(value, issue?.path ?? []).offset,
    `Its options are ${Object.keys(clauseSchema.shape).join(", ")}.`,
  );
}

function optionNode(value: Node, path: readonly PropertyKey[]): Node {
  let node = value;
  for (const part of path) {
    const found = node.children?.find((each) => each.children?.[0]?.value === part);
    if (found?.children?.[1] === undefined) break;
    node = found.children[1];
  }
  return node;
}
