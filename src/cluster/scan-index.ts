/** All documents of an index, page by page, as they were when the scan began. */
import { z } from "zod";
import type { Cluster } from "./cluster.js";
import { liftSources } from "./lifted-sources.js";
import { pathOf } from "./request.js";
import { wholeSource } from "./whole-source.js";

const hitSchema = z.object({
  _id: z.string(),
  _routing: z.string().optional(),
  _source: z.number().optional(),
});

const pageSchema = z.object({
  _scroll_id: z.string(),
  _shards: z.object({ failed: z.literal(0, "some shards failed") }),
  hits: z.object({ hits: z.array(hitSchema) }),
});

/** One document of a scan. */
export interface ScannedDocument {
  readonly id: string;
  readonly routing?: string;
  /** `_source`, the text that the cluster gave; `{}` where there is none. */
  readonly source: string;
}

/** A page and where the next one is. */
interface Page {
  readonly scroll: string;
  readonly documents: readonly ScannedDocument[];
}

function pageOf(text: string, doing: string): Page {
  const { answer, sources } = liftSources(text, ["hits", "hits"], doing);
  const page = pageSchema.parse(answer);
  const documents = page.hits.hits.map(({ _id, _routing, _source }) => ({
    id: _id,
    ...(_routing === undefined ? {} : { routing: _routing }),
    source: sources[_source ?? -1] ?? "{}",
  }));
  return { scroll: page._scroll_id, documents };
}

/** How long the cluster keeps the scan open between two pages. */
const KEPT_OPEN = "5m";

/**
 * Scans an index.
 * @param source fields of `_source` to return, built anew by the cluster; without it the whole
 *   document, as it was stored.
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
  let page = pageOf(
    await cluster.demandText(
      {
        method: "POST",
        path: pathOf(index, "_search"),
        query: { scroll: KEPT_OPEN },
        body: {
          size: options.pageSize ?? 500,
          sort: ["_doc"],
          _source: options.source ?? (await wholeSource(cluster, index)),
        },
        ...signal,
      },
      doing,
    ),
    doing,
  );
  try {
    while (page.documents.length > 0) {
      yield page.documents;
      page = pageOf(
        await cluster.demandText(
          {
            method: "POST",
            path: pathOf("_search", "scroll"),
            body: { scroll: KEPT_OPEN, scroll_id: page.scroll },
            ...signal,
          },
          doing,
        ),
        doing,
      );
    }
  } finally {
    await cluster.send({
      method: "DELETE",
      path: pathOf("_search", "scroll"),
      body: { scroll_id: page.scroll },
    });
  }
}
