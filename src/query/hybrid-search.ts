/** Runs a hybrid search: in one request where the cluster fuses, else in several that are fused here. */
import type { Cluster } from "../cluster/cluster.js";
import type { ClusterResponse } from "../cluster/request.js";
import { accepted, isAbove, pageParts, post, type PreparedSearch } from "./prepared-search.js";
import { nearestClause, nearestRetriever, type DenseQuestion } from "./dense.js";
import type { SearchRequest } from "./search-request.js";
import { filtered, fitText, withBm25Query, type FittedText } from "./bm25-query.js";
import type { Fused } from "./fusion.js";
import { hitDetails, withReasons, type HitDetails } from "./hit-details.js";
import {
  fuse,
  fusesByItself,
  hybridOptions,
  hybridQuery,
  rrfRetriever,
  type HybridOptions,
  type Ranking,
} from "./hybrid.js";
import { estimateClauses, type QueryClause } from "./query-clause.js";
import { translateQuery, type TranslatedQuery } from "./query-translator.js";
import {
  collapsedBy,
  hitKey,
  readHit,
  type AnsweredHit,
  type SearchAnswer,
} from "./search-answer.js";
import type { Hit, SearchResult } from "./search-result.js";

/** Clusters that turned out not to fuse: without the licence, the plugin or the privilege. */
const fusesNot = new WeakSet<Cluster>();

/** Statuses of a cluster that does not know what it is asked, or may not do it. */
const CANNOT: ReadonlySet<number> = new Set([400, 403]);

/** A hybrid search, its queries ready. */
interface HybridSearch {
  readonly asked: PreparedSearch;
  readonly options: HybridOptions;
  readonly csplade: TranslatedQuery;
  readonly bm25: FittedText;
  /** What dense vectors are asked, where there are some. */
  readonly dense: DenseQuestion | undefined;
  readonly notes: readonly string[];
}

/**
 * Searches by both and fuses.
 * @throws CspladeError as a plain search does.
 */
export async function searchHybrid(asked: PreparedSearch): Promise<SearchResult> {
  const { request, cluster, capabilities, from, size } = asked;
  const options = hybridOptions(request.hybrid, from + size, denseOf(request) !== undefined);
  const search = hybridSearch(asked, options);
  const one =
    options.requests === "one" ||
    (options.requests === undefined &&
      request.explain !== true &&
      request.collapse === undefined &&
      fusesByItself(capabilities, options) &&
      !fusesNot.has(cluster));
  if (!one) return apart(search);
  const answer = await sendOne(search);
  if (options.requests === "one" || !CANNOT.has(answer.status)) {
    return inOneRequest(search, await accepted(asked, answer));
  }
  // A fault of the request shows in the two requests as well, and is reported from there.
  const result = await apart(search);
  fusesNot.add(cluster);
  return result;
}

function denseOf({ dense, dense_field }: SearchRequest): DenseQuestion | undefined {
  if (dense === undefined || dense_field === undefined) return undefined;
  return { field: dense_field, vector: dense };
}

function hybridSearch(asked: PreparedSearch, options: HybridOptions): HybridSearch {
  const { translation, text_fields, text, request } = asked;
  const limit = translation.max_clause_count;
  const terms = Math.min(asked.plain.vector.ids.length, Math.floor(limit / 2));
  const bm25 = fitText(text, text_fields, limit, terms + 2 * estimateClauses(request.filter));
  // OpenSearch counts the clauses of both queries together.
  const csplade = translateQuery({
    ...translation,
    inner_hits: undefined,
    other_clauses: bm25.words * text_fields.length + estimateClauses(request.filter) + 4,
  });
  const dense = denseOf(request);
  const others = options.rankings
    .filter((ranking) => ranking !== "csplade")
    .map((ranking) => (ranking === "bm25" ? "BM25" : "dense vectors"));
  const notes =
    csplade.vector.ids.length === 0
      ? [
          `The query has no terms (its text is blank, or pruning kept none): ranked by ${others.join(" and ") || "nothing"} alone.`,
        ]
      : csplade.notes;
  const words = options.rankings.includes("bm25") ? bm25.notes : [];
  return { asked, options, csplade, bm25, dense, notes: [...notes, ...words] };
}

function sendOne(search: HybridSearch): Promise<ClusterResponse> {
  const { asked, options } = search;
  if (asked.capabilities.distribution === "elasticsearch") {
    return withWords(search, (words) => {
      const retrievers = options.rankings.map((ranking) =>
        ranking === "dense" && search.dense !== undefined
          ? nearestRetriever(search.dense, options.pagination_depth, asked.request.filter)
          : { standard: { query: clauseOf(search, ranking, words) } },
      );
      return post(asked, { ...pageParts(asked), ...rrfRetriever(retrievers, options) });
    });
  }
  return withWords(search, (words) =>
    post(asked, { ...pageParts(asked), ...hybridQuery(clausesOf(search, words), options) }),
  );
}

/** Sends what a body is made of BM25's query, which may take two tries, where BM25 ranks. */
function withWords(
  { asked, options, bm25 }: HybridSearch,
  send: (words: QueryClause) => Promise<ClusterResponse>,
): Promise<ClusterResponse> {
  if (!options.rankings.includes("bm25")) return send({ match_none: {} });
  return withBm25Query(asked.cluster, bm25.text, asked.text_fields, send);
}

