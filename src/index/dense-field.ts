/**
 * The field of dense vectors. A vector is kept as one signed byte a dimension and compared by its angle
 * (`denseBytes`): `knn_vector` of Lucene's engine on OpenSearch, `dense_vector` on Elasticsearch.
 */
import type { Capabilities } from "../cluster/capabilities.js";
import { CspladeError } from "../errors/csplade-error.js";
import { settingAt, type IndexSettings } from "./inherited-settings.js";

/** What an index with dense vectors is made with. */
export interface DenseField {
  /** The field's mapping. */
  readonly mapping: object;
  /** Settings, by their path below `index`. */
  readonly settings: IndexSettings;
}

/**
 * The field as a cluster maps it.
 * @throws CspladeError `cluster_unsupported` before OpenSearch 2.9 and Elasticsearch 8.6, which have no bytes.
 */
export function denseField(capabilities: Capabilities, dimension: number): DenseField {
  const { distribution, version, major, minor } = capabilities;
  const isElastic = distribution === "elasticsearch";
  const hasBytes = isElastic
    ? major > 8 || (major === 8 && minor >= 6)
    : major > 2 || (major === 2 && minor >= 9);
  if (!hasBytes) {
    throw new CspladeError(
      "cluster_unsupported",
      `${distribution} ${version} does not search dense vectors of bytes.`,
      {
        hint: "It takes OpenSearch 2.9 with the k-NN plugin or Elasticsearch 8.6; leave document.dense out.",
      },
    );
  }
  if (isElastic) {
    return {
      mapping: {
        type: "dense_vector",
        dims: dimension,
        element_type: "byte",
        index: true,
        similarity: "cosine",
      },
      settings: {},
    };
  }
  return {
    mapping: {
      type: "knn_vector",
      dimension,
      data_type: "byte",
      method: { name: "hnsw", engine: "lucene", space_type: "cosinesimil" },
    },
    settings: { knn: true },
  };
}

/** Setting by which OpenSearch builds documents with k-NN fields anew. */
const DERIVED_SOURCE = "knn.derived_source.enabled";

/** Setting by which Elasticsearch leaves fields of vectors out of `_source`. */
const EXCLUDED_VECTORS = "mapping.exclude_source_vectors";

/**
 * What has to be said of an index, so that its documents stay what was written. With k-NN fields, from
 * OpenSearch 3 on, their vectors are taken out of `_source` and put back into a document built anew, with
 * other digits and an order of its own; from Elasticsearch 9.2 on they are taken out and shown to nobody
 * who does not ask. A setting says otherwise, and whoever said something himself has it.
 * @param said the settings that are given or decided already.
 */
export function keptSource(
  { distribution, major, hides_vectors }: Capabilities,
  ...said: readonly IndexSettings[]
): IndexSettings {
  const isSaid = (path: string) => said.some((settings) => settingAt(settings, path) !== undefined);
  if (hides_vectors) return isSaid(EXCLUDED_VECTORS) ? {} : { [EXCLUDED_VECTORS]: false };
  const hasKnn = said.some((settings) => String(settingAt(settings, "knn")) === "true");
  if (distribution !== "opensearch" || major < 3 || !hasKnn || isSaid(DERIVED_SOURCE)) return {};
  // It is refused without the setting that it depends on, also where a template has that one.
  return { knn: true, [DERIVED_SOURCE]: false };
}

/** @throws CspladeError `index_invalid` for an index made without what dense vectors need. */
export function demandDenseIndex(
  index: string,
  { settings }: DenseField,
  has: IndexSettings,
): void {
  const lacks = Object.entries(settings).find(
    ([path, value]) =>
      String(settingAt(has, path) ?? settingAt(has, `index.${path}`)) !== String(value),
  );
  if (lacks === undefined) return;
  throw new CspladeError(
    "index_invalid",
    `The index ${index} was made without index.${lacks[0]}, which dense vectors need and no index can be given later.`,
    {
      hint: "Leave document.dense out, or let csplade make an index: csplade ingest, csplade reindex.",
    },
  );
}
