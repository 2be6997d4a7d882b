/**
 * A search's body → the places in it that the gateway has something to do with, as plain data. It
 * needs nothing from outside, so that a large body can be scanned in another thread; its work
 * grows with the body's length, and what it gives is limited.
 */
import { type Node, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";
import { CspladeError } from "../errors/csplade-error.js";
import { ClauseError, readClause, type CspladeClause } from "./csplade-clause.js";
import { hitsPageOf, type HitsPage } from "./hits-page.js";
import { property, stringAt, walkSearchBody } from "./query-walk.js";
import { pagingOf, type Paging } from "./paging.js";
import { targetOfHeader, type SearchTarget } from "./search-target.js";
import { searchBarQuestion, textQuestion, type TextQuestion } from "./text-question.js";
import { vectorQuestion } from "./vector-question.js";

/** What is looked for. */
export interface ScanOptions {
  /** Text queries that a rule may widen. */
  readonly questions: boolean;
  /** Fields whose `neural_sparse`, `sparse_vector`, `semantic` and `match` ask for our vectors. */
  readonly vector_fields: readonly string[];
  /** Most clauses in all searches of a request; more are refused. */
  readonly max_clauses: number;
  /** Whether a rule may have hits reranked. */
  readonly reranks?: boolean;
}

/** Where queries are added to the `must` of a bool, whichever form it has. */
export interface MustSlot {
  readonly start: number;
  readonly open: string;
  readonly close: string;
  /** Something that has to stand behind the old value. */
  readonly tail?: { readonly at: number; readonly content: string };
}

/** A query that may be replaced. Offsets are UTF-16 units of the whole text. */
export interface ScannedPlace {
  /** For messages: `query.bool.must[0]`. */
  readonly path: string;
  /** Path of the innermost `nested` around it. */
  readonly nested: string | undefined;
  readonly start: number;
  readonly end: number;
  /** A `csplade` clause; somebody else's query for vectors; a text query. */
  readonly kind: "clause" | "vectors" | "text";
  /** Of a clause and of a query for vectors. */
  readonly clause?: CspladeClause;
  /** Of a query for vectors. */
  readonly field?: string;
  /** Of a text query. */
  readonly question?: TextQuestion;
  /** Of a query for vectors that adds nothing to the score of the search's own hits. */
  readonly unscored?: true;
  /** Of a text in the filter of the body's outermost bool. */
  readonly must?: MustSlot;
}

/** A search that has such places. */
export interface ScannedSearch {
  readonly target: SearchTarget;
  /** From 1, in an `_msearch`. */
  readonly number?: number;
  readonly places: readonly ScannedPlace[];
  /** Id of the point in time that the body names, instead of indices. */
  readonly pit: string | undefined;
  /** Lucene clauses of the rest of the body, at most. */
  readonly other_clauses: number;
  /** Of a search whose next page may be asked for with `search_after`. */
  readonly paging?: Paging;
  /** Of a search whose hits may be reranked. */
  readonly page?: HitsPage;
}

/** What was found. */
export interface Scan {
  readonly searches: readonly ScannedSearch[];
  /** Text queries beyond {@link MAX_QUESTIONS}, which stay as they are. */
  readonly skipped_questions: number;
}

/**
 * Deepest body that is looked into. OpenSearch 3.6 has no limit of its own: a `bool` nested
 * some thousand times ends its process with a stack overflow.
 */
const MAX_DEPTH = 256;

/** Most text queries of a request that rules look at. */
const MAX_QUESTIONS = 256;

/** Most terms of all `query_tokens` of a request. */
const MAX_TOKENS = 65_536;

/** Whether there can be a clause in a body; wrong only on the safe side. */
export function mayHaveClause(body: Buffer): boolean {
  return body.includes("csplade");
}

/**
 * Scans the body of a request.
 * @throws ClauseError for a clause that is not valid, CspladeError `batch_too_large` for too many.
 */
export function scanSearches(text: string, target: SearchTarget, options: ScanOptions): Scan {
  const budget: Budget = { clauses: 0, tokens: 0, questions: 0, skipped: 0 };
  const searches: ScannedSearch[] = [];
  if (target.body === "search") {
    const found = scanOne(text, 0, text.length, target, options, budget);
    if (found !== undefined) searches.push(found);
  } else {
    // The cluster takes one empty line before the first header.
    let at = text.startsWith("\n") ? 1 : 0;
    for (let number = 1; ; number++) {
      const header = text.indexOf("\n", at);
      if (header < 0) break;
      const next = text.indexOf("\n", header + 1);
      const end = next < 0 ? text.length : next;
      const found = inSearch(number, () => scanOne(text, header + 1, end, target, options, budget));
      if (found !== undefined) {
        searches.push({ ...found, number, target: targetOfHeader(text.slice(at, header), target) });
      }
      if (next < 0) break;
      at = next + 1;
    }
  }
  if (budget.clauses > options.max_clauses) {
    throw tooMuch(`${budget.clauses} csplade clauses`, `${options.max_clauses} are taken at once`);
  }
  if (budget.tokens > MAX_TOKENS) {
    throw tooMuch(`${budget.tokens} query_tokens`, `${MAX_TOKENS} are taken at once`);
  }
  return { searches, skipped_questions: budget.skipped };
}

/** Errors of one search of many say which. */
function inSearch<T>(number: number | undefined, scan: () => T): T {
  try {
    return scan();
  } catch (thrown) {
    throw ofSearch(number, thrown);
  }
}

/** An error that says in which search of an `_msearch` it happened. */
export function ofSearch(number: number | undefined, thrown: unknown): unknown {
  if (number === undefined || !(thrown instanceof CspladeError)) return thrown;
  const { code, hint } = thrown;
  const message = `In search ${number}: ${thrown.message}`;
  if (thrown instanceof ClauseError) return new ClauseError(message, thrown.offset, hint);
  return new CspladeError(code, message, {
    cause: thrown,
    ...(hint === undefined ? {} : { hint }),
  });
}

interface Budget {
  clauses: number;
  tokens: number;
  questions: number;
  skipped: number;
}

function scanOne(
  whole: string,
  start: number,
  end: number,
  target: SearchTarget,
  options: ScanOptions,
  budget: Budget,
): ScannedSearch | undefined {
  const text = withoutMark(whole.slice(start, end));
  const tooDeep = offsetBelow(text, MAX_DEPTH);
  if (tooDeep !== undefined) {
    if (!text.includes("csplade")) return undefined;
    throw new ClauseError(
      `The search's body is nested more than ${MAX_DEPTH} levels deep; with a csplade clause it may not be.`,
      start + tooDeep,
    );
  }
  const errors: ParseError[] = [];
  const body = parseTree(text, errors, { allowTrailingComma: false });
  if (body?.type !== "object") return undefined;
  const found = findPlaces(body, options);
  const clauses = found.filter(({ kind }) => kind === "clause");
  const [error] = errors;
  if (error !== undefined) {
    // What has no clause is the cluster's to judge; its parser takes more than ours.
    if (clauses.length === 0) return undefined;
    throw new ClauseError(
      `The search's body is not JSON: ${printParseErrorCode(error.error)} at "${text.slice(error.offset, error.offset + 20)}".`,
      start + error.offset,
    );
  }
  budget.clauses += clauses.length;
  if (budget.clauses > options.max_clauses) return undefined;
  const places: ScannedPlace[] = [];
  const replaced = new Set<Node>();
  let reranks = false;
  for (const { kind, query, value, topBool, question, scored, ...place } of found) {
    if (kind === "text" && ++budget.questions > MAX_QUESTIONS) {
      budget.skipped += 1;
      continue;
    }
    const clause =
      value === undefined
        ? place.clause
        : readAt(start, () => readClause(query, value, place.path));
    if (clause !== undefined) replaced.add(query);
    if ((clause?.rerank ?? 0) > 0) {
      if (!scored || reranks) throw unfitReranking(place.path, start + query.offset, scored);
      reranks = true;
    }
    budget.tokens += Object.keys(clause?.query_tokens ?? {}).length;
    if (budget.tokens > MAX_TOKENS) return undefined;
    places.push({
      ...place,
      kind,
      start: start + query.offset,
      end: start + query.offset + query.length,
      ...(clause === undefined ? {} : { clause }),
      ...(question === undefined ? {} : { question }),
      ...(kind === "vectors" && !scored ? { unscored: true as const } : {}),
      ...(topBool === undefined ? {} : { must: mustSlot(topBool, start) }),
    });
  }
  if (places.length === 0) return undefined;
  const paging = target.scrolled === true ? undefined : pagingOf(body, start);
  return {
    target,
    places,
    pit: stringAt(property(body, "pit"), "id"),
    other_clauses: clausesOf(body, replaced),
    ...(paging === undefined ? {} : { paging }),
    ...(reranks || options.reranks === true ? { page: hitsPageOf(body, start) } : {}),
  };
}

function unfitReranking(path: string, offset: number, scored: boolean): ClauseError {
  return new ClauseError(
    scored
      ? `[${path}.csplade.rerank]: another clause of the search has it; hits have one order.`
      : `[${path}.csplade.rerank]: the clause adds nothing to the score of the search's hits.`,
    offset,
  );
}

/** Offsets into one search of many → into the whole body. */
function readAt<T>(start: number, read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    if (!(thrown instanceof ClauseError)) throw thrown;
    throw new ClauseError(thrown.message, start + thrown.offset, thrown.hint);
  }
}

