/** What an index costs: its bytes on disk, and the terms of its documents. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { PASSAGES_FIELD, VECTOR_FIELD } from "../index/index-meta.js";
import { indexStats } from "../index/index-stats.js";

/** Size of an index. */
export interface IndexFootprint {
  /** Bytes of the primary shards: postings, `_source` and everything else. */
  readonly index_bytes: number;
  /**
   * Mean terms of an indexed document, nested passages together; over the first 10,000
   * documents. `null` where the index does not keep vectors in `_source`.
   */
  readonly avg_doc_terms: number | null;
  /** How many of those documents have so many terms: pairs, fewest terms first. */
  readonly terms_per_document: TermCounts;
}

/** Pairs of a number of terms and how many vectors have that many, fewest terms first. */
export type TermCounts = [terms: number, vectors: number][];

/** Counts how many vectors have so many terms. */
export function countTerms(lengths: readonly number[]): TermCounts {
  const counts = new Map<number, number>();
  for (const terms of lengths) counts.set(terms, (counts.get(terms) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a - b);
}

const PAGE = 500;
const MOST_DOCUMENTS = 10_000;

const features = z.record(z.string(), z.number());

const pageSchema = z.object({
  _scroll_id: z.string().optional(),
  hits: z.object({
    hits: z.array(
      z.object({
        _source: z
          .object({
            [VECTOR_FIELD]: features.optional(),
            [PASSAGES_FIELD]: z.array(z.object({ [VECTOR_FIELD]: features.optional() })).optional(),
          })
          .optional(),
      }),
    ),
  }),
});

/** Merges an index into one segment, so that its size and speed can be compared. */
export async function mergeSegments(cluster: Cluster, index: string): Promise<void> {
  await cluster.demand(
    {
      method: "POST",
      path: pathOf(index, "_forcemerge"),
      query: { max_num_segments: 1 },
      timeoutMs: 600_000,
    },
    `Merging the segments of ${index}`,
  );
}

/**
 * Measures an index.
 * @throws CspladeError `index_not_found`, `cluster_rejected`.
 */
export async function measureIndex(cluster: Cluster, index: string): Promise<IndexFootprint> {
  const { bytes } = await indexStats(cluster, index);
  const lengths = await termsOfDocuments(cluster, index);
  const terms = lengths.reduce((sum, length) => sum + length, 0);
  return {
    index_bytes: bytes,
    avg_doc_terms: terms === 0 ? null : terms / lengths.length,
    terms_per_document: terms === 0 ? [] : countTerms(lengths),
  };
}

async function termsOfDocuments(cluster: Cluster, index: string): Promise<number[]> {
  const doing = `Reading the vectors of ${index}`;
  const lengths: number[] = [];
  let page = pageSchema.parse(
    await cluster.demand(
      {
        method: "POST",
        path: pathOf(index, "_search"),
        query: { scroll: "1m" },
        body: {
          size: PAGE,
          sort: ["_doc"],
          _source: [VECTOR_FIELD, `${PASSAGES_FIELD}.${VECTOR_FIELD}`],
        },
      },
      doing,
    ),
  );
  while (page.hits.hits.length > 0 && lengths.length < MOST_DOCUMENTS) {
    for (const { _source: source } of page.hits.hits) {
      const passages = source?.[PASSAGES_FIELD] ?? [];
      const vectors = [source, ...passages].map((vector) => vector?.[VECTOR_FIELD] ?? {});
      lengths.push(vectors.reduce((sum, vector) => sum + Object.keys(vector).length, 0));
    }
    page = pageSchema.parse(
      await cluster.demand(
        {
          method: "POST",
          path: pathOf("_search", "scroll"),
          body: { scroll: "1m", scroll_id: page._scroll_id },
        },
        doing,
      ),
    );
  }
  await cluster.send({
    method: "DELETE",
    path: pathOf("_search", "scroll"),
    body: { scroll_id: page._scroll_id },
  });
  return lengths;
}
