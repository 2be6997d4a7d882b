/**
 * Searches, alone or in an `_msearch`, whose first hits a reranker puts into its own order. The cluster is asked for all hits that
 * it is to look at, and what goes back is a page of them in the new order: each hit's bytes as they came
 * but for `_score`. Their texts are asked for by a search of their own, with the caller's rights: the
 * caller's own search may leave `_source` out, and need not carry it twice.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { documentSchema } from "../cluster/lifted-sources.js";
import { reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { itemsOf, membersOf, skipSpace, valueOf } from "../json/positions.js";
import { fieldsText } from "../query/search-result.js";
import { rerank } from "../rerank/rerank.js";
import type { Reranker } from "../rerank/reranker.js";
import { ClauseError } from "./csplade-clause.js";
import { firstHits, type HitsPage } from "./hits-page.js";
import { ofSearch } from "./search-scan.js";
import type { SearchTarget } from "./search-target.js";
import { applyEdits, type Edit } from "./text-edits.js";
import { warningHeaders, type Upstream } from "./upstream.js";

/** What a clause or a rule asks of a reranker. */
export interface AskedReranking {
  /** A clause's reranking is refused where it cannot be; a rule's is left out there. */
  readonly by: "clause" | "rule";
  readonly question: string;
  /** How many hits are looked at. */
  readonly hits: number;
  readonly text_fields: readonly string[];
  readonly page: HitsPage;
  readonly target: SearchTarget;
  readonly pit: string | undefined;
  /** From 1, in an `_msearch`. */
  readonly number: number | undefined;
  /** The place of the query, for messages. */
  readonly path: string;
  readonly start: number;
}

/** A search that is reranked. */
export interface RerankedSearch extends Omit<AskedReranking, "page" | "by"> {
  /** The request's, without what is in the body now. */
  readonly url: string;
  readonly edits: readonly Edit[];
  readonly from: number;
  readonly size: number;
}

/** Searches of an `_msearch` that are reranked at a time: each waits for the cluster, then for the reranker. */
const AT_ONCE = 4;

/** Options in a URL that a page in another order cannot keep. */
const REFUSED_OPTIONS = ["scroll", "sort", "filter_path", "format"];

const JSON_TYPE = /^\s*application\/(?:[^;]*\+)?json\b/i;

/**
 * What a search that is to be reranked asks the cluster for; nothing where it stays as it is: for a page
 * behind what is looked at, for no hits, and for numbers that are the cluster's to refuse.
 * @throws ClauseError where a clause asks for what cannot be.
 */
export function planReranking(
  { by, page, ...asked }: AskedReranking,
  request: Pick<IncomingMessage, "url" | "headers">,
  hasReranker: boolean,
): RerankedSearch | undefined {
  const [path = "", ...query] = (request.url ?? "").split("?");
  const options = query.length === 0 ? [] : query.join("?").split("&");
  const parameters = new URLSearchParams(query.join("?"));
  const wrong = obstacle(path, parameters, page, request.headers.accept, hasReranker);
  if (wrong !== undefined) {
    if (by === "rule") return undefined;
    const { path: place, start, number } = asked;
    throw ofSearch(number, new ClauseError(`[${place}.csplade.rerank]: ${wrong}`, start));
  }
  const inUrl = (name: string) => (asked.number === undefined ? parameters.get(name) : null);
  const from = wholeNumber(inUrl("from") ?? page.from?.value ?? 0);
  const size = wholeNumber(inUrl("size") ?? page.size?.value ?? 10);
  if (from === undefined || size === undefined || size === 0 || from >= asked.hits) {
    return undefined;
  }
  const others = options.filter(
    (option) => asked.number !== undefined || !/^(?:from|size)(?:=|$)/.test(option),
  );
  return {
    ...asked,
    url: others.length === 0 ? path : `${path}?${others.join("&")}`,
    edits: firstHits(page, Math.max(asked.hits, from + size)),
    from,
    size,
  };
}