interface FoundPlace {
  readonly path: string;
  readonly nested: string | undefined;
  readonly topBool: Node | undefined;
  /** Whether it adds to the score of the search's own hits. */
  readonly scored: boolean;
  readonly query: Node;
  readonly kind: ScannedPlace["kind"];
  /** Of a `csplade` clause, not read yet. */
  readonly value?: Node;
  readonly clause?: CspladeClause;
  readonly field?: string;
  readonly question?: TextQuestion;
}

function findPlaces(body: Node, { questions, vector_fields }: ScanOptions): FoundPlace[] {
  const found: FoundPlace[] = [];
  const named = new Set(vector_fields);
  walkSearchBody(body, (query, { scored, ...place }) => {
    const value = property(query, "csplade");
    if (value !== undefined) {
      found.push({ ...place, scored, query, kind: "clause", value, topBool: undefined });
      return;
    }
    const vectors = named.size === 0 ? undefined : vectorQuestion(query, named);
    if (vectors !== undefined) {
      found.push({ ...place, scored, query, kind: "vectors", ...vectors, topBool: undefined });
      return;
    }
    if (!questions || !(scored || place.topBool) || place.nested !== undefined) return;
    const question = place.topBool ? searchBarQuestion(query) : textQuestion(query);
    if (question !== undefined) found.push({ ...place, scored, query, kind: "text", question });
  });
  return found;
}

