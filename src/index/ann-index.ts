/**
 * An index for approximate search: a copy of a CSPLADE index whose documents also carry their
 * vector in a `sparse_vector` field, its token ids numbered below 32,768.
 */
import type { Capabilities } from "../cluster/capabilities.js";
import type { Cluster } from "../cluster/cluster.js";
import { CspladeError } from "../errors/csplade-error.js";
import { withoutMembers } from "../json/json-object.js";
import { fromFeatures } from "../sparse/features.js";
import { idMap, MOST_MAPPED_IDS, type IdMap } from "../sparse/id-map.js";
import { termsOf } from "../sparse/sparse-vector.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import { copyIndex, storedObject, type IndexDefinition } from "./copied-index.js";
import { readIndexModel } from "./csplade-index.js";
import { ANN_FIELD, mappedFeatures, storedFeatures, VECTOR_FIELD } from "./index-meta.js";
import { scanIndex } from "../cluster/scan-index.js";

/** Parameters of the SEISMIC algorithm, by OpenSearch's names; its own defaults where not given. */
export interface SeismicParameters {
  readonly n_postings?: number | undefined;
  readonly cluster_ratio?: number | undefined;
  readonly summary_prune_ratio?: number | undefined;
  /** Documents from which a segment is searched approximately. */
  readonly approximate_threshold?: number | undefined;
}

/** What is copied where. */
export interface AnnIndexRequest {
  readonly from: string;
  /** Must not exist. */
  readonly into: string;
  readonly parameters?: SeismicParameters;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((documents: number) => void) | undefined;
}

/** What was made. */
export interface AnnIndexSummary {
  readonly documents: number;
  /** Different token ids in the documents. */
  readonly live_ids: number;
  /** Ids that got no number because there are more than 32,768: the rarest. */
  readonly unnumbered_ids: number;
  /** The heaviest document weight: the ceiling below which weights are quantized to a byte. */
  readonly heaviest_weight: number;
}

/** What the vectors of an index are like. */
interface VectorSurvey {
  readonly documents: number;
  readonly live: number;
  readonly ids: IdMap;
  readonly heaviest: number;
}

/**
 * Makes the index. A failure leaves no half-made index behind.
 * @throws CspladeError `cluster_unsupported` where there is no such field; `index_invalid` for an
 * index of nested passages or with dense vectors, without vectors in `_source`, or behind several indices;
 * `cluster_rejected` if `into` exists; and what reading and writing throw.
 */
export async function makeAnnIndex(
  cluster: Cluster,
  writer: BulkWriter,
  request: AnnIndexRequest,
): Promise<AnnIndexSummary> {
  const { from, signal } = request;
  demandSparseVectorField(await cluster.capabilities(), cluster);
  const info = await readIndexModel(cluster, from, signal === undefined ? {} : { signal });
  if (info.dense === true) {
    throw new CspladeError(
      "index_invalid",
      `${from} has dense vectors, and OpenSearch does not combine the codecs of k-NN and sparse_vector in one index.`,
      {
        hint: `Copy an index without them: csplade reindex --from ${from} with document.dense false.`,
      },
    );
  }
  const [source] = info.indices;
  if (info.passages === "nested" || info.indices.length !== 1 || source === undefined) {
    throw new CspladeError(
      "index_invalid",
      info.passages === "nested"
        ? `${from} keeps passages nested, and a sparse_vector field is not searched there.`
        : `${from} leads to ${info.indices.length} indices; name one of them.`,
      { hint: "Passages may be merged, or documents of their own (ingest.passages)." },
    );
  }
  const survey = await surveyVectors(cluster, source, signal);
  const documents = await copyIndex(cluster, writer, {
    ...request,
    from: source,
    define: (old) => withAnnField(old, request.parameters ?? {}, survey),
    rewrite(document) {
      const source = storedObject(
        withoutMembers(document, (name) => name === ANN_FIELD),
        from,
      );
      return source.with(mappedFeatures(source.textOf(VECTOR_FIELD), survey.ids));
    },
  });
  return {
    documents,
    live_ids: survey.live,
    unnumbered_ids: survey.live - survey.ids.size,
    heaviest_weight: survey.heaviest,
  };
}

function demandSparseVectorField(capabilities: Capabilities, cluster: Cluster): void {
  const { distribution, major, minor, neural_sparse, version } = capabilities;
  const known = major > 3 || (major === 3 && minor >= 3);
  if (distribution === "opensearch" && neural_sparse && known) return;
  throw new CspladeError(
    "cluster_unsupported",
    `${cluster.url} (${distribution} ${version}) has no approximate search of sparse vectors.`,
    { hint: "It takes OpenSearch 3.3 or later with the neural-search plugin." },
  );
}

async function surveyVectors(
  cluster: Cluster,
  index: string,
  signal: AbortSignal | undefined,
): Promise<VectorSurvey> {
  const frequency = new Map<number, number>();
  let documents = 0;
  let heaviest = 0;
  for await (const page of scanIndex(cluster, index, { source: [VECTOR_FIELD], signal })) {
    for (const { source } of page) {
      documents += 1;
      const features = storedFeatures(JSON.parse(source) as object) ?? {};
      for (const [id, weight] of termsOf(fromFeatures(features))) {
        frequency.set(id, (frequency.get(id) ?? 0) + 1);
        heaviest = Math.max(heaviest, weight);
      }
    }
  }
  if (frequency.size === 0) {
    throw new CspladeError(
      "index_invalid",
      `The ${documents} documents of ${index} carry no vectors in _source.`,
      {
        hint: "Ingest them again into an index that holds vectors in _source (document.store_vectors).",
      },
    );
  }
  const live = [...frequency].sort((a, b) => b[1] - a[1]).map(([id]) => id);
  return {
    documents,
    live: live.length,
    ids: idMap(live.slice(0, MOST_MAPPED_IDS)),
    heaviest,
  };
}

function withAnnField(
  { settings, mappings }: IndexDefinition,
  parameters: SeismicParameters,
  { ids, heaviest }: VectorSurvey,
): IndexDefinition {
  // The field's format is a codec of its own.
  const kept = Object.entries(settings).filter(([name]) => name !== "codec");
  return {
    settings: { ...Object.fromEntries(kept), sparse: true },
    mappings: {
      ...mappings,
      _meta: {
        ...mappings._meta,
        csplade: { ...mappings._meta.csplade, ann: { field: ANN_FIELD, ids: ids.text } },
      },
      properties: {
        ...mappings.properties,
        [ANN_FIELD]: {
          type: "sparse_vector",
          method: {
            name: "seismic",
            parameters: { ...parameters, quantization_ceiling_ingest: heaviest },
          },
        },
      },
    },
  };
}
