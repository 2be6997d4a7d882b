/** One hit of a question, with the words of its text that each added term came from. */
import { CspladeError } from "../errors/csplade-error.js";
import type { Encoder } from "../encoder/encoder.js";
import { fieldOrigins } from "../encoder/origins.js";
import { encodedFields } from "../index/encoded-fields.js";
import { nameTerms } from "../query/explanation.js";
import { originHighlight } from "../query/origin-highlight.js";
import { fieldsText, type Hit } from "../query/search-result.js";
import type { OriginSpan } from "../sparse/literals.js";
import {
  shownPlaces,
  searchByCsplade,
  type ComparisonRequest,
  type MatchedTerm,
} from "./comparison.js";
import type { EncodeService } from "./encode-service.js";

/** Which hit. */
export interface TraceRequest extends Omit<ComparisonRequest, "encoder" | "size"> {
  readonly id: string;
  /** The index that holds it, of those behind the searched name. */
  readonly hit_index: string;
  readonly encoder: Pick<Encoder, "literals" | "lexicon">;
  readonly service: Pick<EncodeService, "encodePassages">;
}

/** A term, and where it came from if the model added it to the text. */
export interface TracedTerm extends MatchedTerm {
  readonly origin?: readonly OriginSpan[];
}

/** A word that terms came from, in what is shown of a hit. */
export interface OriginMark {
  /** UTF-16 code units into the title or text that a comparison shows. */
  readonly start: number;
  readonly end: number;
  /** Names of the terms, heaviest first. */
  readonly terms: readonly string[];
}

/** A hit's terms and their origins. */
export interface TracedHit {
  readonly terms: readonly TracedTerm[];
  readonly marks: { readonly title: readonly OriginMark[]; readonly text: readonly OriginMark[] };
  /** Fragments of each field with the words within `<em>`, escaped. */
  readonly origin_highlight: Readonly<Record<string, readonly string[]>>;
}

/**
 * Finds a hit again and looks where its added terms came from.
 * @throws CspladeError as a comparison; `query_invalid` if the document is no hit of the question;
 *   `encode_unsupported` where no model is loaded; `overloaded`.
 */
export async function traceHit(request: TraceRequest): Promise<TracedHit> {
  const { plan, names, encoder, service, signal } = request;
  const hit = await findHit(request);
  const textOf = (field: string) => fieldsText(hit, [field]);
  const fields = encodedFields(plan, hit.id, textOf);
  const own = await encoder.literals([fieldsText(hit, plan.text_fields)], { signal });
  const terms = nameTerms(hit.contributions, names, own[0]?.ids ?? []);
  const merged = plan.passages === "merged";
  const { mean_length } = plan;
  const origins = await fieldOrigins({
    fields,
    terms: terms.filter(({ literal }) => !literal).map(({ id }) => id),
    passage: hit.passage,
    encoder,
    encode: (texts, max_passages) =>
      service.encodePassages(
        texts,
        "document",
        { max_passages, merged, ...(mean_length === undefined ? {} : { mean_length }) },
        signal,
      ),
    signal,
  });
  const traced = terms.map(({ id, term, contribution, literal }) => {
    const origin = origins.get(id);
    return { term, contribution, literal, ...(origin === undefined ? {} : { origin }) };
  });
  const place = shownPlaces(hit.source, plan);
  return {
    terms: traced,
    marks: { title: marksIn("title", traced, place), text: marksIn("text", traced, place) },
    origin_highlight: originHighlight(
      [...origins.values()].flat(),
      Object.fromEntries(fields.map(({ name, text }) => [name, text])),
    ),
  };
}

async function findHit(request: TraceRequest): Promise<Hit> {
  const { id, hit_index, index } = request;
  const { hits } = await searchByCsplade({ ...request, size: 1 }, [
    { ids: { values: [id] } },
    { term: { _index: hit_index } },
  ]);
  const [hit] = hits;
  if (hit !== undefined) return hit;
  throw new CspladeError(
    "query_invalid",
    `The document ${id} of ${hit_index} is no hit of this question in ${index}.`,
  );
}

/** Words in one of the two parts of a hit that are shown. */
function marksIn(
  part: "title" | "text",
  terms: readonly TracedTerm[],
  place: ReturnType<typeof shownPlaces>,
): OriginMark[] {
  const marks = new Map<string, { start: number; end: number; terms: string[] }>();
  for (const { term, origin = [] } of terms) {
    for (const span of origin) {
      const shown = place(span);
      if (shown?.part !== part) continue;
      const { start, end } = shown;
      const mark = marks.get(`${start} ${end}`);
      if (mark === undefined) marks.set(`${start} ${end}`, { start, end, terms: [term] });
      else if (!mark.terms.includes(term)) mark.terms.push(term);
    }
  }
  return [...marks.values()].sort((a, b) => a.start - b.start);
}
