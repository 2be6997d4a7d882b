/**
 * Scanned searches → the same body with weighted queries in place of the clauses. Only those
 * places change: everything else keeps its bytes, numbers too large for JavaScript included.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Capabilities } from "../cluster/capabilities.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { PASSAGES_FIELD, type IndexPlan } from "../index/index-meta.js";
import type { WeighedVector, WordedVector } from "../query/corpus-idf.js";
import { writeFixedIdf, type FixedIdf } from "../query/fixed-idf.js";
import type { QueryClause } from "../query/query-clause.js";
import { chooseDialect } from "../query/query-dialect.js";
import type { AddedWord } from "../query/lexical.js";
import { translateQuery, type VectorField } from "../query/query-translator.js";
import { searchedFields } from "../query/searched-fields.js";
import { fromFeatures } from "../sparse/features.js";
import { prune, type PruneOptions } from "../sparse/prune.js";
import { EMPTY_VECTOR, type SparseVector } from "../sparse/sparse-vector.js";
import { addedWordQueries } from "./added-words.js";
import type { AskedConversation } from "./conversation.js";
import { ClauseError, type CspladeClause } from "./csplade-clause.js";
import type { EncodedVector } from "./encode-service.js";
import { ClusterRefusal, type SearchedIndices } from "./index-plans.js";
import { carriedIdf, carryOn } from "./paging.js";
import { collectEdits } from "./query-edits.js";
import type { AskedReranking } from "./reranked-search.js";
import { ofSearch, type Scan, type ScannedPlace, type ScannedSearch } from "./search-scan.js";
import { namesOf, type SearchTarget } from "./search-target.js";
import type { Edit } from "./text-edits.js";
import { matchesPattern } from "../cluster/wildcard.js";

/** Indices whose text searches are widened, and by which fields they are known. */
export type Rule = Config["gateway.rules"][number];

/** A question to be encoded. */
export interface AskedText extends AskedConversation {
  /** Factor of what the model adds to it; the configuration's without it. */
  readonly expansion?: number | undefined;
}

/** What a rewrite needs from outside; asked for only when there is something to rewrite. */
export interface RewriteContext {
  readonly rules: readonly Rule[];
  readonly indices: (target: SearchTarget, pit: string | undefined) => Promise<SearchedIndices>;
  readonly capabilities: () => Promise<Capabilities>;
  readonly encode: (questions: readonly AskedText[]) => Promise<EncodedVector[]>;
  /** A question weighed by the indices that it is put to, or as the page before was. */
  readonly weigh: (
    question: WordedVector,
    search: ScannedSearch,
    indices: SearchedIndices,
    before: FixedIdf | undefined,
  ) => Promise<WeighedVector>;
  /** Pruning of queries that do not say their own. */
  readonly pruning: PruneOptions;
  /** The words that the model adds to a question, heaviest first; none without a lexical part. */
  readonly added: (question: EncodedVector) => readonly AddedWord[];
  /** Whether the model can give a term of this id. */
  readonly isTerm: (id: number) => boolean;
}

/** What becomes of a body. */
export interface Rewrite {
  readonly edits: readonly Edit[];
  /** Sentences for the caller: what was left out. */
  readonly warnings: readonly string[];
  /** Searches whose first hits are to be reranked. */
  readonly reranked: readonly AskedReranking[];
}

/** Different index expressions of one request that are looked up. */
const MAX_LOOKUPS = 64;

/** Something to put a weighted query for. */
interface Place extends ScannedPlace {
  readonly clause: CspladeClause;
  /** The rule that widens it. */
  readonly rule?: Rule;
}

/** A search that is rewritten. */
interface PlannedSearch {
  readonly search: ScannedSearch;
  readonly indices: SearchedIndices;
  readonly places: readonly Place[];
}

/**
 * @throws CspladeError `index_invalid` where no index has vectors, ClusterRefusal, ClauseError, and
 *   what the context throws. In an `_msearch` what is wrong with one search's indices fails that
 *   search alone, as it does at the cluster.
 */
export async function rewriteSearches(
  text: string,
  scan: Scan,
  context: RewriteContext,
): Promise<Rewrite> {
  const paged = new Set<ScannedSearch>();
  const { edits, ...found } = await rewriteEach(text, scan, context, paged);
  // A page beyond the first has a value for the key, whatever becomes of its clauses.
  const more = scan.searches.flatMap((search) => {
    const { paging } = search;
    if (paging?.carried === undefined || paged.has(search)) return [];
    return carryOn(paging, paging.carried);
  });
  return { ...found, edits: [...edits, ...more] };
}

