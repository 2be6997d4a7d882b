/** What a cluster answers to a search, checked, and the hits in it. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { parseAnswer } from "../cluster/answer-text.js";
import { documentSchema, liftSources } from "../cluster/lifted-sources.js";
import type { ClusterResponse } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { withoutMembers } from "../json/json-object.js";
import { readExplanation } from "./explanation.js";
import { ADDED_WORD } from "./lexical.js";
import type { Hit } from "./search-result.js";

/** What our own `inner_hits` are called before the field's name: others are the caller's. */
export const PASSAGE_HITS = "csplade best passage: ";

const innerHitsSchema = z.record(
  z.string(),
  z.looseObject({
    hits: z.looseObject({
      hits: z.array(
        z.looseObject({
          _score: z.number().nullish(),
          _nested: z.object({ offset: z.number().int().min(0) }).optional(),
        }),
      ),
    }),
  }),
);

type InnerHits = z.infer<typeof innerHitsSchema>[string];

const values = z.record(z.string(), z.array(z.unknown()));

const hitSchema = z.object({
  _id: z.string(),
  _index: z.string(),
  _score: z.number().nullable(),
  _source: documentSchema.optional(),
  _source_text: z.string().optional(),
  _explanation: z.unknown().optional(),
  inner_hits: innerHitsSchema.optional(),
  fields: values.optional(),
  highlight: z.record(z.string(), z.array(z.string())).optional(),
  sort: z.array(z.unknown()).optional(),
  matched_queries: z.array(z.string()).optional(),
});

const answerSchema = z.object({
  took: z.number(),
  timed_out: z.boolean().optional(),
  _shards: z.object({ total: z.number(), failed: z.number() }),
  hits: z.object({
    /** Missing where `track_total_hits` is false. */
    total: z.object({ value: z.number(), relation: z.enum(["eq", "gte"]) }).optional(),
    hits: z.array(hitSchema),
  }),
  aggregations: z.record(z.string(), z.unknown()).optional(),
  suggest: z.record(z.string(), z.unknown()).optional(),
});

/** A hit as the cluster sent it. */
export type AnsweredHit = z.infer<typeof hitSchema>;

/** A whole answer. */
export interface SearchAnswer {
  readonly took_ms: number;
  readonly hits: readonly AnsweredHit[];
  readonly total: number;
  readonly total_relation: "eq" | "gte";
  readonly aggregations?: Readonly<Record<string, unknown>>;
  readonly suggest?: Readonly<Record<string, unknown>>;
}

/**
 * Reads the answer to a search that the cluster accepted.
 * @throws CspladeError `cluster_rejected` for something that is no search result, and for a
 * result that lacks shards: half an answer must not look like a whole one.
 */
export function readAnswer(cluster: Cluster, index: string, answer: ClusterResponse): SearchAnswer {
  const parsed = answerSchema.safeParse(answer.body);
  if (!parsed.success) {
    throw new CspladeError(
      "cluster_rejected",
      `${cluster.url} answered a search on ${index} with something that is no search result: ${z.prettifyError(parsed.error)}`,
    );
  }
  const { took, timed_out, _shards, hits, aggregations, suggest } = parsed.data;
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
    took_ms: took,
    hits: hits.hits,
    total: hits.total?.value ?? hits.hits.length,
    total_relation: hits.total?.relation ?? "gte",
    ...(aggregations === undefined ? {} : { aggregations }),
    ...(suggest === undefined ? {} : { suggest }),
  };
}

/**
 * The body of an answer whose hits have their whole documents: `_source` as a value, `_source_text` as
 * the text that is stored, both without the fields of vectors.
 */
export function storedHits(text: string, vectors: readonly string[], what: string): unknown {
  const { answer, sources } = liftSources(text, ["hits", "hits"], what);
  const lifted = liftedSchema.safeParse(answer);
  for (const hit of lifted.data?.hits.hits ?? []) {
    const stored = sources[hit._source ?? -1];
    if (stored === undefined) continue;
    const own = withoutMembers(stored, (name) => vectors.includes(name));
    Object.assign(hit, { _source: parseAnswer(own, what), _source_text: own });
  }
  return lifted.data ?? answer;
}

const liftedSchema = z.looseObject({
  hits: z.looseObject({ hits: z.array(z.looseObject({ _source: z.number().optional() })) }),
});

/** Names a hit among those of several indices. */
export function hitKey({ _index, _id }: Pick<AnsweredHit, "_index" | "_id">): string {
  return `${_index}/${_id}`;
}

/** The value by which a hit was, or is to be, collapsed. */
export function collapsedBy(hit: AnsweredHit, collapse: string | undefined): string | undefined {
  const shared = collapse === undefined ? undefined : hit.fields?.[collapse]?.[0];
  return typeof shared === "string" || typeof shared === "number" ? String(shared) : undefined;
}

/** A hit for our callers. */
export function readHit(hit: AnsweredHit, collapse: string | undefined): Hit {
  const inner = Object.entries(hit.inner_hits ?? {});
  const passage = bestPassage(inner.filter(([name]) => name.startsWith(PASSAGE_HITS)));
  const theirs = inner.filter(([name]) => !name.startsWith(PASSAGE_HITS));
  const shared = collapsedBy(hit, collapse);
  const named = hit.matched_queries ?? [];
  const own = named.filter((name) => !name.startsWith(ADDED_WORD));
  const added = named.filter((name) => name.startsWith(ADDED_WORD));
  return {
    id: hit._id,
    index: hit._index,
    score: hit._score ?? 0,
    source: hit._source ?? {},
    ...(hit._source_text === undefined ? {} : { source_text: hit._source_text }),
    contributions:
      hit._explanation === undefined ? [] : readExplanation(hit._explanation).contributions,
    ...(passage === undefined ? {} : { passage }),
    ...(shared === undefined ? {} : { collapsed_by: shared }),
    ...(hit.fields === undefined ? {} : { fields: hit.fields }),
    ...(hit.highlight === undefined ? {} : { highlight: hit.highlight }),
    ...(hit.sort === undefined ? {} : { sort: hit.sort }),
    ...(own.length === 0 ? {} : { matched_queries: own }),
    ...(added.length === 0
      ? {}
      : { added_words: added.map((name) => name.slice(ADDED_WORD.length)) }),
    ...(theirs.length === 0 ? {} : { inner_hits: Object.fromEntries(theirs) }),
  };
}

function bestPassage(ours: readonly (readonly [string, InnerHits])[]): number | undefined {
  const best = ours
    .flatMap(([, { hits }]) => hits.hits)
    .sort((a, b) => (b._score ?? 0) - (a._score ?? 0))[0];
  return best?._nested?.offset;
}
