/**
 * A search body with `csplade` clauses → the same body with weighted queries in their place.
 * Only those places change: everything else keeps its bytes, numbers too large for JavaScript
 * included. A body without such a place is left alone.
 */
import { type Node, type ParseError, parse, parseTree, printParseErrorCode } from "jsonc-parser";
import type { Capabilities } from "../cluster/capabilities.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { PASSAGES_FIELD, type IndexPlan } from "../index/index-meta.js";
import type { WeighedVector, WordedVector } from "../query/corpus-idf.js";
import { estimateClauses, type QueryClause } from "../query/query-clause.js";
import { chooseDialect } from "../query/query-dialect.js";
import { translateQuery, type VectorField } from "../query/query-translator.js";
import { searchedFields } from "../query/searched-fields.js";
import { fromFeatures } from "../sparse/features.js";
import { prune, type PruneOptions } from "../sparse/prune.js";
import { EMPTY_VECTOR, type SparseVector } from "../sparse/sparse-vector.js";
import { ClauseError, readClause, type CspladeClause } from "./csplade-clause.js";
import type { EncodedVector } from "./encode-service.js";
import type { SearchedIndices } from "./index-plans.js";
import { property, stringAt, walkSearchBody, type QueryPlace } from "./query-walk.js";
import { searchBarQuestion, textQuestion } from "./text-question.js";
import { matchesPattern } from "./wildcard.js";

/** Indices whose text searches are widened, and by which fields they are known. */
export type Rule = Config["gateway.rules"][number];

/** What a rewrite needs from outside; asked for only when there is something to rewrite. */
export interface RewriteContext {
  readonly rules: readonly Rule[];
  /** Index names and patterns of the request, decoded. */
  readonly expression: readonly string[];
  /** @param pit id of the point in time that the body names, instead of indices. */
  readonly indices: (pit: string | undefined) => Promise<SearchedIndices>;
  readonly capabilities: () => Promise<Capabilities>;
  readonly encode: (texts: readonly string[]) => Promise<EncodedVector[]>;
  /** A question weighed by the indices that it is put to. */
  readonly weigh: (question: WordedVector, indices: SearchedIndices) => Promise<WeighedVector>;
  /** Pruning of queries that do not say their own. */
  readonly pruning: PruneOptions;
  /** Whether the model can give a term of this id. */
  readonly isTerm: (id: number) => boolean;
}

/** What became of a body. */
export interface RewrittenBody {
  /** Undefined where nothing changed. */
  readonly text: string | undefined;
  /** Sentences for the caller: what was left out. */
  readonly warnings: readonly string[];
}

/** Something to put a weighted query for. */
interface Place extends QueryPlace {
  readonly query: Node;
  readonly clause: CspladeClause;
  /** A user's own text query, which stays beside ours. */
  readonly widened: boolean;
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly content: string;
}

const UNCHANGED: RewrittenBody = { text: undefined, warnings: [] };

/**
 * Deepest body that is looked into. OpenSearch 3.6 has no limit of its own: a `bool` nested
 * some thousand times ends its process with a stack overflow.
 */
const MAX_DEPTH = 256;

/** Whether there can be anything to rewrite; wrong only on the safe side. */
export function mayHaveClause(body: Buffer): boolean {
  return body.includes("csplade");
}

/**
 * Rewrites one search body.
 * @throws ClauseError for a clause that is not valid; CspladeError `index_invalid` where no
 *   index has vectors, and what the context throws.
 */
export async function rewriteBody(text: string, context: RewriteContext): Promise<RewrittenBody> {
  const tooDeep = offsetBelow(text, MAX_DEPTH);
  if (tooDeep !== undefined) {
    if (!text.includes("csplade")) return UNCHANGED;
    throw new ClauseError(
      `The search's body is nested more than ${MAX_DEPTH} levels deep; with a csplade clause it may not be.`,
      tooDeep,
    );
  }
  const errors: ParseError[] = [];
  const body = parseTree(text, errors, { allowTrailingComma: false });
  if (body?.type !== "object") return UNCHANGED;
  const found = findPlaces(body, context.rules.length > 0);
  const [error] = errors;
  if (error !== undefined) {
    // What has no clause is the cluster's to judge; its parser takes more than ours.
    if (!found.some((place) => "value" in place)) return UNCHANGED;
    throw new ClauseError(
      `The search's body is not JSON: ${printParseErrorCode(error.error)} at "${text.slice(error.offset, error.offset + 20)}".`,
      error.offset,
    );
  }
  const clauses = found.filter((place) => "value" in place);
  const asked = clauses.map((place): Place => ({
    ...place,
    clause: readClause(place.query, place.value, place.path),
    widened: false,
  }));
  const questions = found.filter((place) => "question" in place);
  if (asked.length === 0 && questions.length === 0) return UNCHANGED;
  const pit = stringAt(property(body, "pit"), "id");
  try {
    const indices = await context.indices(pit);
    const { plan } = indices;
    if (plan === undefined) {
      if (asked.length === 0) return UNCHANGED;
      throw noVectors(context.expression);
    }
    const widened = questions.flatMap((place): Place[] => {
      const rule = ruleFor(place.question, indices.names, context);
      if (rule === undefined || place.nested !== undefined) return [];
      const clause = { query_text: place.question.text, boost: rule.boost };
      return [{ ...place, clause, widened: true }];
    });
    const places = [...asked, ...widened];
    return places.length === 0
      ? UNCHANGED
      : await replace(text, places, { ...indices, plan }, context);
  } catch (thrown) {
    // Nobody asked for a rule's help by name: without it the search is what it was.
    if (asked.length > 0 || !(thrown instanceof CspladeError)) throw thrown;
    return { text: undefined, warnings: [`The search was not widened: ${thrown.message}`] };
  }
}