function mustSlot(bool: Node, base: number): MustSlot {
  const must = property(bool, "must");
  if (must === undefined) return { start: base + bool.offset + 1, open: '"must":[', close: "]," };
  if (must.type === "array") {
    const more = (must.children?.length ?? 0) > 0;
    return { start: base + must.offset + 1, open: "", close: more ? "," : "" };
  }
  return {
    start: base + must.offset,
    open: "[",
    close: ",",
    tail: { at: base + must.offset + must.length, content: "]" },
  };
}

/**
 * An upper estimate of the Lucene clauses of a body, as `estimateClauses` makes it of a value;
 * the queries that are to be replaced count as nothing matched.
 */
function clausesOf(node: Node, replaced: ReadonlySet<Node>): number {
  if (replaced.has(node)) return 2;
  if (node.type === "string") return String(node.value).trim().split(/\s+/).length - 1;
  let sum = node.type === "object" ? 1 : 0;
  for (const child of node.children ?? []) {
    const value = node.type === "object" ? child.children?.[1] : child;
    if (value !== undefined) sum += clausesOf(value, replaced);
  }
  return sum;
}

/** A byte order mark in front is no JSON, but clusters take it: a space keeps the offsets. */
function withoutMark(text: string): string {
  return text.startsWith("\uFEFF") ? ` ${text.slice(1)}` : text;
}

/** Where braces and brackets, those in strings not counted, go deeper than `limit`. */
function offsetBelow(text: string, limit: number): number | undefined {
  let [depth, inString] = [0, false];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (inString) {
      if (char === "\\") i++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === "{" || char === "[") {
      if (++depth > limit) return i;
    } else if (char === "}" || char === "]") depth--;
  }
  return undefined;
}

function tooMuch(what: string, limit: string): CspladeError {
  return new CspladeError("batch_too_large", `The request has ${what}; at most ${limit}.`, {
    hint: "Split it into several requests.",
  });
}
