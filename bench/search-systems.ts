/** The systems that searching is compared between: csplade's modes, and others on the same server. */
import { z } from "zod";
import type { Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";
import { ANN_FIELD, VECTOR_FIELD } from "../src/index/index-meta.js";
import type { AnnField } from "../src/query/ann.js";
import type { SearchRequest } from "../src/query/search-request.js";
import { search } from "../src/query/search.js";
import { toFeatures } from "../src/sparse/features.js";
import { mapVector } from "../src/sparse/id-map.js";
import { prune, type PruneOptions } from "../src/sparse/prune.js";
import type { BenchSystem } from "./interleaved.js";
import type { Question } from "./search-corpus.js";

/** A system, and how it stands in the tables. */
export interface SearchSystem extends BenchSystem<Question> {
  readonly group: "csplade" | "same server" | "own process";
  /** The index it searches, on the server. */
  readonly index?: string;
}

/** Names of the indices that exist. */
export interface SearchIndices {
  readonly csplade: string;
  readonly bm25: string;
  readonly pruned?: { readonly name: string; readonly pruning: PruneOptions };
  readonly ann?: { readonly name: string; readonly field: AnnField };
}

const answerSchema = z.object({
  hits: z.object({ hits: z.array(z.object({ _id: z.string(), _score: z.number() })) }),
});

/** Name of the search pipeline with OpenSearch's own two phases. */
const TWO_PHASE_PIPELINE = "csplade-bench-two-phase";

const uncounted = { body: { track_total_hits: false } } as const;

/** Cuts and windows of two phases that are tried beside the default. */
const VARIANTS = [
  ["max_ratio", 0.4, 5],
  ["max_ratio", 0.5, 3],
  ["max_ratio", 0.6, 5],
  ["alpha_mass", 0.5, 5],
  ["alpha_mass", 0.6, 3],
  ["alpha_mass", 0.6, 5],
  ["alpha_mass", 0.7, 5],
  ["top_k", 5, 5],
  ["top_k", 8, 3],
] as const;

/**
 * csplade's modes, through the code that users call.
 * @param variants two phases with other options as well.
 */
export function cspladeSystems(
  cluster: Cluster,
  indices: SearchIndices,
  variants: boolean,
): SearchSystem[] {
  const { csplade, pruned, ann } = indices;
  const mode = (
    name: string,
    options: string,
    changes: Partial<SearchRequest>,
    vectorOf: (question: Question) => Question["vector"] = ({ vector }) => vector,
  ): SearchSystem => ({
    name: options === "" ? name : `${name}, ${options}`,
    group: "csplade",
    index: changes.index ?? csplade,
    async find(question) {
      const { hits } = await search(cluster, {
        index: csplade,
        vector: vectorOf(question),
        text: question.text,
        own_terms: new Set(question.tokens.ids),
        text_fields: ["text"],
        source: false,
        ...changes,
      });
      return { hits: hits.map(({ id, score }) => ({ id, score })) };
    },
  });
  const twoPhase = { mode: "two_phase" } as const;
  return [
    mode("plain", "", {}),
    mode("plain", "not counting", uncounted),
    mode("plain", "12 heaviest terms", uncounted, ({ vector }) =>
      prune(vector, { prune_type: "top_k", prune_ratio: 12 }),
    ),
    mode("two_phase", "", twoPhase),
    mode("two_phase", "max_ratio 0.5", {
      ...twoPhase,
      two_phase: { prune_type: "max_ratio", prune_ratio: 0.5 },
    }),
    mode("two_phase", "pagination_depth 10", { ...twoPhase, two_phase: { pagination_depth: 10 } }),
    ...(pruned === undefined
      ? []
      : [
          mode("plain", "pruned documents", { ...uncounted, index: pruned.name }),
          mode("two_phase", "pruned documents", { ...twoPhase, index: pruned.name }),
        ]),
    ...(variants ? VARIANTS : []).map(([prune_type, prune_ratio, expansion_rate]) =>
      mode("two_phase", `${prune_type} ${prune_ratio}, expansion_rate ${expansion_rate}`, {
        ...twoPhase,
        two_phase: { prune_type, prune_ratio, expansion_rate, max_window_size: 10_000 },
      }),
    ),
    mode("inference-free", "not counting", uncounted, ({ tokens }) => tokens),
    mode("inference-free", "two_phase", twoPhase, ({ tokens }) => tokens),
    ...(ann === undefined
      ? []
      : [mode("ann", "", { mode: "ann", index: ann.name, ann_field: ann.field })]),
  ];
}

/** What the same server offers without csplade. */
export async function serverPeers(
  cluster: Cluster,
  { csplade, bm25, ann }: SearchIndices,
): Promise<SearchSystem[]> {
  await cluster.demand(
    {
      method: "PUT",
      path: pathOf("_search", "pipeline", TWO_PHASE_PIPELINE),
      body: { request_processors: [{ neural_sparse_two_phase_processor: {} }] },
    },
    "Installing the two-phase search pipeline",
  );
  const raw = (
    name: string,
    options: string,
    index: string,
    body: (question: Question) => object,
    query: Record<string, string> = {},
  ): SearchSystem => ({
    name: options === "" ? name : `${name}, ${options}`,
    group: "same server",
    index,
    async find(question) {
      const answer = await cluster.demand(
        {
          method: "POST",
          path: pathOf(index, "_search"),
          query,
          body: { size: 10, _source: false, ...body(question) },
        },
        `Searching with ${name}`,
      );
      const { hits } = answerSchema.parse(answer).hits;
      return { hits: hits.map(({ _id, _score }) => ({ id: _id, score: _score })) };
    },
  });
  const match = ({ text }: Question) => ({ query: { match: { text } } });
  const sparse = ({ vector }: Question) => ({
    query: { neural_sparse: { [VECTOR_FIELD]: { query_tokens: toFeatures(vector) } } },
  });
  return [
    raw("BM25 match", "", bm25, match),
    raw("BM25 match", "not counting", bm25, (question) => ({
      ...match(question),
      track_total_hits: false,
    })),
    raw("neural_sparse", "", csplade, sparse),
    raw("neural_sparse", "two-phase processor", csplade, sparse, {
      search_pipeline: TWO_PHASE_PIPELINE,
    }),
    ...(ann === undefined
      ? []
      : [
          raw("neural_sparse", "SEISMIC", ann.name, ({ vector }) => ({
            query: {
              neural_sparse: {
                [ANN_FIELD]: {
                  query_tokens: toFeatures(mapVector(vector, ann.field.ids).vector),
                  method_parameters: { k: 10, top_n: 10, heap_factor: 1 },
                },
              },
            },
          })),
        ]),
  ];
}

/** Removes what {@link serverPeers} installed. */
export async function removePeers(cluster: Cluster): Promise<void> {
  await cluster.send({
    method: "DELETE",
    path: pathOf("_search", "pipeline", TWO_PHASE_PIPELINE),
  });
}
