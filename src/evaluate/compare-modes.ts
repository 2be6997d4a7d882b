/** Search modes side by side on one index: how good each is, and how long a search takes. */
import type { Cluster } from "../cluster/cluster.js";
import { rerank } from "../rerank/rerank.js";
import type { Reranker } from "../rerank/reranker.js";
import { fieldsText, type Hit } from "../query/search-result.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { SearchMode } from "../query/search-mode.js";
import type { HybridOptions } from "../query/hybrid.js";
import type { SearchRequest } from "../query/search-request.js";
import { PAGINATION_DEPTH } from "../query/page-depth.js";
import type { AddedWord } from "../query/lexical.js";
import { search } from "../query/search.js";
import type { SparseVector } from "../sparse/sparse-vector.js";
import type { TestQuery } from "./beir.js";
import { bm25 } from "./bm25.js";
import {
  depthOf,
  meanMetrics,
  runMetrics,
  valuesOf,
  type MetricName,
  type Metrics,
  type Qrels,
} from "./metrics.js";
import { rank, type RankedDocument, type Run } from "./run.js";
import { compareSystems, type Significance } from "./significance.js";

/** What is compared. */
export interface ModeComparisonRequest {
  readonly cluster: Cluster;
  /** Where and in what fields is searched; `collapse` as in a search. */
  readonly target: Pick<
    SearchRequest,
    "index" | "fields" | "collapse" | "ann_field" | "dense_field"
  > & {
    readonly text_fields: readonly string[];
  };
  readonly queries: readonly TestQuery[];
  /** The queries' vectors, in their order. */
  readonly vectors: readonly SparseVector[];
  /** What the model adds to each of them, for mode `lexical`. */
  readonly added_words?: readonly (readonly AddedWord[])[] | undefined;
  /** The terms that stand in each of them, for mode `two_phase`. */
  readonly own_terms?: readonly ReadonlySet<number>[] | undefined;
  /** Dense vectors of the questions, for mode `hybrid` in an index that has them. */
  readonly dense?: readonly (readonly number[] | undefined)[] | undefined;
  readonly qrels: Qrels;
  readonly modes: readonly SearchMode[];
  /** Also plain scoring whose first `hits` a reranker puts into its own order. */
  readonly rerank?: { readonly by: Reranker; readonly hits: number } | undefined;
  /** Metrics besides the headline ones. */
  readonly metrics?: readonly MetricName[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One row of the comparison. */
export interface ComparedMode {
  /** `bm25`, or the mode; the technique after it where a mode has several. */
  readonly name: string;
  readonly metrics: Metrics;
  /** Query id → its metrics, of all judged queries. */
  readonly per_query: ReadonlyMap<string, Metrics>;
  readonly run: Run;
  /** nDCG@10 minus that of plain scoring; absent from the row of plain scoring itself. */
  readonly versus_plain?: Significance;
  /**
   * Milliseconds from sending a search for ten hits to having them, encoding not included, one
   * search at a time: half of the searches took no longer, and 95 of 100.
   */
  readonly ms_p50: number;
  readonly ms_p95: number;
}

/** Searches that are timed in each mode, after one round that is not. */
const TIMED_SEARCHES = 300;

const NOTHING: ReadonlyMap<string, never> = new Map<string, never>();

/** How long a reranker has: figures must not depend on how busy the machine is. */
const RERANK_MS = 600_000;

/** A system under comparison: hits for the query at a position. */
interface System {
  readonly name: string;
  readonly find: (position: number, size: number) => Promise<RankedDocument[]>;
}

/**
 * Compares plain scoring, BM25 and `modes`. All systems answer a query right after each other,
 * so that whatever slows the machine down slows all of them.
 * @throws CspladeError as a search does.
 */
export async function compareModes(request: ModeComparisonRequest): Promise<ComparedMode[]> {
  const { queries, qrels, metrics = [], signal } = request;
  const depth = depthOf(metrics);
  const systems = systemsOf(request);
  const runs = systems.map(() => new Map<string, readonly RankedDocument[]>());
  for (const [position, query] of queries.entries()) {
    signal?.throwIfAborted();
    for (const [i, { find }] of systems.entries()) {
      runs[i]?.set(query.id, rank(await find(position, depth)));
    }
  }
  const times = await timeSystems(systems, queries.length, signal);
  const perQuery = runs.map((run) => runMetrics(run, qrels, metrics));
  const ndcg = perQuery.map((each) => valuesOf(each, "ndcg@10"));
  const plain = ndcg[systems.findIndex(({ name }) => name === "plain")] ?? NOTHING;
  return systems.map(({ name }, i) => ({
    name,
    metrics: meanMetrics(perQuery[i] ?? NOTHING),
    per_query: perQuery[i] ?? NOTHING,
    run: runs[i] ?? NOTHING,
    ...(name === "plain" ? {} : { versus_plain: compareSystems(ndcg[i] ?? NOTHING, plain) }),
    ms_p50: percentile(times[i] ?? [], 0.5),
    ms_p95: percentile(times[i] ?? [], 0.95),
  }));
}

function systemsOf({
  cluster,
  target,
  queries,
  vectors,
  added_words = [],
  own_terms = [],
  dense,
  modes,
  rerank: reranking,
  signal,
}: ModeComparisonRequest): System[] {
  const words = bm25(cluster, {
    index: target.index,
    text_fields: target.text_fields,
    collapse: target.collapse,
  });
  /** The modes' depths are constant: for a deeper look they are set. */
  const reaching = (size: number, changes: Partial<SearchRequest>): Partial<SearchRequest> => ({
    ...changes,
    two_phase: { pagination_depth: Math.max(PAGINATION_DEPTH, size), ...changes.two_phase },
    ann: { k: Math.max(PAGINATION_DEPTH, size), ...changes.ann },
    hybrid: { pagination_depth: Math.max(PAGINATION_DEPTH, size), ...changes.hybrid },
  });
  const hitsOf = async (position: number, size: number, changes: Partial<SearchRequest>) => {
    const { hits } = await search(cluster, {
      ...target,
      vector: vectors[position] as SparseVector,
      text: queries[position]?.text,
      added_words: added_words[position],
      own_terms: own_terms[position],
      dense: dense?.[position],
      size,
      source: false,
      signal,
      ...reaching(size, changes),
    });
    return hits;
  };
  const inMode = (name: string, changes: Partial<SearchRequest>): System => ({
    name,
    find: async (position, size) =>
      (await hitsOf(position, size, changes)).map((hit) => ({ id: idOf(hit), score: hit.score })),
  });
  const reranked = ({ by, hits: most }: NonNullable<typeof reranking>): System => ({
    name: `rerank ${most}`,
    find: async (position, size) => {
      const found = await hitsOf(position, Math.max(size, most), { source: target.text_fields });
      const question = queries[position]?.text ?? "";
      const textsOf = (first: readonly Hit[]) =>
        first.map((hit) => fieldsText(hit, target.text_fields));
      const limits = { hits: most, timeoutMs: RERANK_MS, signal };
      const { hits, reranking } = await rerank(by, question, found, textsOf, limits);
      if (!reranking.done) {
        throw new CspladeError(
          "encode_failed",
          `The hits of a question cannot be reranked: ${reranking.reason ?? ""}`,
        );
      }
      // Scores of two scales: what ranks them is their place.
      return hits.slice(0, size).map((hit, i) => ({ id: idOf(hit), score: -i }));
    },
  });
  const bm25System: System = {
    name: "bm25",
    find: (position, size) => words(queries[position]?.text ?? "", size, signal),
  };
  const others = modes
    .filter((mode) => mode !== "plain")
    .flatMap((mode) =>
      mode === "hybrid"
        ? hybridSystems(dense !== undefined).map(([name, hybrid]) => inMode(name, { mode, hybrid }))
        : [inMode(mode, { mode })],
    );
  const more = reranking === undefined ? [] : [reranked(reranking)];
  return [bm25System, inMode("plain", {}), ...others, ...more];
}

/** Fusions by name; dense vectors apart and beside the others, where there are some. */
function hybridSystems(hasDense: boolean): readonly (readonly [string, Partial<HybridOptions>])[] {
  const techniques = ["rrf", "min_max"] as const;
  const two = techniques.map(
    (technique) => [`hybrid ${technique}`, { technique, rankings: ["bm25", "csplade"] }] as const,
  );
  if (!hasDense) return two;
  const withDense = techniques.flatMap((technique) => [
    [`hybrid ${technique}, dense`, { technique }] as const,
    [`${technique} of csplade, dense`, { technique, rankings: ["csplade", "dense"] }] as const,
  ]);
  return [...two, ...withDense, ["dense alone", { rankings: ["dense"] }]];
}

const idOf = (hit: Hit): string => hit.collapsed_by ?? hit.id;

async function timeSystems(
  systems: readonly System[],
  queries: number,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const times: number[][] = systems.map(() => []);
  for (let round = 0; round < TIMED_SEARCHES; round++) {
    signal?.throwIfAborted();
    for (const [i, { find }] of systems.entries()) {
      const start = performance.now();
      await find(round % queries, 10);
      times[i]?.push(performance.now() - start);
    }
  }
  return times;
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}
