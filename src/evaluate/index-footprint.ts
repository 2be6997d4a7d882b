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
  return { index_bytes: bytes, avg_doc_terms: await averageTerms(cluster, index) };
}

async function averageTerms(cluster: Cluster, index: string): Promise<number | null> {
  const doing = `Reading the vectors of ${index}`;
  let documents = 0;
  let terms = 0;
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
  while (page.hits.hits.length > 0 && documents < MOST_DOCUMENTS) {
    for (const { _source: source } of page.hits.hits) {
      const passages = source?.[PASSAGES_FIELD] ?? [];
      documents += 1;
      for (const vector of [source, ...passages]) {
        terms += Object.keys(vector?.[VECTOR_FIELD] ?? {}).length;
      }
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
  return terms === 0 ? null : terms / documents;
}