/** The queries of all rankings. */
function clausesOf(search: HybridSearch, words: QueryClause): QueryClause[] {
  return search.options.rankings.map((ranking) => clauseOf(search, ranking, words));
}

/** The query of a ranking. @param words BM25's. */
function clauseOf(
  { asked, options, csplade, dense }: HybridSearch,
  ranking: Ranking,
  words: QueryClause,
): QueryClause {
  const { capabilities, request } = asked;
  if (ranking === "csplade") return csplade.query;
  return ranking === "bm25" || dense === undefined
    ? filtered(words, request.filter)
    : nearestClause(capabilities, dense, options.pagination_depth, request.filter);
}

async function inOneRequest(search: HybridSearch, answer: SearchAnswer): Promise<SearchResult> {
  const { hits, took_ms } = await withReasons(search.asked, answer.hits);
  return resultOf(search, answer, hits.filter(isAbove(search.asked)), took_ms);
}

async function apart(search: HybridSearch): Promise<SearchResult> {
  const { asked, options } = search;
  const { body, request, from, size } = asked;
  const { collapse } = request;
  const ranked = {
    ...body.ranking,
    size: options.pagination_depth,
    _source: false,
    ...(collapse === undefined ? {} : { collapse: { field: collapse } }),
  };
  const send = async (ranking: Ranking) => {
    const by = (words: QueryClause) =>
      post(asked, { ...ranked, query: clauseOf(search, ranking, words) });
    return ranking === "bm25" ? await withWords(search, by) : await by({});
  };
  const [whole, ...answered] = await Promise.all([
    Object.keys(body.whole).length === 0
      ? undefined
      : withWords(search, (words) =>
          post(asked, {
            ...body.whole,
            query: { bool: { should: clausesOf(search, words) } },
            size: 0,
          }),
        ),
    ...options.rankings.map(send),
  ]);
  const answers: SearchAnswer[] = [];
  for (const each of answered) answers.push(await accepted(asked, each));
  const aggregated = whole === undefined ? undefined : await accepted(asked, whole);
  const named = answers.map(({ hits }) => hits.map((hit) => [nameOf(hit, collapse), hit] as const));
  // Where several found a document, the learned weights say which of its passages is shown.
  const hitOf = new Map(named.flat());
  for (const [key, hit] of named[options.rankings.indexOf("csplade")] ?? []) hitOf.set(key, hit);
  const fused = fuse(
    named.map((hits) => hits.map(([key, hit]) => ({ key, score: hit._score ?? 0 }))),
    options,
  ).filter(isAbove(asked));
  const page = fused.slice(from, from + size);
  const details = await hitDetails(
    asked,
    page.flatMap(({ key }) => hitOf.get(key) ?? []),
    "all",
  );
  const hits = page.flatMap((place) => {
    const hit = hitOf.get(place.key);
    return hit === undefined ? [] : [fusedHit(search, hit, place, details)];
  });
  const counted = wholeTotal(answers, hitOf.size);
  const took_ms = Math.max(...answers.map((answer) => answer.took_ms), aggregated?.took_ms ?? 0);
  const whole_parts = aggregated === undefined ? {} : partsOf(aggregated);
  return resultOf(search, { hits: [], took_ms, ...counted, ...whole_parts }, hits, details.took_ms);
}

function partsOf({ aggregations, suggest }: SearchAnswer): Partial<SearchAnswer> {
  return {
    ...(aggregations === undefined ? {} : { aggregations }),
    ...(suggest === undefined ? {} : { suggest }),
  };
}

function nameOf(hit: AnsweredHit, collapse: string | undefined): string {
  return collapsedBy(hit, collapse) ?? hitKey(hit);
}

function fusedHit(
  { asked, options }: HybridSearch,
  hit: AnsweredHit,
  { score, parts }: Fused,
  details: HitDetails,
): Hit {
  const { collapse, explain } = asked.request;
  const shared = collapsedBy(hit, collapse);
  const found = options.rankings.flatMap((ranking, i) => {
    const part = parts[i];
    return part === undefined ? [] : [[ranking, part] as const];
  });
  return {
    ...readHit(details.hits.get(hitKey(hit)) ?? hit, undefined),
    score,
    ...(shared === undefined ? {} : { collapsed_by: shared }),
    ...(explain === true ? { fusion: Object.fromEntries(found) } : {}),
  };
}

/** How many documents the rankings matched: exact where all are known to their end. */
function wholeTotal(
  answers: readonly SearchAnswer[],
  different: number,
): Pick<SearchAnswer, "total" | "total_relation"> {
  const whole = answers.every(
    ({ total, total_relation, hits }) => total_relation === "eq" && total <= hits.length,
  );
  const total = Math.max(different, ...answers.map((answer) => answer.total));
  return { total, total_relation: whole ? "eq" : "gte" };
}

function resultOf(
  { asked, csplade, notes }: HybridSearch,
  answer: SearchAnswer,
  hits: readonly Hit[],
  more_ms: number,
): SearchResult {
  return {
    ...answer,
    hits,
    took_ms: answer.took_ms + more_ms,
    mode: asked.mode,
    dialect: csplade.dialect,
    dropped_terms: csplade.dropped_terms,
    notes,
  };
}
