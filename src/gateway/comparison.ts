/** One question ranked twice, by BM25 and by CSPLADE, with the terms behind every hit. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { documentSchema } from "../cluster/lifted-sources.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { IndexPlan } from "../index/index-meta.js";
import { withBm25Query } from "../query/bm25-query.js";
import { explanationNodeSchema, nameTerms, type ExplanationNode } from "../query/explanation.js";
import { literalSpans } from "../query/literal-spans.js";
import type { QueryClause } from "../query/query-clause.js";
import { search } from "../query/search.js";
import type { SearchResult } from "../query/search-result.js";
import { searchedFields } from "../query/searched-fields.js";
import { termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import type { TermNames } from "../sparse/term-names.js";
import type { SearchedIndices } from "./index-plans.js";

/** What is compared. */
export interface ComparisonRequest extends Pick<SearchedIndices, "partial" | "foreign"> {
  readonly cluster: Cluster;
  readonly index: string;
  readonly plan: IndexPlan;
  readonly question: string;
  /** The question's, pruned as searches are. */
  readonly vector: SparseVector;
  /** What is to be said about it. */
  readonly notes: readonly string[];
  /** Hits of each ranking. */
  readonly size: number;
  readonly encoder: Pick<Encoder, "literals">;
  /** Names of the question's terms. */
  readonly names: TermNames;
  readonly signal: AbortSignal;
}

/** A term of a hit and what it adds to the score. */
export interface MatchedTerm {
  readonly term: string;
  readonly contribution: number;
  /** False for a term that the model added to the text. */
  readonly literal: boolean;
}

/** A hit as people read it. */
export interface ComparedHit {
  readonly id: string;
  readonly index: string;
  readonly score: number;
  readonly title: string;
  readonly text: string;
  /** Stretches of `text` behind literal terms, UTF-16 offsets; of CSPLADE's hits. */
  readonly spans: readonly { readonly start: number; readonly end: number }[];
  /** Heaviest first. */
  readonly terms: readonly MatchedTerm[];
}

/** One of the two rankings. */
export interface Ranking {
  readonly total: number;
  readonly took_ms: number;
  readonly hits: readonly ComparedHit[];
  readonly notes: readonly string[];
}

/** Both rankings of a question. */
export interface Comparison {
  /** The question's own terms; `literal` ones stand in it. */
  readonly terms: readonly { readonly term: string; readonly weight: number; literal: boolean }[];
  readonly bm25: Ranking;
  readonly csplade: Ranking;
}

/** Characters of a hit's text that are shown. */
const SHOWN_CHARS = 300;

const answerSchema = z.object({
  took: z.number(),
  hits: z.object({
    total: z.object({ value: z.number() }),
    hits: z.array(
      z.object({
        _id: z.string(),
        _index: z.string(),
        _score: z.number().nullish(),
        _source: documentSchema.optional(),
        _explanation: explanationNodeSchema.optional(),
      }),
    ),
  }),
});

/**
 * Ranks a question both ways.
 * @throws CspladeError as {@link search} does.
 */
export async function compare(request: ComparisonRequest): Promise<Comparison> {
  const [bm25, csplade] = await Promise.all([rankByBm25(request), rankByCsplade(request)]);
  const { vector, names, encoder, question, signal } = request;
  const [literals] = await encoder.literals([question], { signal });
  const asked = Array.from(termsOf(vector), ([id, weight]) => ({
    id,
    field: "",
    query_weight: weight,
    document_weight: 1,
    contribution: weight,
  }));
  const named = nameTerms(asked, names, literals?.ids ?? []);
  return {
    terms: named.map(({ term, query_weight, literal }) => ({
      term,
      weight: query_weight,
      literal,
    })),
    bm25,
    csplade,
  };
}

/** CSPLADE's ranking, explained. */
export async function searchByCsplade(
  request: Omit<ComparisonRequest, "encoder">,
  narrowing: readonly QueryClause[] = [],
): Promise<SearchResult> {
  const { cluster, index, plan, vector, size, signal } = request;
  const ours: QueryClause[] =
    request.foreign.length === 0
      ? []
      : [{ bool: { must_not: [{ terms: { _index: request.foreign } }] } }];
  const filter = [...ours, ...narrowing];
  return await search(cluster, {
    index,
    vector,
    size,
    explain: true,
    ...searchedFields(plan),
    // As for a clause: where some indices lack the field `neural_sparse` would fail on their shards.
    ...(request.partial ? { dialect: "rank_feature" as const } : {}),
    ...(filter.length === 0 ? {} : { filter }),
    signal,
  });
}