type FoundPlace = QueryPlace & { readonly query: Node } & (
    | { readonly value: Node }
    | {
        readonly question: {
          readonly text: string;
          readonly fields: readonly string[] | undefined;
        };
      }
  );

function findPlaces(body: Node, withQuestions: boolean): FoundPlace[] {
  const found: FoundPlace[] = [];
  walkSearchBody(body, (query, place) => {
    const value = property(query, "csplade");
    if (value !== undefined) {
      found.push({ ...place, query, value });
      return;
    }
    if (!withQuestions || !(place.scored || place.topBool)) return;
    const question = place.topBool ? searchBarQuestion(query) : textQuestion(query);
    if (question !== undefined) found.push({ ...place, query, question });
  });
  return found;
}

function ruleFor(
  question: { readonly fields: readonly string[] | undefined },
  names: readonly string[],
  { rules, expression }: RewriteContext,
): Rule | undefined {
  return rules.find(
    (rule) =>
      [...names, ...expression].some((name) => matchesPattern(rule.index, name)) &&
      rule.fields.some(
        (field) =>
          question.fields === undefined ||
          question.fields.some((pattern) => matchesPattern(pattern, field)),
      ),
  );
}

async function replace(
  text: string,
  places: readonly Place[],
  indices: SearchedIndices & { readonly plan: IndexPlan },
  context: RewriteContext,
): Promise<RewrittenBody> {
  const { plan } = indices;
  const capabilities = await context.capabilities();
  const share = clauseShare(text, places, capabilities.max_clause_count);
  const { vectors, warnings } = await vectorsOf(places, indices, context);
  const edits: Edit[] = [];
  const insertions = new Map<Node, string[]>();
  for (const [i, place] of places.entries()) {
    const { clause } = place;
    const translated = translateQuery({
      vector: vectors[i] as SparseVector,
      dialect: clause.dialect ?? chooseDialect(capabilities),
      fields: [fieldAt(place, plan)],
      max_clause_count: share,
      inner_hits: clause.inner_hits,
    });
    if (translated.dropped_terms > 0) {
      warnings.push(
        `The ${translated.dropped_terms} weakest terms of ${place.path} were left out: the cluster takes ${capabilities.max_clause_count} clauses in one search.`,
      );
    }
    const weighted = JSON.stringify(finished(translated.query, clause));
    const { offset, length } = place.query;
    const original = text.slice(offset, offset + length);
    const both = `{"bool":{"should":[${original},${weighted}],"minimum_should_match":1}}`;
    if (place.topBool === undefined) {
      edits.push({ start: offset, end: offset + length, content: place.widened ? both : weighted });
    } else if (place.widened) {
      edits.push({ start: offset, end: offset + length, content: '{"match_all":{}}' });
      insertions.set(place.topBool, [...(insertions.get(place.topBool) ?? []), both]);
    } else edits.push({ start: offset, end: offset + length, content: weighted });
  }
  for (const [bool, queries] of insertions) edits.push(...insertMust(bool, queries));
  return { text: applyEdits(text, edits), warnings };
}

/** Clauses left for each weighted query: Lucene counts those of the whole search. */
function clauseShare(text: string, places: readonly Place[], limit: number): number {
  // No clause is shorter than a character: a short body is not worth a closer look.
  if (text.length < limit / 4)
    return Math.max(8, Math.floor((limit - text.length) / places.length));
  const blank = places
    .filter((place) => !place.widened)
    .map(({ query: { offset, length } }) => ({
      start: offset,
      end: offset + length,
      content: '{"match_none":{}}',
    }));
  const rest = estimateClauses(parse(applyEdits(text, blank)));
  return Math.max(8, Math.floor((limit - rest) / places.length));
}

