/** Vectors an index already holds, to be taken over where text and model are the same. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { wholeSourceQuery } from "../cluster/whole-source.js";
import { DENSE_FIELD, PASSAGES_FIELD, VECTOR_FIELD } from "./index-meta.js";
import type { DocumentKey } from "./stored-state.js";
import { readStamp } from "./write-stamp.js";

/** The vector fields of a stored document and the hashes of what they were made from. */
export interface StoredVectors {
  /** Content hash (see `contentHash`). */
  readonly hash: string | undefined;
  /** Text hash (see `textHash`). */
  readonly text_hash: string | undefined;
  /** The vector fields as they are stored. */
  readonly vectors: Readonly<Record<string, unknown>>;
}

const IDS_PER_REQUEST = 500;

const answerSchema = z.object({
  docs: z.array(
    z.object({
      _id: z.string(),
      found: z.boolean().optional(),
      _source: z
        .object({
          csplade_hash: z.string().optional(),
          csplade_text_hash: z.string().optional(),
          [VECTOR_FIELD]: z.record(z.string(), z.number()).optional(),
          [PASSAGES_FIELD]: z
            .array(z.looseObject({ [VECTOR_FIELD]: z.unknown().optional() }))
            .optional(),
          [DENSE_FIELD]: z.array(z.number()).optional(),
        })
        .optional(),
    }),
  ),
});

/**
 * Reads the vectors of some documents of an index in `merged` or `nested` mode.
 * @returns one entry per key, in order; undefined for a document without vectors.
 * @throws CspladeError `index_not_found`, `cluster_rejected`, `cluster_busy`, `cluster_unreachable`.
 */
export async function readVectors(
  cluster: Cluster,
  index: string,
  keys: readonly DocumentKey[],
  signal?: AbortSignal,
): Promise<(StoredVectors | undefined)[]> {
  const found = new Map<string, StoredVectors>();
  for (let from = 0; from < keys.length; from += IDS_PER_REQUEST) {
    const docs = keys.slice(from, from + IDS_PER_REQUEST).map(({ id, routing }) => ({
      _id: id,
      ...(routing === undefined ? {} : { routing }),
    }));
    const body = await cluster.demand(
      {
        method: "POST",
        path: pathOf(index, "_mget"),
        query: {
          ...(await wholeSourceQuery(cluster, index)),
          _source_includes: `csplade_hash,csplade_text_hash,${VECTOR_FIELD},${PASSAGES_FIELD},${DENSE_FIELD}`,
        },
        body: { docs },
        ...(signal === undefined ? {} : { signal }),
      },
      `Reading vectors of ${index}`,
    );
    for (const { _id, _source } of answerSchema.parse(body).docs) {
      if (_source === undefined) continue;
      const { csplade_hash, csplade_text_hash: text_hash, ...vectors } = _source;
      const hash = csplade_hash === undefined ? undefined : readStamp(csplade_hash).hash;
      const passages = vectors[PASSAGES_FIELD] ?? [];
      // Passages whose vectors are left out of the source are still there, with their offsets.
      const lacking = passages.some((passage) => passage[VECTOR_FIELD] === undefined);
      if (lacking || Object.values(vectors).every((value) => value === undefined)) continue;
      found.set(_id, { hash, text_hash, vectors });
    }
  }
  return keys.map(({ id }) => found.get(id));
}