function obstacle(
  path: string,
  parameters: URLSearchParams,
  { ordered_by }: HitsPage,
  accept = "",
  hasReranker: boolean,
): string | undefined {
  if (!hasReranker) {
    return "no reranker is configured; name a cross-encoder's directory with rerank.model, or a server with rerank.remote.";
  }
  if (!/\/_m?search\/?$/.test(path)) return "only the hits of _search and _msearch are reranked.";
  if (ordered_by !== undefined) {
    return `reranking has an order of its own: leave ${ordered_by} out, and page with from and size.`;
  }
  const option = REFUSED_OPTIONS.find((name) => parameters.has(name));
  if (option !== undefined) return `reranking does not go with ${option} in the URL.`;
  const asksJson = accept === "" || /\*\/\*|json/i.test(accept);
  return asksJson ? undefined : "reranking needs an answer in JSON, and accept names another form.";
}

function wholeNumber(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isInteger(number) && number >= 0 ? number : undefined;
}

/** What answers a reranked search. */
export interface RerankingMeans {
  readonly upstream: Upstream;
  readonly reranker: Reranker;
  readonly timeoutMs: number;
  /** On behalf of the caller. */
  readonly cluster: Cluster;
  readonly signal: AbortSignal;
}

/**
 * Answers a `_search`, or an `_msearch` of which some searches are reranked.
 * @param body rewritten, the pages too.
 * @throws CspladeError as {@link Upstream.ask}; `cluster_answer_invalid`; the signal's reason.
 */
export async function answerReranked(
  request: IncomingMessage,
  response: ServerResponse,
  searches: readonly [RerankedSearch, ...RerankedSearch[]],
  { body, warnings }: { readonly body: string; readonly warnings: readonly string[] },
  means: RerankingMeans,
): Promise<void> {
  const { upstream, signal } = means;
  const sent = { body: Buffer.from(body), url: searches[0].url };
  const { status, headers, content, type } = await upstream.ask(request, sent, signal);
  if (status === 200 && !JSON_TYPE.test(type)) {
    throw new CspladeError("cluster_answer_invalid", `The answer to a search is no JSON: ${type}.`);
  }
  const { text, notes } =
    status === 200
      ? await rerankedAnswers(content.toString("utf8"), searches, means)
      : { text: content, notes: [] };
  signal.throwIfAborted();
  const length = ["content-length", String(Buffer.byteLength(text))];
  response.writeHead(status, [...headers, ...warningHeaders([...warnings, ...notes]), ...length]);
  response.end(text);
}

/** A hit, as it is in the answer. */
interface AnsweredHit {
  readonly json: string;
  readonly key: string;
  readonly id: string;
  readonly index: string;
  /** Where its score stands in `json`. */
  readonly score: Pick<Edit, "start" | "end"> | undefined;
}

/** An answer with its hits in their new order, and why those of a search are not. */
interface InOrder {
  readonly text: string;
  readonly notes: readonly string[];
}

