/** Hits whose added terms say which words of the text they came from. */
import type { Encoder } from "../encoder/encoder.js";
import { fieldOrigins } from "../encoder/origins.js";
import { encodedFields } from "../index/encoded-fields.js";
import type { IndexPlan } from "../index/index-meta.js";
import { originHighlight } from "../query/origin-highlight.js";
import { fieldsText } from "../query/search-result.js";
import type { NamedHit } from "./named-hit.js";

/** How long that may take without a limit, milliseconds. */
const ORIGIN_MS = 10_000;

/** Of which index, and how long it may take. */
export interface OriginOptions {
  readonly plan: IndexPlan;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Looks for the origins of the added terms of each hit, the best ones first. What is not found within
 * the time is left out and said.
 * @throws CspladeError `encode_unsupported` for an encoder without a model; the signal's reason.
 */
export async function withOrigins(
  encoder: Encoder,
  hits: readonly NamedHit[],
  { plan, timeoutMs = ORIGIN_MS, signal }: OriginOptions,
): Promise<{ readonly hits: readonly NamedHit[]; readonly notes: readonly string[] }> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const either = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
  const known: NamedHit[] = [];
  try {
    for (const hit of hits) known.push(await withOrigin(encoder, hit, plan, either));
    return { hits: known, notes: [] };
  } catch (thrown) {
    if (!deadline.aborted || signal?.aborted === true) throw thrown;
    const note = `Where added terms came from is known of ${known.length} of ${hits.length} hits: looking for it took ${timeoutMs} ms.`;
    return { hits: [...known, ...hits.slice(known.length)], notes: [note] };
  }
}

async function withOrigin(
  encoder: Encoder,
  hit: NamedHit,
  plan: IndexPlan,
  signal: AbortSignal,
): Promise<NamedHit> {
  const fields = encodedFields(plan, hit.id, (field) => fieldsText(hit, [field]));
  const merged = plan.passages === "merged";
  const { mean_length } = plan;
  const origins = await fieldOrigins({
    fields,
    terms: hit.terms.filter(({ literal }) => !literal).map(({ id }) => id),
    passage: hit.passage,
    encoder,
    encode: (texts, max_passages) =>
      encoder.encodeDocuments(texts, { max_passages, merged, mean_length, signal }),
    signal,
  });
  const texts = fields.map(({ name, text }) => [name, text] as const);
  return {
    ...hit,
    terms: hit.terms.map((term) => {
      const origin = origins.get(term.id);
      return origin === undefined ? term : { ...term, origin };
    }),
    origin_highlight: originHighlight([...origins.values()].flat(), Object.fromEntries(texts)),
  };
}