/** @param paged gets the searches whose sort was carried on. */
async function rewriteEach(
  text: string,
  scan: Scan,
  context: RewriteContext,
  paged: Set<ScannedSearch>,
): Promise<Rewrite> {
  const edits: Edit[] = [];
  const warnings: string[] = [];
  const reranked: AskedReranking[] = [];
  if (scan.skipped_questions > 0) {
    warnings.push(`${scan.skipped_questions} text queries were not widened: there are too many.`);
  }
  const planned: PlannedSearch[] = [];
  const lookedUp = new Set<string>();
  for (const search of scan.searches) {
    try {
      const { expression, options } = search.target;
      lookedUp.add(JSON.stringify([expression, options, search.pit]));
      if (lookedUp.size > MAX_LOOKUPS) throw tooManyIndices();
      const plan = await planSearch(search, context);
      if (plan !== undefined) planned.push(plan);
    } catch (thrown) {
      const clauses = search.places.filter(({ kind }) => kind === "clause");
      if (!(thrown instanceof CspladeError) || isUnauthorized(thrown)) throw thrown;
      if (clauses.length === 0) {
        // Nobody asked for a rule's help by name: without it the search is what it was, and the
        // cluster itself says that there is no such index.
        if (!isMissing(thrown)) warnings.push(`The search was not widened: ${thrown.message}`);
      } else if (search.number !== undefined && isAboutIndices(thrown)) {
        edits.push(...clauses.map((place) => failing(place, thrown)));
      } else throw thrown instanceof ClusterRefusal ? thrown : ofSearch(search.number, thrown);
    }
  }
  if (planned.length === 0) return { edits, warnings, reranked };
  const capabilities = await context.capabilities();
  const asked = planned.flatMap(({ places }) =>
    places.flatMap(({ clause: { query_text: text, ...how } }): AskedText[] =>
      text === undefined ? [] : [{ text, ...how }],
    ),
  );
  let encoded: readonly EncodedVector[];
  try {
    encoded = asked.length === 0 ? [] : await context.encode(asked);
  } catch (thrown) {
    if (!(thrown instanceof CspladeError) || planned.some(hasClause)) throw thrown;
    warnings.push(`The search was not widened: ${thrown.message}`);
    return { edits, warnings, reranked };
  }
  let next = 0;
  for (const each of planned) {
    const count = each.places.filter(({ clause }) => clause.query_text !== undefined).length;
    const vectors = encoded.slice(next, (next += count));
    try {
      const replaced = await replace(text, each, vectors, capabilities, context);
      edits.push(...replaced.edits, ...replaced.carried);
      if (replaced.carried.length > 0) paged.add(each.search);
      reranked.push(...rerankingOf(each));
      warnings.push(...replaced.warnings.filter((warning) => !warnings.includes(warning)));
    } catch (thrown) {
      if (!(thrown instanceof CspladeError)) throw thrown;
      if (hasClause(each)) throw ofSearch(each.search.number, thrown);
      warnings.push(`The search was not widened: ${thrown.message}`);
    }
    // Other requests come in between, however many clauses there are.
    if (planned.length > 1) await nextTurn();
  }
  return { edits, warnings, reranked };
}

/** What a clause asks of a reranker, else the first rule that asks for one. */
function rerankingOf({ search, indices, places }: PlannedSearch): AskedReranking[] {
  const { page, target, pit, number } = search;
  if (page === undefined) return [];
  const clause = places.find(({ clause: { rerank = 0 } }) => rerank > 0);
  const place =
    clause ?? places.find(({ rule, unscored }) => unscored !== true && (rule?.rerank ?? 0) > 0);
  const question = place?.clause.query_text;
  if (place === undefined || question === undefined) return [];
  const { path, start, rule } = place;
  return [
    {
      by: clause === undefined ? "rule" : "clause",
      question,
      hits: clause?.clause.rerank ?? rule?.rerank ?? 0,
      text_fields: indices.plan?.text_fields ?? rule?.fields ?? [],
      page,
      target,
      pit,
      number,
      path,
      start,
    },
  ];
}

