/** Which fields hold the vectors of an index, by how it keeps the passages of long documents. */
import type { Config } from "../config/settings.js";
import type { IdMap } from "../sparse/id-map.js";
import type { AnnField } from "./ann.js";
import type { VectorField } from "./query-translator.js";

/** What a search needs to know of an index's layout; spread it into a search request. */
export interface SearchedFields {
  readonly fields: readonly VectorField[];
  /** Field by which the passages of one document are collapsed to the best one. */
  readonly collapse?: string;
  /** The approximately searched field, where the index has one. */
  readonly ann_field?: AnnField;
  /** The field of dense vectors, where the index has them. */
  readonly dense_field?: string;
}

/** How an index keeps its vectors: a part of its `_meta.csplade`. */
export interface VectorLayout {
  readonly passages: Config["ingest.passages"];
  /** Its numbering of token ids, where it has an approximately searched field. */
  readonly ann?: IdMap | undefined;
  /** Its documents have dense vectors. */
  readonly dense?: boolean | undefined;
}

/** The fields of an index that csplade made. */
export function searchedFields({ passages, ann, dense }: VectorLayout): SearchedFields {
  if (passages === "nested") {
    return { fields: [{ name: "csplade_passages.csplade", nested_path: "csplade_passages" }] };
  }
  return {
    fields: [{ name: "csplade" }],
    ...(passages === "documents" ? { collapse: "csplade_parent" } : {}),
    ...(ann === undefined ? {} : { ann_field: { name: "csplade_ann", ids: ann } }),
    ...(dense === true ? { dense_field: "csplade_dense" } : {}),
  };
}
