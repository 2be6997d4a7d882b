/**
 * Questions that clients of the clusters' own semantic search put to a vector field: the gateway
 * answers them for the fields that a rule names.
 */
import type { Node } from "jsonc-parser";
import type { CspladeClause } from "./csplade-clause.js";
import { eachProperty, property, stringAt } from "./query-walk.js";

/** The clause that a query stands for, and the field it names. */
export interface VectorQuestion {
  readonly field: string;
  readonly clause: CspladeClause;
}

/** Options that say how the text becomes a vector, which is the gateway's own affair. */
const HOW: ReadonlySet<string> = new Set([
  "model_id",
  "analyzer",
  "inference_id",
  "max_token_score",
]);

/**
 * Reads a query object; undefined if it asks none of the fields by text, or asks in a way that a
 * clause cannot (ready vectors, the cluster's own pruning or approximate search).
 * - OpenSearch: `{neural_sparse: {FIELD: {query_text, model_id}}}`
 * - Elasticsearch: `{sparse_vector: {field, query, inference_id}}`, `{semantic: {field, query}}`
 * - both, over `semantic` and `semantic_text` fields: `{match: {FIELD: text}}`
 */
export function vectorQuestion(
  query: Node,
  fields: ReadonlySet<string>,
): VectorQuestion | undefined {
  if (query.children?.length !== 1) return undefined;
  let found: VectorQuestion | undefined;
  eachProperty(query, (type, body) => {
    if (type === "sparse_vector" || type === "semantic") {
      const field = stringAt(body, "field");
      if (field !== undefined && fields.has(field)) found = asked(field, body, "query", ["field"]);
    }
    if ((type !== "neural_sparse" && type !== "match") || body.children?.length !== 1) return;
    eachProperty(body, (field, value) => {
      if (!fields.has(field)) return;
      if (type === "neural_sparse") found = asked(field, value, "query_text", []);
      else if (value.type === "string") {
        found = { field, clause: { query_text: String(value.value), boost: 1 } };
      } else found = asked(field, value, "query", []);
    });
  });
  return found;
}

function asked(
  field: string,
  options: Node,
  text: string,
  others: readonly string[],
): VectorQuestion | undefined {
  const query_text = stringAt(options, text);
  if (query_text === undefined) return undefined;
  const boost: unknown = property(options, "boost")?.value ?? 1;
  const _name = stringAt(options, "_name");
  const known = new Set([...HOW, ...others, text, "boost", "_name"]);
  let strange = !(typeof boost === "number" && boost > 0);
  eachProperty(options, (name) => (strange ||= !known.has(name)));
  if (strange) return undefined;
  return {
    field,
    clause: { query_text, boost: boost as number, ...(_name === undefined ? {} : { _name }) },
  };
}
