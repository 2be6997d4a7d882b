/** Runs a hybrid search: in one request where the cluster fuses, else two that are fused here. */
import type { Cluster } from "../cluster/cluster.js";
import type { ClusterResponse } from "../cluster/request.js";
import type { BodyParts } from "./search-body.js";
import { accepted, isAbove, pageParts, post, type PreparedSearch } from "./prepared-search.js";
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

/** A hybrid search, its two queries ready. */
interface HybridSearch {
  readonly asked: PreparedSearch;
  readonly options: HybridOptions;
  readonly csplade: TranslatedQuery;
  readonly bm25: FittedText;
  readonly notes: readonly string[];
}

/**
 * Searches by both and fuses.
 * @throws CspladeError as a plain search does.
 */
export async function searchHybrid(asked: PreparedSearch): Promise<SearchResult> {
  const { request, cluster, capabilities, from, size } = asked;
  const options = hybridOptions(request.hybrid, from + size);
  const search = hybridSearch(asked, options);
  const one =
    options.requests === "one" ||
    (options.requests === undefined &&
      request.explain !== true &&
      request.collapse === undefined &&
      fusesByItself(capabilities, options) &&
      !fusesNot.has(cluster));
  if (!one) return inTwoRequests(search);
  const answer = await sendOne(search);
  if (options.requests === "one" || !CANNOT.has(answer.status)) {
    return inOneRequest(search, await accepted(asked, answer));
  }
  // A fault of the request shows in the two requests as well, and is reported from there.
  const result = await inTwoRequests(search);
  fusesNot.add(cluster);
  return result;
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
  const blank = csplade.vector.ids.length === 0;
  const notes = blank
    ? ["The query has no terms (its text is blank, or pruning kept none): ranked by BM25 alone."]
    : csplade.notes;
  return { asked, options, csplade, bm25, notes: [...notes, ...bm25.notes] };
}

function sendOne({ asked, options, csplade, bm25 }: HybridSearch): Promise<ClusterResponse> {
  const { cluster, capabilities, text_fields } = asked;
  return withBm25Query(cluster, bm25.text, text_fields, (query) => {
    const queries = [filtered(query, asked.request.filter), csplade.query];
    if (capabilities.distribution === "elasticsearch") {
      return post(asked, { ...pageParts(asked), ...rrfRetriever(queries, options) });
    }
    return post(asked, { ...pageParts(asked), ...hybridQuery(queries, options) });
  });
}

async function inOneRequest(search: HybridSearch, answer: SearchAnswer): Promise<SearchResult> {
  const { hits, took_ms } = await withReasons(search.asked, answer.hits);
  return resultOf(search, answer, hits.filter(isAbove(search.asked)), took_ms);
}

async function inTwoRequests(search: HybridSearch): Promise<SearchResult> {
  const { asked, options, csplade, bm25 } = search;
  const { cluster, text_fields, body, request, from, size } = asked;
  const { collapse } = request;
  const ranking = {
    ...body.ranking,
    size: options.pagination_depth,
    _source: false,
    ...(collapse === undefined ? {} : { collapse: { field: collapse } }),
  };
  const byBm25 = (body: (query: QueryClause) => BodyParts) =>
    withBm25Query(cluster, bm25.text, text_fields, (query) =>
      post(asked, body(filtered(query, asked.request.filter))),
    );
  const [theirs, ours, whole] = await Promise.all([
    byBm25((query) => ({ ...ranking, query })),
    post(asked, { ...ranking, query: csplade.query }),
    Object.keys(body.whole).length === 0
      ? undefined
      : byBm25((query) => ({
          ...body.whole,
          query: { bool: { should: [query, csplade.query] } },
          size: 0,
        })),
  ]);
  const answers = [await accepted(asked, theirs), await accepted(asked, ours)];
  const aggregated = whole === undefined ? undefined : await accepted(asked, whole);
  const named = answers.map(({ hits }) => hits.map((hit) => [nameOf(hit, collapse), hit] as const));
  // Where both found a document, the learned weights say which of its passages is shown.
  const hitOf = new Map(named.flat());
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
    return hit === undefined ? [] : [fusedHit(asked, hit, place, details)];
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
  { request }: PreparedSearch,
  hit: AnsweredHit,
  { score, parts }: Fused,
  details: HitDetails,
): Hit {
  const { collapse, explain } = request;
  const shared = collapsedBy(hit, collapse);
  const [bm25, csplade] = parts;
  return {
    ...readHit(details.hits.get(hitKey(hit)) ?? hit, undefined),
    score,
    ...(shared === undefined ? {} : { collapsed_by: shared }),
    ...(explain === true
      ? {
          fusion: {
            ...(bm25 === undefined ? {} : { bm25 }),
            ...(csplade === undefined ? {} : { csplade }),
          },
        }
      : {}),
  };
}

/** How many documents either ranking matched: exact where both are known to their end. */
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