/** Nothing where a search stays as it is. */
async function planSearch(
  search: ScannedSearch,
  context: RewriteContext,
): Promise<PlannedSearch | undefined> {
  const expression = namesOf(search.target);
  const indices = await context.indices(search.target, search.pit);
  const { plan } = indices;
  if (plan === undefined) {
    if (search.places.some(({ kind }) => kind === "clause")) throw noVectors(expression);
  }
  const rules = rulesFor([...indices.names, ...expression], context.rules).filter(
    ({ expansion }) => plan !== undefined || expansion > 0,
  );
  const places = search.places.flatMap((place): Place[] => {
    if (place.kind === "text") {
      const rule = rules.find(({ fields }) => asksOneOf(place, fields));
      const text = place.question?.text;
      if (rule === undefined || text === undefined) return [];
      return [{ ...place, clause: { query_text: text, boost: rule.boost }, rule }];
    }
    if (plan === undefined) return [];
    const { clause, field = "" } = place;
    if (clause === undefined) return [];
    if (place.kind === "clause") return [{ ...place, clause }];
    const rule = rules.find(({ vector_fields }) => vector_fields.includes(field));
    return rule === undefined ? [] : [{ ...place, clause, rule }];
  });
  return places.length === 0 ? undefined : { search, indices, places };
}

function hasClause({ places }: PlannedSearch): boolean {
  return places.some(({ kind }) => kind !== "text");
}

function rulesFor(names: readonly string[], rules: readonly Rule[]): Rule[] {
  return rules.filter(({ index }) => names.some((name) => matchesPattern(index, name)));
}

function asksOneOf({ question }: ScannedPlace, fields: readonly string[]): boolean {
  const asked = question?.fields;
  return fields.some(
    (field) => asked === undefined || asked.some((pattern) => matchesPattern(pattern, field)),
  );
}

async function replace(
  text: string,
  { search, indices, places }: PlannedSearch,
  encoded: readonly EncodedVector[],
  capabilities: Capabilities,
  context: RewriteContext,
): Promise<Omit<Rewrite, "reranked"> & { readonly carried: readonly Edit[] }> {
  const limit = capabilities.max_clause_count;
  // Lucene counts the clauses of the whole search.
  const share = Math.max(8, Math.floor((limit - search.other_clauses) / places.length));
  // Where some indices lack the field, `neural_sparse` would fail on their shards.
  const best = indices.partial ? "rank_feature" : chooseDialect(capabilities);
  const warnings: string[] = [];
  const edits = collectEdits(text);
  const before = search.paging === undefined ? undefined : carriedIdf(search.paging);
  const fixed: NonNullable<WeighedVector["fixed"]>[] = [];
  let next = 0;
  for (const [i, place] of places.entries()) {
    const { clause, path } = place;
    const found = clause.query_text === undefined ? undefined : encoded[next++];
    if (indices.plan === undefined) {
      if (found === undefined || place.rule === undefined) continue;
      const words = context.added({ ...found, vector: prune(found.vector, context.pruning) });
      const queries = addedWordQueries(place, place.rule, words, share);
      if (queries.length > 0) edits.beside(place, queries);
      continue;
    }
    const weighed = await weighedOf(place, found, { search, indices, before }, context, warnings);
    if (weighed.fixed !== undefined) fixed.push(weighed.fixed);
    const vector = pruned(weighed.vector, place, context.pruning);
    const translated = translateQuery({
      vector,
      dialect: clause.dialect ?? best,
      fields: [fieldAt(place, indices.plan)],
      max_clause_count: share,
      inner_hits: clause.inner_hits,
    });
    if (translated.dropped_terms > 0) {
      warnings.push(
        `The ${translated.dropped_terms} weakest terms of ${path} were left out: the cluster takes ${limit} clauses in one search.`,
      );
    }
    const weighted = JSON.stringify(finished(translated.query, clause, indices));
    if (place.kind === "text") edits.beside(place, [weighted]);
    else edits.instead(place, weighted);
    // Other requests come in between, however many clauses there are.
    if (i % 8 === 7) await nextTurn();
  }
  const { paging } = search;
  const carried =
    paging === undefined || fixed.length === 0 ? [] : carryOn(paging, writeFixedIdf(fixed));
  return { edits: edits.all(), warnings, carried };
}

/** Whose question it is. */
interface Asked {
  readonly search: ScannedSearch;
  readonly indices: SearchedIndices;
  readonly before: FixedIdf | undefined;
}

