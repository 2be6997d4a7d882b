/** A search: a query vector sent to a cluster, and the hits that came back. */
import type { Cluster } from "../cluster/cluster.js";
import type { ClusterResponse } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { annBody } from "./ann.js";
import type { BodyParts } from "./search-body.js";
import {
  accepted,
  prepareSearch,
  isAbove,
  pageParts,
  post,
  withValuesOf,
  type PreparedSearch,
} from "./prepared-search.js";
import { filtered, fitText, withBm25Query } from "./bm25-query.js";
import { hitDetails, withReasons } from "./hit-details.js";
import { expansionOf } from "./lexical.js";
import { searchHybrid } from "./hybrid-search.js";
import { estimateClauses, type QueryClause } from "./query-clause.js";
import type { RankedBody } from "./search-body.js";
import {
  collapsedBy,
  hitKey,
  readHit,
  type AnsweredHit,
  type SearchAnswer,
} from "./search-answer.js";
import { demandVectorFields } from "./search-failure.js";
import type { SearchRequest } from "./search-request.js";
import type { Hit, SearchResult } from "./search-result.js";
import { isSorted, searchSorted } from "./sorted-search.js";
import { twoPhase } from "./two-phase.js";

/** Passages of one document that collapsing allows for, at first. */
const PASSAGES_PER_DOCUMENT = 4;

/**
 * Searches. Hits come in descending score order; ties in the index's order.
 * @throws CspladeError `index_not_found`, `index_invalid` (the index has no such vector field),
 * `query_invalid` (filter, size, boost, options of a mode), `cluster_unsupported` (a dialect the
 * cluster lacks), `cluster_rejected`, `cluster_unreachable`, `deadline_exceeded`, `aborted`.
 */
export async function search(cluster: Cluster, request: SearchRequest): Promise<SearchResult> {
  const asked = await prepareSearch(cluster, request);
  const result = await searchInMode(asked);
  // A rank_feature query on a field that is not there matches nothing and says nothing.
  if (result.total === 0 && asked.mode !== "lexical" && asked.plain.vector.ids.length > 0) {
    await demandVectorFields(cluster, request.index, asked.fields);
  }
  return result;
}

async function searchInMode(asked: PreparedSearch): Promise<SearchResult> {
  if (asked.mode === "lexical") return searchLexical(asked);
  // Without terms the learned weights cannot rank, and BM25 alone would be another search.
  if (asked.plain.vector.ids.length === 0 && asked.mode !== "hybrid") return searchPlain(asked);
  switch (asked.mode) {
    case "plain":
      return searchPlain(asked);
    case "two_phase":
      return searchTwoPhase(asked);
    case "ann":
      return searchAnn(asked);
    case "hybrid":
      return searchHybrid(asked);
  }
}

async function searchPlain(asked: PreparedSearch): Promise<SearchResult> {
  return searchOnce(asked, () => post(asked, onePage(asked, asked.plain.query)));
}

async function searchLexical(asked: PreparedSearch): Promise<SearchResult> {
  const { cluster, request, text_fields, translation } = asked;
  const expansion = expansionOf(request.lexical);
  const others = estimateClauses(request.filter);
  const limit = translation.max_clause_count;
  const room = Math.floor((limit - others) / 2 / text_fields.length);
  const added = (request.added_words ?? [])
    .slice(0, room)
    .map(({ word, boost }) => ({ word, boost: boost * expansion }))
    .filter(({ boost }) => boost > 0);
  const { text, notes } = fitText(
    asked.text,
    text_fields,
    limit,
    others + added.length * text_fields.length,
  );
  const result = await searchOnce(asked, () =>
    withBm25Query(
      cluster,
      text,
      text_fields,
      (query) => post(asked, onePage(asked, filtered(query, request.filter))),
      added,
    ),
  );
  return { ...result, dropped_terms: 0, notes };
}

/** The body of a search whose query gives the final scores. */
function onePage(asked: PreparedSearch, query: QueryClause): BodyParts {
  const { collapse, explain } = asked.request;
  const least = asked.body.min_score;
  return {
    ...pageParts(asked),
    query,
    ...(explain === true ? { explain: true } : {}),
    ...(collapse === undefined ? {} : { collapse: { field: collapse } }),
    ...(least === undefined ? {} : { min_score: least }),
  };
}

async function searchOnce(
  asked: PreparedSearch,
  send: () => Promise<ClusterResponse>,
): Promise<SearchResult> {
  const { collapse } = asked.request;
  const answer = await accepted(asked, await send());
  return resultOf(
    asked,
    answer,
    answer.hits.map((hit) => readHit(hit, collapse)),
  );
}

