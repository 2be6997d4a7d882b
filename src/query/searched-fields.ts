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
}

/**
 * The fields of an index that csplade made.
 * @param passages its `_meta.csplade.passages`.
 * @param ann its numbering of token ids, where it has an approximately searched field.
 */
export function searchedFields(passages: Config["ingest.passages"], ann?: IdMap): SearchedFields {
  const ann_field = ann === undefined ? {} : { ann_field: { name: "csplade_ann", ids: ann } };
  switch (passages) {
    case "merged":
      return { fields: [{ name: "csplade" }], ...ann_field };
    case "nested":
      return {
        fields: [{ name: "csplade_passages.csplade", nested_path: "csplade_passages" }],
      };
    case "documents":
      return { fields: [{ name: "csplade" }], collapse: "csplade_parent", ...ann_field };
  }
}
