/** A search made ready: checked, translated, and how it is put to the cluster. */
import type { Capabilities } from "../cluster/capabilities.js";
import { parseAnswer } from "../cluster/answer-text.js";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, type ClusterResponse } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { checkSearchBody, type SearchBody, type BodyParts } from "./search-body.js";
import { chooseDialect } from "./query-dialect.js";
import {
  translateQuery,
  type TranslatedQuery,
  type TranslationRequest,
  type VectorField,
} from "./query-translator.js";
import { PASSAGE_HITS, readAnswer, storedHits, type SearchAnswer } from "./search-answer.js";
import { refusedSearch } from "./search-failure.js";
import { needsText, type SearchMode } from "./search-mode.js";
import type { SearchRequest } from "./search-request.js";

/** The field that holds a document's vector, unless passages are nested. */
const DEFAULT_FIELDS: readonly VectorField[] = [{ name: "csplade" }];

const DEFAULT_TEXT_FIELDS: readonly string[] = ["title", "text"];

/** A search that can be put to the cluster. */
export interface PreparedSearch {
  readonly cluster: Cluster;
  readonly capabilities: Capabilities;
  readonly request: SearchRequest;
  readonly mode: SearchMode;
  readonly fields: readonly VectorField[];
  readonly text_fields: readonly string[];
  /** The question in words; empty where the mode needs none. */
  readonly text: string;
  readonly from: number;
  readonly size: number;
  readonly body: SearchBody;
  readonly translation: TranslationRequest;
  /** The query of a plain search. */
  readonly plain: TranslatedQuery;
}

/**
 * Checks a request and translates it.
 * @throws CspladeError `query_invalid`, `cluster_unreachable`, and others of the cluster's.
 */
export async function prepareSearch(
  cluster: Cluster,
  request: SearchRequest,
): Promise<PreparedSearch> {
  const { size = 10, from = 0, mode = "plain", fields = DEFAULT_FIELDS } = request;
  checkWindow(from, size);
  if (needsText(mode) && request.text === undefined) {
    throw new CspladeError(
      "query_invalid",
      `A search in mode ${mode} needs the question in words besides its vector.`,
      { hint: "Give text, or search in mode plain or two_phase." },
    );
  }
  const body = checkSearchBody(request.body, mode);
  const capabilities = await cluster.capabilities();
  const translation: TranslationRequest = {
    vector: request.vector,
    dialect: request.dialect ?? chooseDialect(capabilities),
    fields,
    filter: request.filter,
    max_clause_count: capabilities.max_clause_count,
    inner_hits: { size: 1, _source: false },
    inner_hits_prefix: PASSAGE_HITS,
  };
  return {
    cluster,
    capabilities,
    request,
    mode,
    fields,
    text_fields: request.text_fields ?? DEFAULT_TEXT_FIELDS,
    text: request.text ?? "",
    from,
    size,
    body,
    translation,
    plain: translateQuery(translation),
  };
}

/** Sends a search body; the answer may be a refusal. */
export async function post(asked: PreparedSearch, body: BodyParts): Promise<ClusterResponse> {
  const { timeoutMs, signal, index } = asked.request;
  const request = {
    method: "POST",
    path: pathOf(index, "_search"),
    body,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(signal === undefined ? {} : { signal }),
  } as const;
  if (body._source !== true) return await asked.cluster.send(request);
  const { text, ...answer } = await asked.cluster.sendText(request);
  const what = `the search on ${index}`;
  if (answer.status >= 400)
    return { ...answer, body: answer.json ? parseAnswer(text, what) : text };
  return { ...answer, body: storedHits(text, vectorFieldsOf(asked), what) };
}

/**
 * Reads the answer to {@link post}.
 * @throws CspladeError that says which part of the request to change.
 */
export async function accepted(
  asked: PreparedSearch,
  answer: ClusterResponse,
): Promise<SearchAnswer> {
  if (answer.status >= 400) {
    throw await refusedSearch(
      asked.cluster,
      answer,
      { ...asked.request, fields: asked.fields },
      asked.plain.dialect,
    );
  }
  return readAnswer(asked.cluster, asked.request.index, answer);
}

/** Members of a document that hold the vectors that are searched. */
function vectorFieldsOf({ fields, request }: PreparedSearch): string[] {
  return [...fields.map(({ name, nested_path }) => nested_path ?? name), ...otherFields(request)];
}

/** Fields of vectors besides those that are searched in every mode. */
function otherFields({ ann_field, dense_field }: SearchRequest): string[] {
  return [ann_field?.name, dense_field].filter((name) => name !== undefined);
}

/** The parts of a body that return documents. */
export function shownParts({ request, fields, body }: PreparedSearch): BodyParts {
  return {
    // Without it the engine gives no scores beside a sort by other things.
    ...(body.shown.sort === undefined ? {} : { track_scores: true }),
    ...body.shown,
    // A list of fields makes the cluster build documents anew.
    _source:
      request.source === "stored"
        ? true
        : (request.source ?? {
            excludes: [...fields.map(({ name }) => name), ...otherFields(request)],
          }),
  };
}

/** The parts of a body that return one page of hits, and what was asked around it. */
export function pageParts(asked: PreparedSearch): BodyParts {
  const { body, size, from } = asked;
  return { ...shownParts(asked), ...body.ranking, ...body.whole, size, from };
}

/** `min_score` of modes whose scores are final only after the cluster applied its own. */
export function isAbove({ body }: PreparedSearch): (hit: { readonly score: number }) => boolean {
  return ({ score }) => score >= (body.min_score ?? -Infinity);
}

/** Whether hits lie in nested passages, so that the best of them must be asked for. */
export function isNested({ fields }: PreparedSearch): boolean {
  return fields.some((field) => field.nested_path !== undefined);
}

/** `parts` that also return the values of a field, to collapse by. */
export function withValuesOf(parts: BodyParts, field: string): BodyParts {
  const fields: readonly unknown[] = Array.isArray(parts.docvalue_fields)
    ? parts.docvalue_fields
    : [];
  return { ...parts, docvalue_fields: [...fields, field] };
}

function checkWindow(from: number, size: number): void {
  const whole = Number.isInteger(size) && Number.isInteger(from) && size >= 0 && from >= 0;
  if (whole && from + size <= 10_000) return;
  throw new CspladeError(
    "query_invalid",
    `A search returns at most the first 10,000 hits; got from ${from} and size ${size}.`,
    { hint: "Both are whole numbers of at least 0, together at most 10,000." },
  );
}
