/** A search: a query vector sent to a cluster, and the hits that came back. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, type ClusterResponse } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import { readExplanation, type Contribution } from "./explanation.js";
import type { QueryClause } from "./query-clause.js";
import { chooseDialect, type QueryDialect } from "./query-dialect.js";
import { translateQuery, type TranslatedQuery, type VectorField } from "./query-translator.js";
import { demandVectorFields, refusedSearch } from "./search-failure.js";

/** What to search for, and where. */
export interface SearchRequest {
  /** An index, an alias, or a pattern. */
  readonly index: string;
  readonly vector: SparseVector;
  /** Hits to return, 0…10,000 together with `from`; 10 without it. */
  readonly size?: number | undefined;
  /** Hits to skip, 0 without it. */
  readonly from?: number | undefined;
  /** DSL that narrows the hits and scores nothing. */
  readonly filter?: QueryClause | readonly QueryClause[] | undefined;
  /** Take every hit's score apart (slower; for people, not for batches). */
  readonly explain?: boolean | undefined;
  /** The cluster's best one without it. */
  readonly dialect?: QueryDialect | undefined;
  /** The vector field `csplade` without it. */
  readonly fields?: readonly VectorField[] | undefined;
  /** `false`: no source; a list: these fields; otherwise everything but the vectors. */
  readonly source?: false | readonly string[] | undefined;
  /**
   * A keyword field that several hits share (`csplade_parent` where an index holds a document
   * per passage): only the best hit of each value comes back. `total` still counts them all.
   */
  readonly collapse?: string | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One hit. */
export interface Hit {
  readonly id: string;
  readonly index: string;
  readonly score: number;
  /** The document as it was indexed, without vectors; empty where no source was asked for. */
  readonly source: Readonly<Record<string, unknown>>;
  /** Terms that made the score, largest first; empty unless `explain` was asked for. */
  readonly contributions: readonly Contribution[];
  /** Nested passages: position of the one that matched best, counted from 0. */
  readonly passage?: number;
  /** Value of the field that hits were collapsed by. */
  readonly collapsed_by?: string;
}

/** What a search gave. */
export interface SearchResult {
  readonly hits: readonly Hit[];
  /** Matching documents; a lower bound when `total_relation` is `gte`. */
  readonly total: number;
  readonly total_relation: "eq" | "gte";
  /** The cluster's own time, milliseconds. */
  readonly took_ms: number;
  readonly dialect: QueryDialect;
  /** Query terms left out to stay within the cluster's clause limit. */
  readonly dropped_terms: number;
  /** Sentences for people about what was left out. */
  readonly notes: readonly string[];
}

/** The field that holds a document's vector, unless passages are nested. */
const DEFAULT_FIELDS: readonly VectorField[] = [{ name: "csplade" }];

const innerHitsSchema = z.record(
  z.string(),
  z.object({
    hits: z.object({
      hits: z.array(
        z.object({
          _score: z.number().nullish(),
          _nested: z.object({ offset: z.number().int().min(0) }).optional(),
        }),
      ),
    }),
  }),
);

const answerSchema = z.object({
  took: z.number(),
  timed_out: z.boolean().optional(),
  _shards: z.object({ total: z.number(), failed: z.number() }),
  hits: z.object({
    total: z.object({ value: z.number(), relation: z.enum(["eq", "gte"]) }),
    hits: z.array(
      z.object({
        _id: z.string(),
        _index: z.string(),
        _score: z.number().nullable(),
        _source: z.record(z.string(), z.unknown()).optional(),
        _explanation: z.unknown().optional(),
        inner_hits: innerHitsSchema.optional(),
        fields: z.record(z.string(), z.array(z.unknown())).optional(),
      }),
    ),
  }),
});

type AnsweredHit = z.infer<typeof answerSchema>["hits"]["hits"][number];

/**
 * Searches. Hits come in descending score order; ties in the index's order.
 * @throws CspladeError `index_not_found`, `index_invalid` (the index has no such vector field),
 * `query_invalid` (filter, size, boost), `cluster_unsupported` (a dialect the cluster lacks),
 * `cluster_rejected`, `cluster_unreachable`, `deadline_exceeded`, `aborted`.
 */
export async function search(cluster: Cluster, request: SearchRequest): Promise<SearchResult> {
  const fields = request.fields ?? DEFAULT_FIELDS;
  const { size = 10, from = 0 } = request;
  checkWindow(from, size);
  const capabilities = await cluster.capabilities();
  const translated = translateQuery({
    vector: request.vector,
    dialect: request.dialect ?? chooseDialect(capabilities),
    fields,
    filter: request.filter,
    max_clause_count: capabilities.max_clause_count,
    inner_hits: { size: 1, _source: false },
  });
  const answer = await cluster.send({
    method: "POST",
    path: pathOf(request.index, "_search"),
    body: {
      query: translated.query,
      size,
      from,
      _source: request.source ?? { excludes: fields.map((field) => field.name) },
      ...(request.explain === true ? { explain: true } : {}),
      ...(request.collapse === undefined ? {} : { collapse: { field: request.collapse } }),
    },
    ...(request.timeoutMs === undefined ? {} : { timeoutMs: request.timeoutMs }),
    ...(request.signal === undefined ? {} : { signal: request.signal }),
  });
  if (answer.status >= 400) {
    throw await refusedSearch(cluster, answer, { ...request, fields }, translated.dialect);
  }
  const result = readAnswer(cluster, request, answer, translated);
  // A rank_feature query on a field that is not there matches nothing and says nothing.
  if (result.total === 0 && translated.terms > 0) {
    await demandVectorFields(cluster, request.index, fields);
  }
  return result;
}

function readAnswer(
  cluster: Cluster,
  { index, collapse }: SearchRequest,
  answer: ClusterResponse,
  translated: TranslatedQuery,
): SearchResult {
  const parsed = answerSchema.safeParse(answer.body);
  if (!parsed.success) {
    throw new CspladeError(
      "cluster_rejected",
      `${cluster.url} answered a search on ${index} with something that is no search result: ${z.prettifyError(parsed.error)}`,
    );
  }
  const { took, timed_out, _shards, hits } = parsed.data;
  if (_shards.failed > 0 || timed_out === true) {
    throw new CspladeError(
      "cluster_rejected",
      `The search on ${index} is incomplete: ${
        timed_out === true ? "it timed out" : `${_shards.failed} of ${_shards.total} shards failed`
      }.`,
      { hint: "GET _cluster/health shows what is wrong with the cluster; search again after it." },
    );
  }
  return {
    hits: hits.hits.map((hit) => readHit(hit, collapse)),
    total: hits.total.value,
    total_relation: hits.total.relation,
    took_ms: took,
    dialect: translated.dialect,
    dropped_terms: translated.dropped_terms,
    notes: translated.notes,
  };
}

function readHit(hit: AnsweredHit, collapse: string | undefined): Hit {
  const passage = bestPassage(hit);
  const shared = collapse === undefined ? undefined : hit.fields?.[collapse]?.[0];
  return {
    id: hit._id,
    index: hit._index,
    score: hit._score ?? 0,
    source: hit._source ?? {},
    contributions:
      hit._explanation === undefined ? [] : readExplanation(hit._explanation).contributions,
    ...(passage === undefined ? {} : { passage }),
    ...(typeof shared === "string" ? { collapsed_by: shared } : {}),
  };
}

function bestPassage({ inner_hits }: AnsweredHit): number | undefined {
  const best = Object.values(inner_hits ?? {})
    .flatMap((inner) => inner.hits.hits)
    .sort((a, b) => (b._score ?? 0) - (a._score ?? 0))[0];
  return best?._nested?.offset;
}

function checkWindow(from: number, size: number): void {
  const whole = Number.isInteger(size) && Number.isInteger(from) && size >= 0 && from >= 0;
  if (whole && from + size <= 10_000) return;
  throw new CspladeError(
    "query_invalid",
    `A search returns at most the first 10,000 hits; got from ${from} and size ${size}.`,
    { hint: "Both are whole numbers of at least 0, together at most 10,000." },
  );
}
