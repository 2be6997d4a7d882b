/** All documents of an index, page by page, as they were when the scan began. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";

const hitSchema = z.object({
  _id: z.string(),
  _routing: z.string().optional(),
  _source: z.record(z.string(), z.unknown()).optional(),
});

const pageSchema = z.object({
  _scroll_id: z.string(),
  _shards: z.object({ failed: z.literal(0, "some shards failed") }),
  hits: z.object({ hits: z.array(hitSchema) }),
});

/** One document of a scan. */
export type ScannedDocument = z.infer<typeof hitSchema>;

/** How long the cluster keeps the scan open between two pages. */
const KEPT_OPEN = "5m";

/**
 * Scans an index.
 * @param source fields of `_source` to return; all without it.
 * @throws CspladeError `index_not_found`, `cluster_rejected`, `cluster_unreachable`, `aborted`.
 */
export async function* scanIndex(
  cluster: Cluster,
  index: string,
  options: {
    readonly source?: readonly string[];
    readonly pageSize?: number;
    readonly signal?: AbortSignal | undefined;
  } = {},
): AsyncGenerator<readonly ScannedDocument[]> {
  const doing = `Reading the documents of ${index}`;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  let page = pageSchema.parse(
    await cluster.demand(
      {
        method: "POST",
        path: pathOf(index, "_search"),
        query: { scroll: KEPT_OPEN },
        body: {
          size: options.pageSize ?? 500,
          sort: ["_doc"],
          ...(options.source === undefined ? {} : { _source: options.source }),
        },
        ...signal,
      },
      doing,
    ),
  );
  try {
    while (page.hits.hits.length > 0) {
      yield page.hits.hits;
      page = pageSchema.parse(
        await cluster.demand(
          {
            method: "POST",
            path: pathOf("_search", "scroll"),
            body: { scroll: KEPT_OPEN, scroll_id: page._scroll_id },
            ...signal,
          },
          doing,
        ),
      );
    }
  } finally {
    await cluster.send({
      method: "DELETE",
      path: pathOf("_search", "scroll"),
      body: { scroll_id: page._scroll_id },
    });
  }
}