async function vectorsOf(
  places: readonly Place[],
  indices: SearchedIndices,
  context: RewriteContext,
): Promise<{ vectors: SparseVector[]; warnings: string[] }> {
  const texts = places.flatMap(({ clause }) => clause.query_text ?? []);
  const encoded = await context.encode(texts);
  const warnings: string[] = [];
  const vectors: SparseVector[] = [];
  let next = 0;
  for (const { clause, query, path } of places) {
    let vector: SparseVector;
    if (clause.query_tokens === undefined) {
      const found = encoded[next++];
      if (found?.failure !== undefined) {
        throw new CspladeError(
          "encode_failed",
          `[${path}.csplade] cannot be encoded: ${found.failure}`,
        );
      }
      if (found?.truncated === true) {
        warnings.push(`The text of ${path} is longer than the model reads; its end was left out.`);
      }
      const weighed = await context.weigh(found ?? { vector: EMPTY_VECTOR }, indices);
      vector = weighed.vector;
      warnings.push(...weighed.notes.filter((note) => !warnings.includes(note)));
      if (vector.ids.length === 0)
        warnings.push(`The text of ${path} has no terms: it matches nothing.`);
    } else vector = readyVector(clause.query_tokens, query, path, context.isTerm);
    vectors.push(pruned(vector, clause, query, path, context.pruning));
  }
  return { vectors, warnings };
}

function readyVector(
  tokens: Readonly<Record<string, number>>,
  query: Node,
  path: string,
  isTerm: RewriteContext["isTerm"],
): SparseVector {
  const unknown = Object.keys(tokens).find((id) => !isTerm(Number(id)));
  if (unknown === undefined) return fromFeatures(tokens);
  throw new ClauseError(
    `[${path}.csplade.query_tokens] has the term ${unknown}, which is none of the model's.`,
    query.offset,
  );
}

function pruned(
  vector: SparseVector,
  { prune_type, prune_ratio }: CspladeClause,
  query: Node,
  path: string,
  fallback: PruneOptions,
): SparseVector {
  if (prune_type === undefined || prune_ratio === undefined) return prune(vector, fallback);
  try {
    return prune(vector, { prune_type, prune_ratio });
  } catch (thrown) {
    if (!(thrown instanceof CspladeError)) throw thrown;
    throw new ClauseError(`[${path}.csplade.prune_ratio]: ${thrown.message}`, query.offset);
  }
}

/** The field for a place: inside a user's own `nested` over the passages it is not wrapped again. */
function fieldAt({ nested, path, query, clause }: Place, plan: IndexPlan): VectorField {
  const [{ nested_path, ...field } = { name: "" }] = searchedFields(plan.passages).fields;
  const boosted = { ...field, boost: clause.boost };
  if (nested === undefined) {
    return nested_path === undefined ? boosted : { ...boosted, nested_path };
  }
  if (nested === nested_path) return boosted;
  throw new ClauseError(
    `[${path}.csplade] stands inside nested documents of ${nested}, which have no vectors.`,
    query.offset,
    nested_path === undefined
      ? "Put it outside of the nested query."
      : `Put it outside of the nested query, or inside one with the path ${PASSAGES_FIELD}.`,
  );
}

/** Other indices behind the expression need not know our nested field. */
function finished(query: QueryClause, { _name }: CspladeClause): QueryClause {
  const lenient =
    query.nested !== null && typeof query.nested === "object"
      ? { nested: { ...query.nested, ignore_unmapped: true } }
      : query;
  return _name === undefined ? lenient : { bool: { must: [lenient], _name } };
}

/** Edits that add queries to the `must` of a bool, whichever form it has. */
function insertMust(bool: Node, queries: readonly string[]): Edit[] {
  const must = property(bool, "must");
  const content = queries.join(",");
  if (must === undefined) {
    const start = bool.offset + 1;
    return [{ start, end: start, content: `"must":[${content}],` }];
  }
  if (must.type === "array") {
    const start = must.offset + 1;
    const more = (must.children?.length ?? 0) > 0;
    return [{ start, end: start, content: more ? `${content},` : content }];
  }
  const end = must.offset + must.length;
  return [
    { start: must.offset, end: must.offset, content: `[${content},` },
    { start: end, end, content: "]" },
  ];
}

/** Applies edits that do not overlap; those at the same place in the order given. */
function applyEdits(text: string, edits: readonly Edit[]): string {
  const sorted = [...edits].sort((a, b) => a.start - b.start || a.end - b.end);
  let [result, from] = ["", 0];
  for (const { start, end, content } of sorted) {
    result += text.slice(from, start) + content;
    from = end;
  }
  return result + text.slice(from);
}

/** Where braces and brackets, those in strings not counted, go deeper than `limit`. */
function offsetBelow(text: string, limit: number): number | undefined {
  let [depth, inString] = [0, false];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (inString) {
      if (char === "\\") i++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === "{" || char === "[") {
      if (++depth > limit) return i;
    } else if (char === "}" || char === "]") depth--;
  }
  return undefined;
}

function noVectors(expression: readonly string[]): CspladeError {
  const names = expression.length === 0 ? "that you may see" : `behind ${expression.join(",")}`;
  return new CspladeError("index_invalid", `No index ${names} holds CSPLADE vectors.`, {
    hint: "Search an index that csplade ingest or csplade reindex wrote.",
  });
}
