/**
 * Questions in words to an index: encoded, checked against the index's model, searched, and
 * answered with the terms that matched. What the command line, the examples and programs use.
 */
import type { Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { demandExpansion, ownTerms, withExpansion } from "../encoder/expansion.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { IndexPlan } from "../index/index-meta.js";
import { readSearchedIndices, type SearchedIndices } from "../index/searched-indices.js";
import { readTextFields } from "../index/text-fields.js";
import { indexModelOf } from "../documents/index-model.js";
import { readTurns, withHistory } from "../query/conversation.js";
import { createCorpusIdf, type WeighedVector, type WordedVector } from "../query/corpus-idf.js";
import type { FixedIdf } from "../query/fixed-idf.js";
import { addedWords } from "../query/lexical.js";
import { pagedSort } from "../query/paged-sort.js";
import { chooseDialect } from "../query/query-dialect.js";
import {
  translateQuery,
  type TranslatedQuery,
  type TranslationRequest,
} from "../query/query-translator.js";
import { search } from "../query/search.js";
import { searchedFields } from "../query/searched-fields.js";
import type { SearchRequest } from "../query/search-request.js";
import { fieldsText, type Hit, type SearchResult } from "../query/search-result.js";
import { demandReranker } from "../rerank/open-reranker.js";
import { MOST_RERANKED, rerank, type Reranking } from "../rerank/rerank.js";
import type { Reranker } from "../rerank/reranker.js";
import { denseBytes } from "../sparse/dense-vector.js";
import { prune, type PruneOptions } from "../sparse/prune.js";
import { EMPTY_VECTOR, termsOf, type SparseVector } from "../sparse/sparse-vector.js";
import type { LexicalWord } from "../sparse/literals.js";
import { termNames, type TermNames } from "../sparse/term-names.js";
import { readVocabulary } from "../sparse/vocabulary.js";
import { readTokenizerFile } from "../text/tokenizer.js";
import { withOrigins } from "./hit-origins.js";
import { nameHits, type FoundHit, type NamedHit } from "./named-hit.js";

/** How a searcher is opened. */
export interface SearcherOptions {
  readonly cluster: Cluster;
  /** Of the model that the indices were encoded with; stays the caller's to close. */
  readonly encoder: Encoder;
  /** Factor of what the model adds to questions that do not say their own, 0 to 1; 1 without it. */
  readonly expansion?: number | undefined;
  /** What a step back in a conversation multiplies a turn's weights by; 0.5 without it. */
  readonly history_decay?: number | undefined;
  /** How query vectors are pruned; not at all without it. */
  readonly pruning?: PruneOptions | undefined;
  /**
   * By what a question's own words weigh, for models with a lexical part: how common they are in
   * the index (`corpus`, also without it) or in the texts that the model was made from (`model`).
   */
  readonly idf?: Config["query.idf"] | undefined;
  /** How long a question waits for the index to say so, milliseconds; 1,000 without it. */
  readonly idf_timeout_ms?: number | undefined;
  /** Puts first hits into a better order for questions that ask for it; stays the caller's to close. */
  readonly reranker?: Reranker | undefined;
  /** How long that may take, milliseconds; 3,000 without it. */
  readonly rerank_timeout_ms?: number | undefined;
  /** Told once for each index that cannot say how common words are. */
  readonly onTrouble?: ((note: string) => void) | undefined;
}

/** How one question is asked; options of the modes as in {@link SearchRequest}. */
export interface QuestionOptions extends Omit<
  SearchRequest,
  "index" | "vector" | "text" | "text_fields" | "fields" | "collapse" | "added_words" | "dense"
> {
  /**
   * Factor of the terms that the model adds to the question, from 0 (its exact words) to 1 (all that
   * the model adds); the searcher's own without it. Besides the options of a mode.
   */
  readonly expansion?: number | undefined;
  /**
   * So many first hits, up to 1,000, are put into the reranker's order; the others follow as they were.
   * Not with `sort`. Pages that reach into them find these hits again: they are one ranking together.
   */
  readonly rerank?: number | undefined;
  /**
   * What was said before, oldest first: questions and answers. The latest 10 turns count, up to 2,000
   * characters of each; their terms join the question's, fainter with every step back. What asks for
   * the question's text (BM25 in mode `hybrid`, the reranker) has the question alone.
   * Not with mode `lexical`.
   */
  readonly history?: readonly string[] | undefined;
  /** What a step back multiplies weights by, 0 to 1; 0.3 without it. */
  readonly history_decay?: number | undefined;
  /**
   * Say of each term that the model added to a hit which words of its text it came from: the text is
   * encoded again without them, up to 64 times a hit. It comes with `explain`. Not with mode `lexical`.
   */
  readonly origin?: boolean | undefined;
  /** How long that may take for all hits, milliseconds; 10,000 without it. Hits behind it have none, with a note. */
  readonly origin_timeout_ms?: number | undefined;
}

/** A question as the model sees it. */
export interface EncodedQuestion {
  readonly vector: SparseVector;
  /** Its terms, heaviest first. */
  readonly terms: readonly {
    readonly id: number;
    readonly term: string;
    readonly weight: number;
  }[];
  /** Its own words, where the model has a lexical part. */
  readonly words?: readonly LexicalWord[];
  /** The question is longer than the model reads. */
  readonly truncated: boolean;
}

/** The answer to a question. */
export interface Answer extends Omit<SearchResult, "hits"> {
  readonly question: string;
  readonly query_terms: EncodedQuestion["terms"];
  readonly truncated: boolean;
  /** What became of reranking, where it was asked for: without `done` the order is the search's own. */
  readonly reranking?: Reranking;
  readonly hits: readonly NamedHit[];
  readonly title_field: string;
  readonly text_fields: readonly string[];
}

/** Asks questions. */
export interface Searcher {
  /**
   * Searches an index, an alias, a pattern, or several of them with commas between. Of those behind it
   * that have no vectors, or another model's, nothing is found; mode `lexical` needs none.
   * @throws CspladeError `model_mismatch` if they hold only another model's vectors, `encode_failed`,
   * `query_invalid` for reranking that cannot be done, and what a search throws.
   */
  search(index: string, question: string, options?: QuestionOptions): Promise<Answer>;
  /**
   * The question's vector and its terms, as they are before an index is known: its words weigh as
   * the model has them, what is added by the searcher's `expansion`. @throws CspladeError `encode_failed`.
   */
  encode(question: string, signal?: AbortSignal): Promise<EncodedQuestion>;
  /**
   * The question as one clause of query DSL, to put into a search body of your own: anywhere a
   * query may stand. Its scores are those of mode `plain`.
   * @param options `other_clauses` counts what else is in your query.
   * @throws CspladeError as {@link search}.
   */
  query(
    index: string,
    question: string,
    options?: Partial<
      Pick<TranslationRequest, "filter" | "inner_hits" | "other_clauses" | "dialect"> &
        Pick<QuestionOptions, "expansion">
    >,
  ): Promise<TranslatedQuery>;
}

/** What of a question's options decides its vector. */
type AskedQuestion = Pick<
  QuestionOptions,
  "signal" | "expansion" | "history" | "history_decay" | "mode"
>;

/** How long an index's model is believed: an alias may be swapped to another index. */
const BELIEVED_MS = 10_000;

/**
 * Opens a searcher.
 * @throws CspladeError `model_invalid` if the checkpoint's tokenizer cannot be read.
 */
export function openSearcher(options: SearcherOptions): Searcher {
  const { cluster, encoder, pruning } = options;
  const corpusIdf = createCorpusIdf({ ...options, scale: encoder.lexicon });
  const vocabulary = readVocabulary(readTokenizerFile(encoder.checkpoint.tokenizerFile));
  const known = new Map<string, { readonly found: SearchedIndices; readonly until: number }>();

  async function lookUp(index: string, signal: AbortSignal | undefined): Promise<SearchedIndices> {
    const before = known.get(index);
    if (before !== undefined && before.until > performance.now()) return before.found;
    const found = await readSearchedIndices(cluster, index, indexModelOf(encoder.manifest), signal);
    known.set(index, { found, until: performance.now() + BELIEVED_MS });
    return found;
  }

  /** The whole vector: it is pruned when its weights are final. */
  async function encodeWhole(
    question: string,
    signal: AbortSignal | undefined,
    expansion = options.expansion ?? 1,
    wantsDense = false,
  ): Promise<Encoded> {
    demandExpansion(expansion);
    const [encoded] = await encoder.encodeQueries([question], {
      ...(signal === undefined ? {} : { signal }),
      dense: wantsDense,
    });
    if (encoded?.failure !== undefined) {
      throw new CspladeError("encode_failed", `The question cannot be encoded: ${encoded.failure}`);
    }
    const passage = encoded?.passages[0];
    const { vector, words } = passage ?? { vector: EMPTY_VECTOR };
    const dense = denseBytes([passage?.dense]);
    const whole = { vector, words, dense, truncated: encoded?.truncated ?? false };
    const [controlled = whole] = await withExpansion(
      encoder,
      [question],
      [whole],
      expansion,
      signal,
    );
    return controlled;
  }

  /** The terms that stand in the question or in an earlier turn. */
  async function ownTermsOf(
    question: string,
    words: Encoded["words"],
    { history = [], signal }: AskedQuestion,
  ): Promise<ReadonlySet<number>> {
    const texts = [question, ...readTurns(history)];
    const said = texts.map(() => ({ words }));
    return new Set((await ownTerms(encoder, texts, said, signal)).flatMap((ids) => [...ids]));
  }

  async function encodeFor(
    index: string,
    { names, plan, foreign, without }: SearchedIndices,
    question: string,
    { signal, expansion, history = [], history_decay = options.history_decay, mode }: AskedQuestion,
    before?: FixedIdf,
  ): Promise<Encoded & Pick<WeighedVector, "notes" | "fixed">> {
    const hasDense = plan.dense === true && foreign.length + without.length === 0;
    const wantsDense = mode === "hybrid" && hasDense && encoder.encodes.dense;
    const alone = await encodeWhole(question, signal, expansion, wantsDense);
    const turns: Encoded[] = [];
    for (const turn of readTurns(history)) turns.push(await encodeWhole(turn, signal, expansion));
    const whole = { ...alone, ...withHistory(alone, turns, history_decay) };
    const { fields } = searchedFields(plan);
    const target = { cluster, index, indices: names, fields, signal };
    const { vector, ...weighed } = await corpusIdf.weigh(whole, target, before);
    return { ...whole, ...weighed, vector: pruned(vector) };
  }

  /** Asks the index's own text fields, whoever made it. */
  async function searchWords(
    index: string,
    question: string,
    asked: QuestionOptions,
  ): Promise<Answer> {
    const { lexicon } = encoder;
    const { signal, expansion, lexical = {}, history = [] } = asked;
    if (asked.origin === true) {
      throw new CspladeError("query_invalid", "Mode lexical adds no terms to documents.", {
        hint: "Leave origin out, or ask in another mode.",
      });
    }
    if (history.length > 0) {
      throw new CspladeError("query_invalid", "Mode lexical knows no history.", {
        hint: "Ask in another mode, or put the words of earlier turns into the question.",
      });
    }
    if (lexicon === undefined) {
      throw new CspladeError(
        "query_invalid",
        "Mode lexical needs a checkpoint whose terms are whole words, and this one has no lexicon.json.",
        { hint: "The shipped checkpoints have one; other modes search indices with vectors." },
      );
    }
    const whole = await encodeWhole(question, signal, expansion);
    const { words = [], truncated } = whole;
    const vector = pruned(whole.vector);
    const place = await placeOfWords(index, lexical.text_fields, signal);
    const { title_field, text_fields, collapse } = place;
    const { hits, ...result } = await searchAndRerank(asked, {
      index,
      vector,
      text: question,
      text_fields,
      collapse,
      added_words: addedWords(vector, words, vocabulary, lexicon.unit),
    });
    const names = termNames(vocabulary, words);
    return {
      question,
      ...result,
      query_terms: namedTerms(vector, names),
      truncated,
      title_field,
      text_fields,
      hits: await nameHits(encoder, names, hits, { text_fields }, signal),
    };
  }

  async function placeOfWords(
    index: string,
    asked: readonly string[] | undefined,
    signal: AbortSignal | undefined,
  ) {
    const plan = await planIfOurs(index, signal);
    const text_fields =
      asked ?? plan?.text_fields ?? (await readTextFields(cluster, index, signal));
    const { collapse } = plan === undefined ? {} : searchedFields(plan);
    return { title_field: plan?.title_field ?? headingOf(text_fields), text_fields, collapse };
  }

  async function planIfOurs(
    index: string,
    signal: AbortSignal | undefined,
  ): Promise<IndexPlan | undefined> {
    try {
      return (await lookUp(index, signal)).plan;
    } catch (thrown) {
      const notOurs =
        thrown instanceof CspladeError &&
        (thrown.code === "index_invalid" || thrown.code === "model_mismatch");
      if (notOurs) return undefined;
      throw thrown;
    }
  }

  /** A page of hits, in the reranker's order as far as that was asked for. */
  async function searchAndRerank(
    { rerank: most, ...asked }: QuestionOptions,
    request: SearchRequest & { readonly text: string; readonly text_fields: readonly string[] },
  ): Promise<
    Omit<SearchResult, "hits"> & Pick<Answer, "reranking"> & { hits: readonly FoundHit[] }
  > {
    const { from = 0, size = 10 } = asked;
    if (most === undefined || most === 0) return await search(cluster, { ...asked, ...request });
    const reranker = demandReranker(options.reranker);
    demandOrder(most, asked);
    // What lies behind is as it was.
    if (from >= most) return await search(cluster, { ...asked, ...request });
    const { text_fields } = request;
    const source = withTexts(asked.source, text_fields);
    const whole = { ...asked, ...request, source, from: 0, size: Math.max(most, from + size) };
    const { hits, ...result } = await search(cluster, whole);
    const textsOf = (first: readonly Hit[]) => first.map((hit) => fieldsText(hit, text_fields));
    const reranked = await rerank(reranker, request.text, hits, textsOf, {
      hits: most,
      timeoutMs: options.rerank_timeout_ms ?? RERANK_MS,
      signal: asked.signal,
    });
    const { reranking } = reranked;
    const note = `The hits were not reranked: ${reranking.reason ?? ""}.`;
    return {
      ...result,
      notes: reranking.done ? result.notes : [...result.notes, note],
      reranking,
      hits: reranked.hits.slice(from, from + size),
    };
  }

  const pruned = (vector: SparseVector) =>
    pruning === undefined ? vector : prune(vector, pruning);

  return {
    async encode(question, signal) {
      const { vector: whole, words, truncated } = await encodeWhole(question, signal);
      const vector = pruned(whole);
      const terms = namedTerms(vector, termNames(vocabulary, words));
      return { vector, terms, ...(words === undefined ? {} : { words }), truncated };
    },
    async search(index, question, asked = {}) {
      const { signal } = asked;
      if (asked.mode === "lexical") return searchWords(index, question, asked);
      const found = await lookUp(index, signal);
      const { plan } = found;
      const searched = searchedFields(plan);
      // Clusters take no further key beside `collapse`.
      const paged = searched.collapse === undefined ? pagedSort(asked.body) : undefined;
      const { vector, words, dense, notes, truncated, fixed } = await encodeFor(
        index,
        found,
        question,
        asked,
        paged?.before,
      );
      const names = termNames(vocabulary, words);
      const { hits, ...result } = await searchAndRerank(explained(asked, plan, encoder), {
        ...among(found, asked),
        ...searched,
        own_terms:
          asked.mode === "two_phase" ? await ownTermsOf(question, words, asked) : undefined,
        body: paged?.carryOn(fixed) ?? asked.body,
        dense,
        hybrid: dense === undefined ? asked.hybrid : withRankings(asked.hybrid, encoder),
        index,
        vector,
        text: question,
        text_fields: plan.text_fields,
      });
      const named = await nameHits(encoder, names, hits, plan, signal);
      const traced =
        asked.origin === true
          ? await withOrigins(encoder, named, { plan, timeoutMs: asked.origin_timeout_ms, signal })
          : { hits: named, notes: [] };
      return {
        question,
        ...result,
        notes: [...notes, ...result.notes, ...traced.notes],
        query_terms: namedTerms(vector, names),
        truncated,
        title_field: plan.title_field,
        text_fields: plan.text_fields,
        hits: traced.hits,
      };
    },
    async query(index, question, asked = {}) {
      const found = await lookUp(index, undefined);
      const { vector, notes } = await encodeFor(index, found, question, asked);
      const capabilities = await cluster.capabilities();
      const { dialect = chooseDialect(capabilities), filter } = among(found, asked);
      const translated = translateQuery({
        ...asked,
        filter,
        vector,
        dialect,
        fields: searchedFields(found.plan).fields,
        max_clause_count: capabilities.max_clause_count,
      });
      return { ...translated, notes: [...notes, ...translated.notes] };
    },
  };
}

/**
 * Terms and their origins come from explanations and texts.
 * @throws CspladeError `encode_unsupported` for origins without a model.
 */
function explained(
  asked: QuestionOptions,
  { text_fields }: IndexPlan,
  { encodes }: Encoder,
): QuestionOptions {
  if (asked.origin !== true) return asked;
  if (!encodes.documents) {
    throw new CspladeError(
      "encode_unsupported",
      "Where added terms came from is found by encoding texts, and this process loaded no model.",
      { hint: "Leave origin out, or set query.encoder to model." },
    );
  }
  return { ...asked, explain: true, source: withTexts(asked.source, text_fields) };
}

/** What is asked of documents' sources, and their texts. */
function withTexts(
  source: SearchRequest["source"],
  text_fields: readonly string[],
): SearchRequest["source"] {
  if (source === false) return text_fields;
  if (source === undefined || source === "stored") return source;
  return [...new Set([...source, ...text_fields])];
}

/** How long reranking may take without a setting, milliseconds. */
const RERANK_MS = 3_000;

/** @throws CspladeError `query_invalid` for another number, or beside another order. */
function demandOrder(most: number, { body = {} }: QuestionOptions): void {
  if (!Number.isInteger(most) || most < 0 || most > MOST_RERANKED) {
    throw new CspladeError(
      "query_invalid",
      `${most} hits cannot be reranked: it is a whole number from 0 to ${MOST_RERANKED}.`,
    );
  }
  const other = ["sort", "search_after"].find((name) => name in body);
  if (other === undefined) return;
  throw new CspladeError("query_invalid", `Reranking has an order of its own: leave ${other} out.`);
}

/**
 * What a search needs besides where some of the indices cannot be asked: `neural_sparse` would fail on
 * their shards, and the ids of another model's vectors mean something else.
 */
function among(
  { foreign, without }: SearchedIndices,
  { dialect, filter }: Pick<QuestionOptions, "dialect" | "filter">,
): Pick<QuestionOptions, "dialect" | "filter"> {
  const others = [...foreign, ...without];
  if (others.length === 0) return { dialect, filter };
  const theirs = filter === undefined ? [] : [filter].flat();
  const ours = { bool: { must_not: [{ terms: { _index: others } }] } };
  return { dialect: dialect ?? "rank_feature", filter: [...theirs, ours] };
}

/**
 * Where dense vectors rank, a lexical part has BM25's words among its terms: that ranking is left out, and
 * scores tell more of the two others than ranks do (docs/search-measurements.md).
 */
function withRankings(
  hybrid: QuestionOptions["hybrid"] = {},
  { lexicon }: Encoder,
): QuestionOptions["hybrid"] {
  const isSaid = hybrid.rankings !== undefined || hybrid.weights !== undefined;
  return isSaid || lexicon === undefined
    ? hybrid
    : { technique: "min_max", ...hybrid, rankings: ["csplade", "dense"] };
}

/** The field that heads a document of somebody else's. */
function headingOf(text_fields: readonly string[]): string {
  const usual = ["title", "name", "subject"].find((name) => text_fields.includes(name));
  return usual ?? text_fields[0] ?? "";
}

/** A question's whole vector. */
interface Encoded extends WordedVector {
  /** For an index with dense vectors, in the mode that asks them. */
  readonly dense?: readonly number[] | undefined;
  readonly truncated: boolean;
}

function namedTerms(vector: SparseVector, names: TermNames): EncodedQuestion["terms"] {
  return Array.from(termsOf(vector), ([id, weight]) => ({ id, term: names.term(id), weight }));
}
