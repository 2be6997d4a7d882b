/** Query vector → query DSL, in whichever dialect, within the cluster's clause limit. */
import { CspladeError } from "../errors/csplade-error.js";
import { prune } from "../sparse/prune.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import { neuralSparseQuery } from "./neural-sparse-query.js";
import { estimateClauses, type QueryClause } from "./query-clause.js";
import type { QueryDialect } from "./query-dialect.js";
import { rankFeatureQuery } from "./rank-feature-query.js";
import { sparseVectorQuery } from "./sparse-vector-query.js";

/** A field that holds document vectors. */
export interface VectorField {
  /** Path in the mapping: `csplade`, or `csplade_passages.csplade` for nested passages. */
  readonly name: string;
  /** Factor of this field's scores, > 0; 1 without it. */
  readonly boost?: number;
  /** Path of the `nested` field the vector lies in; a document scores as its best passage. */
  readonly nested_path?: string;
}

/** What is translated. */
export interface TranslationRequest {
  readonly vector: SparseVector;
  readonly dialect: QueryDialect;
  /** At least one; scores of several are added. */
  readonly fields: readonly VectorField[];
  /** DSL that narrows the hits and scores nothing: one clause, or several that must all hold. */
  readonly filter?: QueryClause | readonly QueryClause[] | undefined;
  /** The cluster's `indices.query.bool.max_clause_count`. */
  readonly max_clause_count: number;
  /** Clauses elsewhere in the query that this one becomes part of; 0 without it. */
  readonly other_clauses?: number | undefined;
  /**
   * Body of `inner_hits` for nested fields: which passage matched best. Named after the
   * field. Without it none are asked for.
   */
  readonly inner_hits?: Readonly<Record<string, unknown>> | undefined;
  /** Put before the field's name, to tell these inner hits from a caller's own. */
  readonly inner_hits_prefix?: string | undefined;
}

/** A query, ready for `_search`, and what was left out of it. */
export interface TranslatedQuery {
  /** The value of `query` in a search body. */
  readonly query: QueryClause;
  readonly dialect: QueryDialect;
  /** The terms that were sent (to each field). */
  readonly vector: SparseVector;
  /** Weakest terms left out to stay within `max_clause_count`. */
  readonly dropped_terms: number;
  /** Sentences for people: what was left out, and why nothing can match. */
  readonly notes: readonly string[];
}

const builders = {
  rank_feature: rankFeatureQuery,
  neural_sparse: neuralSparseQuery,
  sparse_vector: sparseVectorQuery,
} as const satisfies Record<
  QueryDialect,
  (field: string, vector: SparseVector, boost: number) => QueryClause
>;

/**
 * Translates a query vector. A vector without terms matches nothing (`match_none`), with a
 * note that says so: a blank question must not return the whole index.
 * @throws CspladeError `query_invalid` for no fields, a boost that is not above 0, or a filter
 * that is no DSL object.
 */
export function translateQuery(request: TranslationRequest): TranslatedQuery {
  const filter = checkedFilter(request.filter);
  checkFields(request.fields);
  const { vector, dialect } = request;
  if (vector.ids.length === 0) {
    const note = "The query has no terms (its text is blank, or pruning kept none): no hits.";
    return { query: { match_none: {} }, dialect, vector, dropped_terms: 0, notes: [note] };
  }
  const limit = termLimit(request, filter);
  const kept = prune(vector, { prune_type: "top_k", prune_ratio: limit });
  const dropped = vector.ids.length - kept.ids.length;
  const clauses = request.fields.map((field) => fieldClause(field, kept, request));
  const [first = {}] = clauses;
  const matching: QueryClause =
    clauses.length === 1 ? first : { bool: { should: clauses, minimum_should_match: 1 } };
  return {
    query: filter.length === 0 ? matching : { bool: { must: [matching], filter } },
    dialect,
    vector: kept,
    dropped_terms: dropped,
    notes: dropped === 0 ? [] : [droppedNote(dropped, vector.ids.length, request)],
  };
}

function fieldClause(
  field: VectorField,
  vector: SparseVector,
  { dialect, inner_hits, inner_hits_prefix = "" }: TranslationRequest,
): QueryClause {
  const query = builders[dialect](field.name, vector, field.boost ?? 1);
  if (field.nested_path === undefined) return query;
  return {
    nested: {
      path: field.nested_path,
      score_mode: "max",
      query,
      ...(inner_hits === undefined
        ? {}
        : { inner_hits: { name: inner_hits_prefix + field.name, ...inner_hits } }),
    },
  };
}

/**
 * How many terms fit. Lucene counts the clauses of the whole query, filters included, and an
 * index with nested fields adds up to two that select documents of the right nesting level.
 */
function termLimit(
  { max_clause_count, fields, other_clauses = 0 }: TranslationRequest,
  filter: QueryClause[],
): number {
  const nested = fields.filter((field) => field.nested_path !== undefined).length;
  const aside = 2 + nested + estimateClauses(filter) + other_clauses;
  return Math.max(1, Math.floor((max_clause_count - aside) / fields.length));
}

function droppedNote(dropped: number, all: number, request: TranslationRequest): string {
  return (
    `The ${dropped} weakest of ${all} query terms were left out: the cluster takes ` +
    `${request.max_clause_count} clauses in one query (indices.query.bool.max_clause_count).`
  );
}

function checkFields(fields: readonly VectorField[]): void {
  if (fields.length === 0) {
    throw new CspladeError("query_invalid", "A query needs at least one vector field.");
  }
  for (const { name, boost = 1 } of fields) {
    if (!(boost > 0 && Number.isFinite(boost))) {
      throw new CspladeError(
        "query_invalid",
        `The boost of the field ${name} is ${boost}; it must be a number above 0.`,
      );
    }
  }
}

function checkedFilter(filter: TranslationRequest["filter"]): QueryClause[] {
  const clauses: unknown[] = filter === undefined ? [] : Array.isArray(filter) ? filter : [filter];
  for (const clause of clauses) {
    if (clause === null || typeof clause !== "object" || Array.isArray(clause)) {
      throw new CspladeError(
        "query_invalid",
        `A filter is a query DSL object, or a list of them; got ${JSON.stringify(clause)}.`,
        { hint: 'For example {"term": {"lang": "en"}}.' },
      );
    }
  }
  return clauses as QueryClause[];
}
