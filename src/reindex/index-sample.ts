/** Documents of an index at random. */
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { wholeSource } from "../cluster/whole-source.js";
import {
  searchOn,
  storedDocuments,
  type ShardReader,
  type StoredDocument,
} from "../sources/index-source.js";

/** What to draw. */
export interface SampleRequest {
  /** The whole index, or one shard of it. */
  readonly from: string | ShardReader;
  /** The last sequence number that counts; without it all do. */
  readonly up_to?: number;
  /** Most documents. */
  readonly size: number;
}

/** Draws some documents, each as likely as another. What is not refreshed yet is not seen. */
export async function sampleDocuments(
  cluster: Cluster,
  { from, up_to, size }: SampleRequest,
  signal?: AbortSignal,
): Promise<StoredDocument[]> {
  const doing = `Sampling ${typeof from === "string" ? from : from.index}`;
  const place =
    typeof from === "string"
      ? ({
          method: "POST",
          path: pathOf(from, "_search"),
          query: { allow_partial_search_results: false },
        } as const)
      : searchOn(from);
  const query = up_to === undefined ? { match_all: {} } : { range: { _seq_no: { lte: up_to } } };
  const text = await cluster.demandText(
    {
      ...place,
      body: {
        size,
        version: true,
        seq_no_primary_term: true,
        _source: await wholeSource(cluster, typeof from === "string" ? from : from.index),
        query: { function_score: { query, random_score: {}, boost_mode: "replace" } },
      },
      ...(signal === undefined ? {} : { signal }),
    },
    doing,
  );
  return storedDocuments(text, doing);
}
