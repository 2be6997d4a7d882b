/** What is asked of an index, what is known of it, and what the cluster says of it. */
import { z } from "zod";
import { UNKNOWN_VERSION, type Capabilities } from "../cluster/capabilities.js";
import type { Cluster } from "../cluster/cluster.js";
import { vectorRecord, htmlRecord, type GivenIdentity } from "../config/document-identity.js";
import { CspladeError } from "../errors/csplade-error.js";
import { denseField, type DenseField } from "./dense-field.js";
import { demandDense, type IndexPlan } from "./index-meta.js";
import type { IndexLayout } from "./index-template.js";

/** An index to create, or to use if it is there. */
export interface IndexRequest extends IndexPlan, IndexLayout {
  /** Name of the index, or of an alias that leads to one. */
  readonly name: string;
  /**
   * Install the ingest pipeline that keeps other models' vectors out (the default).
   * Needs the privilege to manage ingest pipelines.
   */
  readonly guarded?: boolean;
  /**
   * What was asked for, and not only left at its default: an index with documents that records
   * something else refuses it, an empty one takes it. In anything else the index has its way.
   */
  readonly given?: GivenIdentity;
  readonly signal?: AbortSignal;
}

/** What an index, or the indices behind an alias, are known to hold. */
export interface IndexInfo extends IndexPlan {
  /** The name that was asked for. */
  readonly name: string;
  /** The indices it leads to; the name itself unless it is an alias or a pattern. */
  readonly indices: readonly string[];
  /** True if {@link ensureIndex} created it, or made an empty one its own. */
  readonly created: boolean;
  /** True if the index was not there before. */
  readonly made?: true;
}

export const mappingsSchema = z.record(
  z.string(),
  z.looseObject({
    mappings: z
      .looseObject({
        _meta: z.looseObject({ csplade: z.unknown() }).partial().optional(),
        properties: z.record(z.string(), z.unknown()).optional(),
        _source: z.looseObject({ excludes: z.array(z.string()).optional() }).optional(),
        _routing: z.looseObject({ required: z.boolean().optional() }).optional(),
      })
      .optional(),
    settings: z.record(z.string(), z.unknown()).optional(),
    /** Of a backing index: the data stream it belongs to. */
    data_stream: z.string().optional(),
  }),
);

export type Mappings = z.infer<typeof mappingsSchema>;

/** What the cluster can do, of which its version is a part. */
export async function demandVersion(cluster: Cluster, index: string): Promise<Capabilities> {
  const capabilities = await cluster.capabilities();
  if (capabilities.version !== UNKNOWN_VERSION) return capabilities;
  throw new CspladeError(
    "cluster_rejected",
    `Creating the index ${index}: ${cluster.url} does not tell these credentials its version, on which the mapping depends.`,
    { hint: "Grant cluster:monitor/main (Elasticsearch: monitor) to whoever creates indices." },
  );
}

/**
 * The field of dense vectors that an index is asked to have; nothing where it is to have none.
 * @throws CspladeError `model_mismatch`, `cluster_unsupported`; `index_invalid` for nested passages.
 */
export function denseFieldOf(
  { dense, model, name, passages }: IndexPlan & Pick<IndexRequest, "name">,
  capabilities: Capabilities,
): DenseField | undefined {
  if (dense !== true) return undefined;
  const dimension = demandDense(model, name);
  if (passages !== "nested") return denseField(capabilities, dimension);
  throw new CspladeError(
    "index_invalid",
    `${name} is to keep nested passages, beside which no dense vector can be searched (document.dense).`,
    { hint: "Set ingest.passages to merged or documents, or leave document.dense out." },
  );
}

/** What is asked for, with its guard where csplade's own writes can leave it out. */
export function guardedPlan(request: IndexRequest): IndexRequest {
  return request.guarded === false ? request : { ...request, guard: "default_pipeline" };
}

export function metaIn(found: Mappings, index: string): unknown {
  return found[index]?.mappings?._meta?.csplade;
}

export function infoOf(
  request: IndexRequest,
  indices: readonly string[],
  created: boolean,
): IndexInfo {
  const { model, passages, text_fields, title_field, id_field, pruning, guard } = request;
  const { store_vectors = true, mean_length } = request;
  return {
    name: request.name,
    indices,
    created,
    model,
    passages,
    text_fields,
    ...htmlRecord(request),
    title_field,
    ...(id_field === undefined ? {} : { id_field }),
    ...(pruning === undefined ? {} : { pruning }),
    ...vectorRecord(request),
    ...(store_vectors ? {} : { store_vectors }),
    ...(mean_length === undefined ? {} : { mean_length }),
    ...(guard === undefined ? {} : { guard }),
  };
}

export function signalOf(request: IndexRequest): { signal?: AbortSignal } {
  return request.signal === undefined ? {} : { signal: request.signal };
}