async function weighedOf(
  place: Place,
  found: EncodedVector | undefined,
  { search, indices, before }: Asked,
  context: RewriteContext,
  warnings: string[],
): Promise<WeighedVector> {
  const { clause, path } = place;
  if (clause.query_tokens !== undefined) {
    return { vector: readyVector(clause.query_tokens, place, context.isTerm), notes: [] };
  }
  if (found?.failure !== undefined) {
    throw new CspladeError(
      "encode_failed",
      `[${path}.csplade] cannot be encoded: ${found.failure}`,
    );
  }
  if (found?.truncated === true) {
    warnings.push(`The text of ${path} is longer than the model reads; its end was left out.`);
  }
  const question = found ?? { vector: EMPTY_VECTOR };
  const weighed = await context.weigh(question, search, indices, before);
  warnings.push(...weighed.notes.filter((note) => !warnings.includes(note)));
  if (weighed.vector.ids.length === 0) {
    warnings.push(`The text of ${path} has no terms: it matches nothing.`);
  }
  return weighed;
}

function readyVector(
  tokens: Readonly<Record<string, number>>,
  { path, start }: Place,
  isTerm: RewriteContext["isTerm"],
): SparseVector {
  const unknown = Object.keys(tokens).find((id) => !isTerm(Number(id)));
  if (unknown === undefined) return fromFeatures(tokens);
  throw new ClauseError(
    `[${path}.csplade.query_tokens] has the term ${unknown}, which is none of the model's.`,
    start,
  );
}

function pruned(
  vector: SparseVector,
  { clause: { prune_type, prune_ratio }, path, start }: Place,
  fallback: PruneOptions,
): SparseVector {
  if (prune_type === undefined || prune_ratio === undefined) return prune(vector, fallback);
  try {
    return prune(vector, { prune_type, prune_ratio });
  } catch (thrown) {
    if (!(thrown instanceof CspladeError)) throw thrown;
    throw new ClauseError(`[${path}.csplade.prune_ratio]: ${thrown.message}`, start);
  }
}

/** The field for a place: inside a user's own `nested` over the passages it is not wrapped again. */
function fieldAt({ nested, path, start, clause }: Place, plan: IndexPlan): VectorField {
  const [{ nested_path, ...field } = { name: "" }] = searchedFields(plan).fields;
  const boosted = { ...field, boost: clause.boost };
  if (nested === undefined) {
    return nested_path === undefined ? boosted : { ...boosted, nested_path };
  }
  if (nested === nested_path) return boosted;
  throw new ClauseError(
    `[${path}.csplade] stands inside nested documents of ${nested}, which have no vectors.`,
    start,
    nested_path === undefined
      ? "Put it outside of the nested query."
      : `Put it outside of the nested query, or inside one with the path ${PASSAGES_FIELD}.`,
  );
}

/**
 * The query with what it needs among other indices: they need not know our nested field, and the
 * ids of another model's vectors mean something else.
 */
function finished(
  query: QueryClause,
  { _name }: CspladeClause,
  { foreign }: SearchedIndices,
): QueryClause {
  const lenient =
    query.nested !== null && typeof query.nested === "object"
      ? { nested: { ...query.nested, ignore_unmapped: true } }
      : query;
  const others = foreign.length === 0 ? {} : { must_not: [{ terms: { _index: foreign } }] };
  return _name === undefined && foreign.length === 0
    ? lenient
    : { bool: { must: [lenient], ...others, ...(_name === undefined ? {} : { _name }) } };
}

/**
 * A query that fails its own search of an `_msearch` with our sentence: the cluster quotes what it
 * cannot parse, and answers the other searches.
 */
function failing({ start, end }: ScannedPlace, thrown: CspladeError): Edit {
  const sentence = `${thrown.message} ${thrown.hint ?? ""}`.replaceAll(/[()"\\/]/g, "'").trim();
  return { start, end, content: JSON.stringify({ query_string: { query: `(${sentence}` } }) };
}

function isUnauthorized(thrown: unknown): boolean {
  return thrown instanceof ClusterRefusal && thrown.status === 401;
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof ClusterRefusal && thrown.status === 404;
}

/** Whether an error is about the indices that one search names, and nothing else. */
function isAboutIndices(thrown: CspladeError): boolean {
  if (thrown instanceof ClusterRefusal) return thrown.status === 403 || thrown.status === 404;
  return thrown.code === "index_invalid" || thrown.code === "model_mismatch";
}

function tooManyIndices(): CspladeError {
  return new CspladeError(
    "batch_too_large",
    `The request's searches name more than ${MAX_LOOKUPS} different indices or patterns.`,
    { hint: "Split it into several requests." },
  );
}

function noVectors(expression: readonly string[]): CspladeError {
  const names = expression.length === 0 ? "that you may see" : `behind ${expression.join(",")}`;
  return new CspladeError("index_invalid", `No index ${names} holds CSPLADE vectors.`, {
    hint: "Search an index that csplade ingest or csplade reindex wrote.",
  });
}
