/** Hits whose terms have names. */
import type { Encoder } from "../encoder/encoder.js";
import type { IndexPlan } from "../index/index-meta.js";
import { nameTerms, type ExplainedTerm } from "../query/explanation.js";
import { literalSpans, type LiteralSpan } from "../query/literal-spans.js";
import { fieldsText, type Hit } from "../query/search-result.js";
import type { TermNames } from "../sparse/term-names.js";

/** A hit whose terms have names. */
export interface NamedHit extends Omit<Hit, "contributions"> {
  /** The reranker's score, whose scale is its own; of hits that it looked at. */
  readonly rerank_score?: number;
  /** Largest contribution first; none unless the search was asked to `explain`. */
  readonly terms: readonly ExplainedTerm[];
  /** Where the literal terms stand in each text field. */
  readonly spans: Readonly<Record<string, readonly LiteralSpan[]>>;
  /**
   * Where `origin` was asked for: fragments of each field with the words that added terms came from
   * within `<em>`, as a cluster's `highlight`; escaped, to be put into a page.
   */
  readonly origin_highlight?: Readonly<Record<string, readonly string[]>>;
}

/** A hit before its terms are named. */
export type FoundHit = Hit & Pick<NamedHit, "rerank_score">;

/** Names the terms of hits, and finds the literal ones in their texts. */
export async function nameHits(
  encoder: Encoder,
  names: TermNames,
  hits: readonly FoundHit[],
  { text_fields }: Pick<IndexPlan, "text_fields">,
  signal: AbortSignal | undefined,
): Promise<NamedHit[]> {
  const explained = hits.some((hit) => hit.contributions.length > 0);
  const texts = explained
    ? hits.flatMap((hit) => text_fields.map((field) => fieldsText(hit, [field])))
    : [];
  const literals = await encoder.literals(texts, signal === undefined ? {} : { signal });
  return hits.map(({ contributions, ...hit }, i) => {
    const own = literals.slice(i * text_fields.length, (i + 1) * text_fields.length);
    const terms = nameTerms(
      contributions,
      names,
      own.flatMap(({ ids }) => [...ids]),
    );
    const spans = text_fields.map((field, j) => {
      const stands = own[j];
      return [field, stands === undefined ? [] : literalSpans(stands, terms, names)];
    });
    return { ...hit, terms, spans: Object.fromEntries(spans) as NamedHit["spans"] };
  });
}
