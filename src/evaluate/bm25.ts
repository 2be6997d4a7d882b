/**
 * The BM25 baseline on the same index: Lucene's BM25 (k1 1.2, b 0.75) with the English
 * analyzer over the text fields that were encoded.
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { withBm25Query } from "../query/bm25-query.js";
import type { RankedDocument } from "./run.js";

/** Where BM25 searches. */
export interface Bm25Target {
  readonly index: string;
  /** Text fields with the same analyzer, at least one. */
  readonly text_fields: readonly string[];
  /** Keyword field of which every value counts once, by its best hit. */
  readonly collapse?: string | undefined;
}

/** Searches by BM25. */
export type Bm25Search = (
  text: string,
  size: number,
  signal?: AbortSignal,
) => Promise<RankedDocument[]>;

const answerSchema = z.object({
  _shards: z.object({ failed: z.literal(0, "some shards failed") }),
  hits: z.object({
    hits: z.array(
      z.object({
        _id: z.string(),
        _score: z.number(),
        fields: z.record(z.string(), z.array(z.unknown())).optional(),
      }),
    ),
  }),
});

/** Prepares the baseline. */
export function bm25(cluster: Cluster, { index, text_fields, collapse }: Bm25Target): Bm25Search {
  return async (text, size, signal) => {
    const answer = await withBm25Query(cluster, text, text_fields, (query) =>
      cluster.send({
        method: "POST",
        path: pathOf(index, "_search"),
        body: {
          query,
          size,
          _source: false,
          ...(collapse === undefined ? {} : { collapse: { field: collapse } }),
        },
        ...(signal === undefined ? {} : { signal }),
      }),
    );
    const parsed = answerSchema.safeParse(answer.body);
    if (answer.status < 400 && parsed.success) return readHits(parsed.data, collapse);
    throw new CspladeError(
      "cluster_rejected",
      `The BM25 search on ${index} failed: ${cluster.url} answered ${answer.status}: ${
        parsed.success || answer.status >= 400
          ? reasonOf(answer.body)
          : z.prettifyError(parsed.error)
      }`,
    );
  };
}

function readHits(
  answer: z.infer<typeof answerSchema>,
  collapse: string | undefined,
): RankedDocument[] {
  return answer.hits.hits.map(({ _id, _score, fields }) => {
    const shared = collapse === undefined ? undefined : fields?.[collapse]?.[0];
    return { id: typeof shared === "string" ? shared : _id, score: _score };
  });
}
