/**
 * The BM25 baseline on the same index: Lucene's BM25 (k1 1.2, b 0.75) with the English
 * analyzer over the text fields that were encoded.
 *
 * `combined_fields` scores the fields as if they were one text, which is what BEIR's title +
 * text convention means, and comes closest to bm25s on the concatenated text; where a cluster
 * lacks it, `multi_match` adds up the fields' own scores.
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { QueryClause } from "../query/query-clause.js";
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

/** Prepares the baseline; finds out with the first search which query the cluster takes. */
export function bm25(cluster: Cluster, target: Bm25Target): Bm25Search {
  let combined = target.text_fields.length > 1;
  return async (text, size, signal) => {
    for (;;) {
      const asked = combined;
      const answer = await cluster.send({
        method: "POST",
        path: pathOf(target.index, "_search"),
        body: {
          query: bm25Query(text, target.text_fields, asked),
          size,
          _source: false,
          ...(target.collapse === undefined ? {} : { collapse: { field: target.collapse } }),
        },
        ...(signal === undefined ? {} : { signal }),
      });
      const reason = answer.status < 400 ? "" : reasonOf(answer.body);
      if (asked && JSON.stringify(answer.body).includes("[combined_fields]") && reason !== "") {
        combined = false;
        continue;
      }
      const parsed = answerSchema.safeParse(answer.body);
      if (answer.status < 400 && parsed.success) return readHits(parsed.data, target);
      throw new CspladeError(
        "cluster_rejected",
        `The BM25 search on ${target.index} failed: ${cluster.url} answered ${answer.status}: ${
          parsed.success || reason !== "" ? reason : z.prettifyError(parsed.error)
        }`,
      );
    }
  };
}

function bm25Query(text: string, fields: readonly string[], combined: boolean): QueryClause {
  const [only] = fields;
  if (fields.length === 1 && only !== undefined) return { match: { [only]: { query: text } } };
  return combined
    ? { combined_fields: { query: text, fields } }
    : { multi_match: { query: text, fields, type: "most_fields" } };
}

function readHits(
  answer: z.infer<typeof answerSchema>,
  { collapse }: Bm25Target,
): RankedDocument[] {
  return answer.hits.hits.map(({ _id, _score, fields }) => {
    const shared = collapse === undefined ? undefined : fields?.[collapse]?.[0];
    return { id: typeof shared === "string" ? shared : _id, score: _score };
  });
}