async function rankByCsplade(request: ComparisonRequest): Promise<Ranking> {
  const { plan, encoder, names, signal } = request;
  const { hits, total, took_ms, notes } = await searchByCsplade(request);
  const texts = hits.map((hit) =>
    plan.text_fields.map((name) => textOf(hit.source[name])).join(" "),
  );
  const pages = hits.map((hit) => shown(hit.id, hit.index, hit.score, hit.source, plan));
  const literals = await encoder.literals([...texts, ...pages.map((page) => page.text)], {
    signal,
  });
  return {
    total,
    took_ms,
    notes: [...request.notes, ...notes],
    hits: pages.map((page, i) => {
      const terms = nameTerms(hits[i]?.contributions ?? [], names, literals[i]?.ids ?? []);
      const inPage = literals[hits.length + i];
      return {
        ...page,
        spans:
          inPage === undefined
            ? []
            : literalSpans(inPage, terms, names).map(({ start, end }) => ({ start, end })),
        terms: terms.map(({ term, contribution, literal }) => ({ term, contribution, literal })),
      };
    }),
  };
}

async function rankByBm25(request: ComparisonRequest): Promise<Ranking> {
  const { cluster, index, plan, question, size, signal } = request;
  if (question.trim() === "") return { total: 0, took_ms: 0, hits: [], notes: [] };
  const { collapse } = searchedFields(plan);
  const answer = await withBm25Query(cluster, question, plan.text_fields, (query) =>
    cluster.send({
      method: "POST",
      path: pathOf(index, "_search"),
      body: {
        query,
        size,
        explain: true,
        _source: [plan.title_field, ...plan.text_fields],
        ...(collapse === undefined ? {} : { collapse: { field: collapse } }),
      },
      signal,
    }),
  );
  const parsed = answerSchema.safeParse(answer.body);
  if (answer.status >= 400 || !parsed.success) {
    throw new CspladeError(
      "cluster_rejected",
      `Ranking by BM25 failed: ${cluster.url} answered ${answer.status}: ${reasonOf(answer.body)}`,
    );
  }
  const { took, hits } = parsed.data;
  return {
    total: hits.total.value,
    took_ms: took,
    notes: [],
    hits: hits.hits.map(({ _id, _index, _score, _source = {}, _explanation }) => ({
      ...shown(_id, _index, _score ?? 0, _source, plan),
      spans: [],
      terms: _explanation === undefined ? [] : wordsOf(_explanation),
    })),
  };
}

function shown(
  id: string,
  index: string,
  score: number,
  source: Readonly<Record<string, unknown>>,
  { title_field, text_fields }: IndexPlan,
): Omit<ComparedHit, "terms" | "spans"> {
  const text = shownFields({ title_field, text_fields })
    .map((name) => textOf(source[name]))
    .join(" ");
  return {
    id,
    index,
    score,
    title: textOf(source[title_field]) || id,
    text: text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS - 1)}…` : text,
  };
}

/** Fields that make the text beside a title. */
function shownFields({
  title_field,
  text_fields,
}: Pick<IndexPlan, "title_field" | "text_fields">): string[] {
  return text_fields.filter((name) => name !== title_field);
}

/** A place in a field. */
interface FieldPlace {
  readonly field: string;
  readonly start: number;
  readonly end: number;
}

/** Where places in the fields of a hit stand in what is shown of it; nowhere behind its end. */
export function shownPlaces(
  source: Readonly<Record<string, unknown>>,
  plan: IndexPlan,
): (place: FieldPlace) => (Omit<FieldPlace, "field"> & { part: "title" | "text" }) | undefined {
  const offsets = new Map<string, number>();
  let length = 0;
  for (const name of shownFields(plan)) {
    offsets.set(name, length);
    length += textOf(source[name]).length + 1;
  }
  const last = length - 1 > SHOWN_CHARS ? SHOWN_CHARS - 1 : SHOWN_CHARS;
  return ({ field, start, end }) => {
    if (field === plan.title_field) return { part: "title", start, end };
    const offset = offsets.get(field);
    if (offset === undefined || offset + end > last) return undefined;
    return { part: "text", start: offset + start, end: offset + end };
  };
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.map(textOf).join(" ");
  return typeof value === "string" ? value : "";
}

/** `weight(text:word in 3)`, `weight(CombinedFieldQuery((text title)(word)) in 3)`. */
const BM25_TERM = /^weight\((?:CombinedFieldQuery\(\(.*?\)\((.+)\)\)|[^:]+:(.+)) in \d+\)/s;

/** The words of a BM25 explanation; those of several fields are added up. */
function wordsOf(explanation: ExplanationNode): MatchedTerm[] {
  const words = new Map<string, number>();
  const collect = ({ value, description, details }: ExplanationNode): void => {
    const found = BM25_TERM.exec(description);
    const word = found?.[1] ?? found?.[2];
    if (word === undefined) details.forEach(collect);
    else words.set(word, (words.get(word) ?? 0) + value);
  };
  collect(explanation);
  return Array.from(words, ([term, contribution]) => ({ term, contribution, literal: true })).sort(
    (a, b) => b.contribution - a.contribution,
  );
}
