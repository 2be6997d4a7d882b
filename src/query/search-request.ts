/** What is searched for, where, and how. */
import type { SparseVector } from "../sparse/sparse-vector.js";
import type { AnnField, AnnOptions } from "./ann.js";
import type { HybridOptions } from "./hybrid.js";
import type { AddedWord, LexicalOptions } from "./lexical.js";
import type { QueryClause } from "./query-clause.js";
import type { QueryDialect } from "./query-dialect.js";
import type { VectorField } from "./query-translator.js";
import type { SearchMode } from "./search-mode.js";
import type { TwoPhaseOptions } from "./two-phase.js";

/** A search. */
export interface SearchRequest {
  /** An index, an alias, or a pattern. */
  readonly index: string;
  readonly vector: SparseVector;
  /** `plain` without it. */
  readonly mode?: SearchMode | undefined;
  /** The question in words: what `lexical` and `hybrid` search by BM25. */
  readonly text?: string | undefined;
  /** Fields that BM25 searches, `title` and `text` without it; they share one analyzer. */
  readonly text_fields?: readonly string[] | undefined;
  readonly two_phase?: Partial<TwoPhaseOptions> | undefined;
  /** Ids of the terms that stand in the question (`ownTerms`): what mode `two_phase` finds by. */
  readonly own_terms?: ReadonlySet<number> | undefined;
  readonly ann?: Partial<AnnOptions> | undefined;
  readonly hybrid?: Partial<HybridOptions> | undefined;
  readonly lexical?: Partial<LexicalOptions> | undefined;
  /** What the model adds to the question, for mode `lexical` (see `addedWords`). */
  readonly added_words?: readonly AddedWord[] | undefined;
  /** The question's dense vector (`denseBytes`): with {@link dense_field} a ranking of mode `hybrid`. */
  readonly dense?: readonly number[] | undefined;
  /** The field of documents' dense vectors, in an index that has them. */
  readonly dense_field?: string | undefined;
  /** The field that mode `ann` searches. */
  readonly ann_field?: AnnField | undefined;
  /** Hits to return, 0…10,000 together with `from`; 10 without it. */
  readonly size?: number | undefined;
  /** Hits to skip, 0 without it. */
  readonly from?: number | undefined;
  /** DSL that narrows the hits and scores nothing. */
  readonly filter?: QueryClause | readonly QueryClause[] | undefined;
  /**
   * Take every hit's score apart (slower; for people, not for batches). Modes other than
   * `plain` show the terms of the plain score: of `hybrid` that is one of two parts.
   */
  readonly explain?: boolean | undefined;
  /** The cluster's best one without it. */
  readonly dialect?: QueryDialect | undefined;
  /** The vector field `csplade` without it. */
  readonly fields?: readonly VectorField[] | undefined;
  /**
   * `false`: no source; a list: these fields; `stored`: hits have `source_text` too, every byte as it was
   * stored, and vectors cross the network with it; otherwise everything but the vectors.
   */
  readonly source?: false | readonly string[] | "stored" | undefined;
  /**
   * A keyword or number field that several hits share (`csplade_parent` where an index holds a document
   * per passage): only the best hit of each value comes back. `total` still counts them all.
   */
  readonly collapse?: string | undefined;
  /**
   * More parts of the search body, as the cluster takes them: `aggs`, `min_score`,
   * `track_total_hits`, `sort` with `search_after`, `highlight`, … (see `search-body.ts`).
   */
  readonly body?: Readonly<Record<string, unknown>> | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}