async function searchTwoPhase(asked: PreparedSearch): Promise<SearchResult> {
  const { request, translation, plain } = asked;
  const passages = request.collapse === undefined ? 1 : PASSAGES_PER_DOCUMENT;
  const phases = twoPhase(translation, plain, request, depthOf(asked), passages);
  if (phases === undefined) return searchPlain(asked);
  // A count of what the heavy terms match says nothing, and counting keeps the engine from
  // skipping documents that cannot be among the best.
  const { body } = asked;
  const uncounted: PreparedSearch = {
    ...asked,
    body: { ...body, ranking: { track_total_hits: false, ...body.ranking } },
  };
  const send: SendBody = (body) => post(uncounted, body(phases.query));
  if (!isSorted(asked)) return searchRanked(uncounted, phases, send);
  const clauses = phases.strong_terms * asked.fields.length + estimateClauses(request.filter);
  const { answer, hits, took_ms, note } = await searchSorted(uncounted, clauses, send);
  const result = resultOf(uncounted, answer, hits, took_ms);
  return { ...result, notes: [...result.notes, note] };
}

/** The last hit of the page; sorted, every document of the first look is ranked, however deep. */
function depthOf(asked: PreparedSearch): number {
  return isSorted(asked) ? 0 : asked.from + asked.size;
}

async function searchAnn(asked: PreparedSearch): Promise<SearchResult> {
  const { request, translation, plain, from, size } = asked;
  const { ann_field, index } = request;
  if (ann_field === undefined) {
    throw new CspladeError("index_invalid", `${index} has no field for approximate search.`, {
      hint: `Make an index that has one: csplade ann ${index} --into ${index}-ann.`,
    });
  }
  const body = annBody(ann_field, translation, plain.vector, request.ann, from + size);
  if (body === undefined) return searchPlain(asked);
  const result = await searchRanked(asked, body, (rest) => post(asked, rest(body.query)));
  if (body.unnumbered === 0) return result;
  const note = `${body.unnumbered} query terms stood in no document when ${index} was made, and only rank.`;
  return { ...result, notes: [...result.notes, note] };
}

/** Sends what a body builder makes of the query of the first look. */
type SendBody = (body: (query: QueryClause) => BodyParts) => Promise<ClusterResponse>;

/** A mode whose first look finds candidates and whose `rescore` ranks them. */
async function searchRanked(
  asked: PreparedSearch,
  ranked: RankedBody,
  send: SendBody,
): Promise<SearchResult> {
  const { collapse } = asked.request;
  if (collapse !== undefined) return searchCollapsed(asked, collapse, ranked, send);
  const answer = await accepted(
    asked,
    await send((query) => ({ ...pageParts(asked), ...ranked.parts, query })),
  );
  const { hits, took_ms } = await withReasons(asked, answer.hits);
  return resultOf(asked, answer, hits.filter(isAbove(asked)), took_ms);
}

/**
 * OpenSearch refuses `collapse` beside `rescore`: hits are collapsed here, from as many as it
 * takes to fill the page or the window.
 */
async function searchCollapsed(
  asked: PreparedSearch,
  collapse: string,
  { parts, window }: RankedBody,
  send: SendBody,
): Promise<SearchResult> {
  const { body, from, size } = asked;
  const most = Math.min(10_000, window);
  let fetched = Math.min(most, (from + size) * PASSAGES_PER_DOCUMENT);
  for (;;) {
    const wanted = fetched;
    const answer = await accepted(
      asked,
      await send((query) => ({
        ...withValuesOf({}, collapse),
        ...body.ranking,
        ...body.whole,
        ...parts,
        query,
        size: wanted,
        _source: false,
      })),
    );
    const best = firstOfEach(answer.hits, collapse).filter(
      (hit) => (hit._score ?? 0) >= (body.min_score ?? -Infinity),
    );
    const complete = answer.hits.length < wanted || wanted >= most;
    if (best.length < from + size && !complete) {
      fetched = Math.min(most, wanted * PASSAGES_PER_DOCUMENT);
      continue;
    }
    const page = best.slice(from, from + size);
    const details = await hitDetails(asked, page, "all");
    const hits = page.map((hit) => ({
      ...readHit(details.hits.get(hitKey(hit)) ?? hit, collapse),
      ...readScore(hit, collapse),
    }));
    return resultOf(asked, answer, hits, details.took_ms);
  }
}

function readScore(hit: AnsweredHit, collapse: string): Pick<Hit, "score" | "collapsed_by"> {
  const shared = collapsedBy(hit, collapse);
  return { score: hit._score ?? 0, ...(shared === undefined ? {} : { collapsed_by: shared }) };
}

function firstOfEach(hits: readonly AnsweredHit[], collapse: string): AnsweredHit[] {
  const seen = new Set<string>();
  return hits.filter((hit) => {
    const shared = collapsedBy(hit, collapse) ?? hitKey(hit);
    if (seen.has(shared)) return false;
    seen.add(shared);
    return true;
  });
}

function resultOf(
  { mode, plain }: PreparedSearch,
  answer: SearchAnswer,
  hits: readonly Hit[],
  more_ms = 0,
): SearchResult {
  return {
    ...answer,
    hits,
    took_ms: answer.took_ms + more_ms,
    mode,
    dialect: plain.dialect,
    dropped_terms: plain.dropped_terms,
    notes: plain.notes,
  };
}
