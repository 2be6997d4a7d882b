/** The dead-letter index: what could not be taken and why, without texts. */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import type { ErrorCode } from "../errors/csplade-error.js";
import type { BulkOperation } from "../cluster/bulk-operation.js";
import type { FailureKind } from "../sources/failure-kinds.js";
import { createInternalIndex } from "./internal-index.js";

/** The index of the dead letters. */
const DEAD_LETTERS_INDEX = "csplade-dead-letters";

/** A document that could not be taken. */
export interface DeadLetter {
  readonly run: string;
  readonly slice: number;
  readonly id: string;
  readonly routing?: string;
  /** Version it would have had in the target. */
  readonly version: number;
  readonly place: string;
  readonly code: ErrorCode;
  readonly reason: string;
}

/** Longest reason kept, characters. */
const MAX_REASON = 2_000;

/** Longest id kept, characters; ids the cluster itself gave are never longer than 512 bytes. */
const MAX_ID = 1_000;

const MAPPING = {
  settings: { index: { number_of_shards: 1, auto_expand_replicas: "0-1" } },
  mappings: {
    dynamic: false,
    properties: {
      "@timestamp": { type: "date" },
      run: { type: "keyword" },
      slice: { type: "integer" },
      id: { type: "keyword", ignore_above: MAX_ID },
      version: { type: "long" },
      code: { type: "keyword" },
      reason: { type: "text" },
      place: { type: "keyword", ignore_above: MAX_ID },
    },
  },
};

/** Creates the index if it is missing. */
export async function prepareDeadLetters(cluster: Cluster, patience: Patience): Promise<void> {
  await createInternalIndex(cluster, patience, DEAD_LETTERS_INDEX, MAPPING);
}

/** The cluster quotes the value it could not take, and its parser once more: that is document text. */
function withoutPreview(reason: string): string {
  return reason.replace(/(failed to parse field \[[^\]]*\] of type \[[^\]]*\])[\s\S]*/, "$1");
}

const lettersSchema = z.object({
  hits: z.object({
    hits: z.array(
      z.object({
        _source: z.object({ id: z.string(), routing: z.string().optional(), version: z.number() }),
        sort: z.array(z.unknown()),
      }),
    ),
  }),
});

/** Letters read at once, and at most: beyond that, something is wrong with more than documents. */
const LETTERS_PER_REQUEST = 5_000;
const MOST_LETTERS = 1_000_000;

/** Ids (and routing) of the documents a run could not take. */
export async function readDeadLetters(
  cluster: Cluster,
  run: string,
): Promise<{ readonly id: string; readonly routing?: string; readonly version: number }[]> {
  const doing = "Reading the dead letters";
  const path = pathOf(DEAD_LETTERS_INDEX, "_refresh");
  await cluster.demand({ method: "POST", path }, doing);
  const letters: { id: string; routing?: string; version: number }[] = [];
  let after: readonly unknown[] | undefined;
  while (letters.length < MOST_LETTERS) {
    const body = await cluster.demand(
      {
        method: "POST",
        path: pathOf(DEAD_LETTERS_INDEX, "_search"),
        query: { allow_partial_search_results: false },
        body: {
          size: LETTERS_PER_REQUEST,
          query: { term: { run } },
          sort: [{ _seq_no: "asc" }],
          _source: ["id", "routing", "version"],
          ...(after === undefined ? {} : { search_after: after }),
        },
      },
      doing,
    );
    const { hits } = lettersSchema.parse(body).hits;
    for (const { _source } of hits) {
      const { routing, ...letter } = _source;
      letters.push({ ...letter, ...(routing === undefined ? {} : { routing }) });
    }
    after = hits.at(-1)?.sort;
    if (hits.length < LETTERS_PER_REQUEST) break;
  }
  return letters;
}

const kindsSchema = z.object({
  aggregations: z.object({
    codes: z.object({
      buckets: z.array(
        z.object({
          key: z.string(),
          doc_count: z.number(),
          example: z.object({
            hits: z.object({
              hits: z.array(
                z.object({ _source: z.object({ id: z.string(), reason: z.string() }) }),
              ),
            }),
          }),
        }),
      ),
    }),
  }),
});

/** The documents that a run could not take, by the code of their failure, with an example of each. */
export async function countDeadLetters(
  cluster: Cluster,
  patience: Patience,
  run: string,
): Promise<FailureKind[]> {
  const doing = "Counting the dead letters";
  const example = { top_hits: { size: 1, _source: ["id", "reason"] } };
  const body = await patiently(patience, async () => {
    const { signal } = patience;
    const path = pathOf(DEAD_LETTERS_INDEX, "_refresh");
    await cluster.demand({ method: "POST", path, signal }, doing);
    const request = {
      size: 0,
      query: { term: { run } },
      aggs: { codes: { terms: { field: "code", size: 100 }, aggs: { example } } },
    };
    return cluster.demand(
      { method: "POST", path: pathOf(DEAD_LETTERS_INDEX, "_search"), body: request, signal },
      doing,
    );
  });
  return kindsSchema
    .parse(body)
    .aggregations.codes.buckets.flatMap(({ key, doc_count: count, example: { hits } }) =>
      hits.hits.map(({ _source }) => ({ code: key as ErrorCode, count, example: _source })),
    );
}

/** Stores a letter under an id of its own per run and document: a newer one replaces an older one. */
export function deadLetterOperation(letter: DeadLetter): BulkOperation {
  const key = createHash("sha256").update(`${letter.run}\n${letter.id}`).digest("hex").slice(0, 40);
  return {
    index: DEAD_LETTERS_INDEX,
    id: key,
    action: "index",
    version: letter.version,
    version_type: "external_gte",
    document: {
      ...letter,
      "@timestamp": new Date().toISOString(),
      id: letter.id.slice(0, MAX_ID),
      reason: withoutPreview(letter.reason).slice(0, MAX_REASON),
    },
  };
}