/** All searches of a request share the time that reranking has. */
async function rerankedAnswers(
  text: string,
  searches: readonly [RerankedSearch, ...RerankedSearch[]],
  means: RerankingMeans,
): Promise<InOrder> {
  const late = AbortSignal.timeout(means.timeoutMs);
  const [first] = searches;
  if (first.number === undefined) return await rerankedAnswer(text, first, means, late);
  const responses = valueOf(text, skipSpace(text, 0), "responses");
  const answers = responses === undefined ? [] : itemsOf(text, responses);
  const edits: Edit[] = [];
  const notes: string[] = [];
  const waiting = searches.values();
  const work = async (): Promise<void> => {
    for (const search of waiting) {
      const { number = 0 } = search;
      const answer = answers[number - 1];
      if (answer === undefined) continue;
      const { start, end } = answer;
      const one = await rerankedAnswer(text.slice(start, end), search, means, late);
      edits.push({ start, end, content: one.text });
      notes.push(...one.notes.map((note) => `In search ${number}: ${note}`));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { text: applyEdits(text, edits), notes };
}

async function rerankedAnswer(
  text: string,
  search: RerankedSearch,
  { reranker, timeoutMs, cluster, signal }: RerankingMeans,
  late: AbortSignal,
): Promise<InOrder> {
  const hits = valueOf(text, skipSpace(text, 0), "hits");
  const list = hits === undefined ? undefined : valueOf(text, hits, "hits");
  if (hits === undefined || list === undefined) return { text, notes: [] };
  const items = itemsOf(text, list);
  const [first, second] = items;
  const last = items.at(-1);
  if (first === undefined || last === undefined) return { text, notes: [] };
  const found = items.map(({ start, end }) => hitOf(text.slice(start, end)));
  const ranked = await rerank(
    reranker,
    search.question,
    found,
    (looked, until) => textsOf(looked, search, cluster, until),
    { hits: search.hits, timeoutMs, late, signal },
  );
  const page = ranked.hits.slice(search.from, search.from + search.size).map(scored);
  const between = second === undefined ? "," : text.slice(first.end, second.start);
  const edits = [{ start: first.start, end: last.end, content: page.join(between) }];
  const best = ranked.hits[0]?.rerank_score;
  const max = membersOf(text, hits).find(({ name }) => name === "max_score");
  if (best !== undefined && max !== undefined) {
    edits.push({ start: max.value, end: max.end, content: JSON.stringify(best) });
  }
  const { done, reason = "" } = ranked.reranking;
  return {
    text: applyEdits(text, edits),
    notes: done ? [] : [`The hits were not reranked: ${reason}.`],
  };
}

function hitOf(json: string): AnsweredHit {
  const members = new Map(membersOf(json, 0).map((member) => [member.name, member]));
  const stringOf = (name: string): string => {
    const member = members.get(name);
    return member === undefined ? "" : String(JSON.parse(json.slice(member.value, member.end)));
  };
  const score = members.get("_score");
  const [id, index] = [stringOf("_id"), stringOf("_index")];
  return {
    json,
    id,
    index,
    key: keyOf(index, id),
    score: score === undefined ? undefined : { start: score.value, end: score.end },
  };
}

function scored({ json, score, rerank_score }: AnsweredHit & { rerank_score?: number }): string {
  if (score === undefined || rerank_score === undefined) return json;
  return applyEdits(json, [{ ...score, content: JSON.stringify(rerank_score) }]);
}

const textsSchema = z.object({
  hits: z.object({
    hits: z.array(
      z.object({ _index: z.string(), _id: z.string(), _source: documentSchema.optional() }),
    ),
  }),
});

/** Most hits of one search, by a cluster's default. */
const MOST_HITS = 10_000;

/** The texts of hits, empty for one that is gone. */
async function textsOf(
  hits: readonly AnsweredHit[],
  { target: { expression, options }, pit, text_fields }: RerankedSearch,
  cluster: Cluster,
  signal: AbortSignal,
): Promise<string[]> {
  const ids = [...new Set(hits.map(({ id }) => id))];
  const indices = [...new Set(hits.map(({ index }) => index))];
  const inPit = pit !== undefined && expression === undefined;
  const { status, body } = await cluster.send({
    method: "POST",
    path: expression === undefined ? "/_search" : `/${expression}/_search`,
    query: inPit ? {} : options,
    body: {
      size: Math.min(MOST_HITS, ids.length * indices.length),
      _source: text_fields,
      query: { bool: { filter: [{ ids: { values: ids } }, { terms: { _index: indices } }] } },
      ...(inPit ? { pit: { id: pit } } : {}),
    },
    signal,
  });
  if (status >= 400) throw new Error(`their texts were not given: ${reasonOf(body)}`);
  const answer = textsSchema.parse(body);
  const texts = new Map(
    answer.hits.hits.map(({ _index, _id, _source: source = {} }) => [
      keyOf(_index, _id),
      fieldsText({ source }, text_fields),
    ]),
  );
  return hits.map(({ key }) => texts.get(key) ?? "");
}

function keyOf(index: string, id: string): string {
  return `${index}\0${id}`;
}
