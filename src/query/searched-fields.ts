/** Which fields hold the vectors of an index, by how it keeps the passages of long documents. */
import type { Config } from "../config/settings.js";
import type { VectorField } from "./query-translator.js";

/** What a search needs to know of an index's layout; spread it into a search request. */
export interface SearchedFields {
  readonly fields: readonly VectorField[];
  /** Field by which the passages of one document are collapsed to the best one. */
  readonly collapse?: string;
}

/** The fields of an index that csplade made, by its `_meta.csplade.passages`. */
export function searchedFields(passages: Config["ingest.passages"]): SearchedFields {
  switch (passages) {
    case "merged":
      return { fields: [{ name: "csplade" }] };
    case "nested":
      return {
        fields: [{ name: "csplade_passages.csplade", nested_path: "csplade_passages" }],
      };
    case "documents":
      return { fields: [{ name: "csplade" }], collapse: "csplade_parent" };
  }
}
