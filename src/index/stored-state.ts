/** What an index already holds of documents, asked in batches and without their vectors. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { judgeRefusal } from "../cluster/refusal.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { IndexInfo } from "./csplade-index.js";
import { readStamp } from "./write-stamp.js";

/** A state of a document as the cluster knows it: it is gone when the document is written again. */
export interface DocumentPlace {
  readonly seq_no: number;
  readonly primary_term: number;
  /** The cluster's `_version`. */
  readonly version: number;
}

/** What is stored of one document. */
export interface StoredState {
  /** Hash of the content it was written from; undefined if it is absent or incomplete. */
  readonly hash: string | undefined;
  /** Upper bound of its passages in `documents` mode; 0 if it is absent. */
  readonly passages: number;
  /** Its version: that of its source, where its stamp says so. Absent if the document is. */
  readonly version?: number;
  /** Where it stands; absent if the document is. */
  readonly place?: DocumentPlace;
  /** The `_version` that the write of its hash gave it (see `StampedHash`), where it was noted. */
  readonly written?: number;
  /** Hash of the text its vectors were made from, where it was kept. */
  readonly text_hash?: string;
}

/** The state of a document that is not there. */
export const NOTHING_STORED: StoredState = { hash: undefined, passages: 0 };

/** A document to ask about. */
export interface DocumentKey {
  readonly id: string;
  readonly routing?: string;
}

const IDS_PER_REQUEST = 1_000;

const answerSchema = z.object({
  docs: z.array(
    z.object({
      _id: z.string(),
      found: z.boolean().optional(),
      _version: z.number().optional(),
      _seq_no: z.number().optional(),
      _primary_term: z.number().optional(),
      error: z.unknown().optional(),
      _source: z
        .object({
          csplade_hash: z.string().optional(),
          csplade_text_hash: z.string().optional(),
          csplade_passage_count: z.number().int().min(1).optional(),
        })
        .optional(),
    }),
  ),
});

/**
 * Asks what the index holds of some documents, by their own ids. Sees what is not refreshed yet.
 * @returns one state per key, in order.
 * @throws CspladeError `index_not_found`, `cluster_rejected`, `cluster_busy`, `cluster_unreachable`.
 */
export async function readStored(
  cluster: Cluster,
  info: IndexInfo,
  keys: readonly DocumentKey[],
  signal?: AbortSignal,
): Promise<StoredState[]> {
  const states: StoredState[] = [];
  for (let from = 0; from < keys.length; from += IDS_PER_REQUEST) {
    states.push(
      ...(await readSome(cluster, info, keys.slice(from, from + IDS_PER_REQUEST), signal)),
    );
  }
  return states;
}

async function readSome(
  cluster: Cluster,
  info: IndexInfo,
  keys: readonly DocumentKey[],
  signal: AbortSignal | undefined,
): Promise<StoredState[]> {
  const doing = `Asking ${info.name} which documents it holds`;
  const docs = keys.map(({ id, routing }) => ({
    _id: info.passages === "documents" ? passageId(id, 0) : id,
    ...(routing === undefined ? {} : { routing }),
  }));
  const body = await cluster.demand(
    {
      method: "POST",
      path: pathOf(info.name, "_mget"),
      query: { _source_includes: "csplade_hash,csplade_text_hash,csplade_passage_count" },
      body: { docs },
      ...(signal === undefined ? {} : { signal }),
    },
    doing,
  );
  const parsed = answerSchema.safeParse(body);
  if (!parsed.success || parsed.data.docs.length !== docs.length) {
    throw new CspladeError("cluster_rejected", `${doing}: ${cluster.url} gave no usable answer.`);
  }
  return parsed.data.docs.map((found, i) => {
    if (found._id !== docs[i]?._id) {
      throw new CspladeError(
        "cluster_rejected",
        `${doing}: the answers of ${cluster.url} are out of step.`,
      );
    }
    if (found.error !== undefined) {
      // A shard that is not ready yet, after a restart for example; or what waiting does not mend.
      const { meaning, code, hint } = judgeRefusal(503, found.error);
      throw new CspladeError(
        meaning === "final" ? code : "cluster_busy",
        `${doing}: ${cluster.url} could not read ${found._id}: ${reasonOf(found).slice(0, 300)}`,
        hint === undefined ? {} : { hint },
      );
    }
    if (found.found !== true) return NOTHING_STORED;
    const { csplade_hash, csplade_text_hash, csplade_passage_count } = found._source ?? {};
    const { _version: version, _seq_no: seq_no, _primary_term: primary_term } = found;
    const stamp = csplade_hash === undefined ? undefined : readStamp(csplade_hash);
    return {
      hash: stamp?.hash,
      passages: csplade_passage_count ?? 0,
      ...(version === undefined ? {} : { version: stamp?.source ?? version }),
      ...(version === undefined || seq_no === undefined || primary_term === undefined
        ? {}
        : { place: { version, seq_no, primary_term } }),
      ...(stamp?.written === undefined ? {} : { written: stamp.written }),
      ...(csplade_text_hash === undefined ? {} : { text_hash: csplade_text_hash }),
    };
  });
}

/**
 * Id of a document's n-th passage (from 0) in `documents` mode. No two documents share one:
 * what follows the last `#` is the number, what stands before it the document's id.
 */
export function passageId(id: string, n: number): string {
  return `${id}#${n}`;
}
