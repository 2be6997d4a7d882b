/**
 * The terms of a question weighed by how common they are in the index that is searched, in place
 * of the texts that the model was made from: a word that is rare in the world can stand in every
 * document of an index. Documents keep their weights; only the question's change.
 *
 *     weight = count idf_index / (unit √idf_model) + m min(1.5, idf_index / idf_model)
 *
 * so that the score of the words themselves is BM25 with the index's own idf. m is what the model
 * gives to a word of the question, or to a term that it adds.
 */
import { LRUCache } from "lru-cache";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { reasonOf } from "../cluster/request.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { featureName } from "../sparse/features.js";
import { idf, type IdfScale } from "../sparse/idf.js";
import type { LexicalWord } from "../sparse/literals.js";
import { sparseVector, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import { AS_MODEL, codeOf, idfOf, NOT_FOUND, type FixedIdf, type IdfCodes } from "./fixed-idf.js";
import type { QueryClause } from "./query-clause.js";
import type { VectorField } from "./query-translator.js";

/** A question as the model encoded it. */
export interface WordedVector {
  readonly vector: SparseVector;
  /** Its own words and the terms added; nothing of a model without a lexical part. */
  readonly words?: readonly LexicalWord[] | undefined;
}

/** Where a question is put. */
export interface IdfTarget {
  readonly cluster: Cluster;
  /** An index, an alias, a pattern, or several with commas between them. */
  readonly index: string;
  /** Id of a point in time that is searched instead: it is counted as it was then. */
  readonly pit?: string | undefined;
  /** `ignore_unavailable` and the like: what the index expression means. */
  readonly options?: Readonly<Record<string, string>> | undefined;
  /** The indices behind an alias or a pattern, if known: when they change, words are counted anew. */
  readonly indices?: readonly string[] | undefined;
  readonly fields: readonly VectorField[];
  /** Whose rights the cluster is asked with; what one sees is not for another. */
  readonly caller?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A question's vector for one index. */
export interface WeighedVector {
  readonly vector: SparseVector;
  /** Sentences for people: why words weigh as the model has them. */
  readonly notes: readonly string[];
  /** What its words were weighed by; absent where no index is asked. */
  readonly fixed?: { readonly words: readonly LexicalWord[]; readonly codes: IdfCodes };
}

/** Weighs questions. */
export interface CorpusIdf {
  /**
   * The vector for an index. Where the cluster cannot say how common the words are, the model's
   * weights stand and a note says why.
   * @param before what the first page of the same search was weighed by: then nothing is asked.
   * @throws CspladeError `aborted`; nothing else.
   */
  weigh(question: WordedVector, target: IdfTarget, before?: FixedIdf): Promise<WeighedVector>;
}

/** How questions are weighed. */
export interface CorpusIdfOptions {
  /** Of the model in use; nothing of a model without a lexical part, which is left as it is. */
  readonly scale: IdfScale | undefined;
  /** Setting `query.idf`; `corpus` without it. */
  readonly idf?: "corpus" | "model" | undefined;
  /** Deadline of asking the cluster, milliseconds; 1,000 without it. */
  readonly idf_timeout_ms?: number | undefined;
  /**
   * Most documents that a shard looks at for one request, 1,000,000 without it; a word that more
   * of them have is common enough to need no exact number.
   */
  readonly counted_per_shard?: number | undefined;
  /** Called once for each index that cannot be asked, until it can be again. */
  readonly onTrouble?: ((note: string) => void) | undefined;
}

/** How many documents have a word. */
interface Frequency {
  readonly found: number;
  /** False where counting stopped: there are at least so many. */
  readonly exact: boolean;
}

const DEADLINE_MS = 1_000;
const BELIEVED_MS = 600_000;
const MOST_KEPT = 100_000;

/** After a failure the index is not asked again for so long: questions must not wait in vain. */
const PAUSE_MS = 30_000;

const COUNTED_PER_SHARD = 1_000_000;

interface Limits {
  readonly deadlineMs: number;
  readonly terminate_after: number;
}

const answerSchema = z.object({
  timed_out: z.boolean().optional(),
  _shards: z.object({ failed: z.number() }),
  hits: z.object({ total: z.object({ value: z.number() }).optional() }).optional(),
  aggregations: z
    .object({
      any: z.object({ doc_count: z.number() }),
      words: z.object({ buckets: z.record(z.string(), z.object({ doc_count: z.number() })) }),
    })
    .optional(),
});

/** Weighs questions by the indices they are put to. What was counted is believed for 10 minutes. */
export function createCorpusIdf(options: CorpusIdfOptions): CorpusIdf {
  const { scale } = options;
  const limits = {
    deadlineMs: options.idf_timeout_ms ?? DEADLINE_MS,
    terminate_after: options.counted_per_shard ?? COUNTED_PER_SHARD,
  };
  // With a resolution each cache would set a timer to forget the time it looked at.
  const aged = { ttl: BELIEVED_MS, ttlResolution: 0 };
  const frequencies = new LRUCache<string, Frequency>({ ...aged, max: MOST_KEPT });
  const sizes = new LRUCache<string, number>({ ...aged, max: 1_000 });
  const silent = new LRUCache<string, string>({ ...aged, max: 1_000, ttl: PAUSE_MS });
  const told = new Set<string>();

  async function count(
    words: readonly LexicalWord[],
    target: IdfTarget,
    place: string,
  ): Promise<{ documents: number; found: ReadonlyMap<number, Frequency> }> {
    const found = new Map<number, Frequency>();
    const unknown: number[] = [];
    for (const { id } of words) {
      const known = frequencies.get(`${place} ${id}`);
      if (known === undefined) unknown.push(id);
      else found.set(id, known);
    }
    const [documents, counted] = await Promise.all([
      sizes.get(place) ?? countDocuments(target, limits),
      unknown.length === 0
        ? new Map<number, Frequency>()
        : countWords([...new Set(unknown)], target, limits),
    ]);
    if (documents > 0) sizes.set(place, documents);
    for (const [id, frequency] of counted) {
      found.set(id, frequency);
      // What no document has today, one may have in a moment, and then it must be found.
      if (frequency.found > 0) frequencies.set(`${place} ${id}`, frequency);
    }
    return { documents, found };
  }

  return {
    async weigh({ vector, words: all = [] }, target, fixed) {
      const kept = new Set(vector.ids);
      const words = all.filter(({ id }) => kept.has(id));
      if (scale === undefined || options.idf === "model" || words.length === 0) {
        return { vector, notes: [] };
      }
      const weighed = (codes: IdfCodes, notes: readonly string[] = []): WeighedVector => ({
        vector: reweighed(vector, words, codes, scale),
        notes,
        fixed: { words, codes },
      });
      const carried = fixed?.of(words);
      if (carried !== undefined) return weighed(carried);
      const asModel = new Uint16Array(words.length).fill(AS_MODEL);
      const place = [
        target.caller ?? "",
        target.index,
        target.pit ?? "",
        JSON.stringify(target.options ?? {}),
        (target.indices ?? []).join(","),
        ...target.fields.map(({ name }) => name),
      ].join("\0");
      const before = silent.get(place);
      if (before !== undefined) return weighed(asModel, [before]);
      try {
        const { documents, found } = await count(words, target, place);
        told.delete(place);
        return weighed(codesOf(words, documents, found, scale));
      } catch (thrown) {
        if (target.signal?.aborted === true) throw thrown;
        const note =
          "The question's words weigh as the model has them, not by how common they are in " +
          `${target.index}: ${messageOf(thrown)}`;
        silent.set(place, note);
        if (!told.has(place)) {
          if (told.size >= 1_000) told.clear();
          told.add(place);
          options.onTrouble?.(note);
        }
        return weighed(asModel, [note]);
      }
    },
  };
}

/** How much more a term may weigh for being rarer here than in the model's texts. */
const MOST_RATIO = 1.5;

/** The idf of each word in the index, as it can be carried from page to page. */
function codesOf(
  words: readonly LexicalWord[],
  documents: number,
  found: ReadonlyMap<number, Frequency>,
  { idf_range }: IdfScale,
): IdfCodes {
  return Uint16Array.from(words, ({ id, idf: before }) => {
    const frequency = found.get(id);
    if (frequency === undefined) return AS_MODEL;
    if (frequency.found === 0) return NOT_FOUND;
    const here = idf(Math.max(documents, frequency.found), frequency.found, idf_range);
    return codeOf(frequency.exact ? here : Math.min(here, before), idf_range);
  });
}

/** The vector with its terms' weights changed to the index's idf. */
function reweighed(
  vector: SparseVector,
  words: readonly LexicalWord[],
  codes: IdfCodes,
  { unit, idf_range }: IdfScale,
): SparseVector {
  const weights = new Map(termsOf(vector));
  for (const [i, { id, count, idf: before }] of words.entries()) {
    const weight = weights.get(id);
    const code = codes[i] ?? AS_MODEL;
    if (weight === undefined || code === AS_MODEL) continue;
    const now = idfOf(code, idf_range);
    const model = Math.max(0, weight - (count * Math.sqrt(before)) / unit);
    const changed =
      (count * now) / (unit * Math.sqrt(before)) + model * Math.min(MOST_RATIO, now / before);
    if (code === NOT_FOUND || changed <= 0) weights.delete(id);
    else weights.set(id, changed);
  }
  // Where no document has any of the terms, the search itself shall say so.
  return weights.size === 0 ? vector : sparseVector(weights);
}

/** Documents that have each of the terms, in one search unless a shard has very many of them. */
async function countWords(
  ids: readonly number[],
  target: IdfTarget,
  limits: Limits,
): Promise<Map<number, Frequency>> {
  const clauses = ids.map((id) => hasTerm(id, target.fields));
  const { aggregations } = await ask(target, limits, {
    track_total_hits: false,
    terminate_after: limits.terminate_after,
    query: { bool: { filter: [{ bool: { should: clauses, minimum_should_match: 1 } }] } },
    aggs: {
      any: { filter: { match_all: {} } },
      words: {
        filters: { filters: Object.fromEntries(ids.map((id, i) => [featureName(id), clauses[i]])) },
      },
    },
  });
  // `terminated_early` is also said where nothing was cut (3.6.0, without counted hits).
  const cut = (aggregations?.any.doc_count ?? 0) >= limits.terminate_after;
  if (cut && ids.length > 1) {
    const apart = await Promise.all(ids.map((id) => countWords([id], target, limits)));
    return new Map(apart.flatMap((each) => [...each]));
  }
  return new Map(
    ids.map((id) => {
      const found = aggregations?.words.buckets[featureName(id)]?.doc_count ?? 0;
      return [id, { found, exact: !cut }];
    }),
  );
}

/**
 * Documents with vectors: those of a model, as `csplade_model` says; in an index of another
 * making all documents. (`exists` is not supported on `rank_features`.)
 */
async function countDocuments(target: IdfTarget, limits: Limits): Promise<number> {
  // Not inside a bool: alone, it is answered from the segments' own counts.
  const ours = { exists: { field: "csplade_model" } };
  const total = async (query: QueryClause) => {
    const { hits } = await ask(target, limits, { track_total_hits: true, query });
    return hits?.total?.value ?? 0;
  };
  return (await total(ours)) || (await total({ match_all: {} }));
}

/** Matches the documents that have a term, in any of the fields; scores are not asked for. */
function hasTerm(id: number, fields: readonly VectorField[]): QueryClause {
  const clauses = fields.map(({ name, nested_path: path }): QueryClause => {
    const query = { rank_feature: { field: `${name}.${featureName(id)}`, linear: {} } };
    if (path === undefined) return query;
    return { nested: { path, score_mode: "none", ignore_unmapped: true, query } };
  });
  const [only = {}] = clauses;
  return clauses.length === 1 ? only : { bool: { should: clauses, minimum_should_match: 1 } };
}

/** A search for numbers only. @throws CspladeError for anything but a whole answer. */
async function ask(
  { cluster, index, pit, options = {}, signal }: IdfTarget,
  { deadlineMs }: Pick<Limits, "deadlineMs">,
  body: Readonly<Record<string, unknown>>,
): Promise<z.infer<typeof answerSchema>> {
  const whole = index === "" || pit !== undefined;
  const answer = await cluster.send({
    method: "POST",
    path: whole ? "/_search" : `/${encodeURIComponent(index)}/_search`,
    ...(pit === undefined ? { query: options } : {}),
    body: {
      size: 0,
      timeout: `${deadlineMs}ms`,
      ...(pit === undefined ? {} : { pit: { id: pit } }),
      ...body,
    },
    timeoutMs: deadlineMs,
    ...(signal === undefined ? {} : { signal }),
  });
  const refuse = (reason: string) =>
    new CspladeError(
      "cluster_rejected",
      `${cluster.url} does not say how common they are: ${reason}.`,
    );
  if (answer.status >= 400) throw refuse(`${answer.status}, ${reasonOf(answer.body)}`);
  const parsed = answerSchema.safeParse(answer.body);
  if (!parsed.success) throw refuse("its answer is no search result");
  if (parsed.data.timed_out === true) throw refuse("counting took too long");
  if (parsed.data._shards.failed > 0) throw refuse("some shards failed");
  return parsed.data;
}
