/**
 * Which text queries are questions in plain words, so that a rule may widen them by meaning.
 * What somebody wrote with operators, quotes or wildcards is left alone: they asked for that.
 */
import type { Node } from "jsonc-parser";
import { eachProperty, property, stringAt } from "./query-walk.js";

/** A text that somebody searches for, and where. */
export interface TextQuestion {
  readonly text: string;
  /** Fields it is looked for in, boosts left out; undefined for the index's default. */
  readonly fields: readonly string[] | undefined;
}

/** Lucene's and simple_query_string's syntax, and the words that are operators. */
const SYNTAX = /[+\-=&|><!(){}[\]^"~*?:\\/]|\b(?:AND|OR|NOT|TO)\b/;

/** Reads a query object; undefined if it is no text query, or not in plain words. */
export function textQuestion(query: Node): TextQuestion | undefined {
  if (query.children?.length !== 1) return undefined;
  let found: TextQuestion | undefined;
  eachProperty(query, (type, body) => {
    if (type === "match") found = matchQuestion(body);
    if (type === "multi_match" && isByWords(body)) found = question(body, false);
    if (type === "query_string" || type === "simple_query_string") found = question(body, true);
  });
  return found;
}

/**
 * Reads what a search bar makes of a text: a text query, or a `bool` with one as its only
 * alternative (DQL and KQL write `title: words` so).
 */
export function searchBarQuestion(query: Node): TextQuestion | undefined {
  const bool = property(query, "bool");
  if (bool === undefined) return textQuestion(query);
  const should = property(bool, "should");
  const only = should?.type === "array" ? should.children?.[0] : should;
  const others = (bool.children ?? []).some(
    (each) => !["should", "minimum_should_match"].includes(String(each.children?.[0]?.value)),
  );
  const alone = should?.type !== "array" || should.children?.length === 1;
  return only === undefined || others || !alone ? undefined : textQuestion(only);
}

function matchQuestion(body: Node): TextQuestion | undefined {
  if (body.children?.length !== 1) return undefined;
  let found: TextQuestion | undefined;
  eachProperty(body, (field, value) => {
    const text: unknown = value.type === "object" ? stringAt(value, "query") : value.value;
    if (typeof text !== "string" || text.trim() === "") return;
    if (value.type === "object" && !isAnyWord(value)) return;
    found = { text, fields: [field] };
  });
  return found;
}

/** Phrases and prefixes are exact on purpose. */
function isByWords(body: Node): boolean {
  const type = stringAt(body, "type") ?? "best_fields";
  return ["best_fields", "most_fields", "cross_fields"].includes(type);
}

/** Options under which a text still asks for any of its words, best matches first. */
const LOOSE: ReadonlySet<string> = new Set([
  ...["query", "fields", "default_field", "type", "_name", "analyzer", "quote_analyzer", "lenient"],
  ...["tie_breaker", "fuzziness", "prefix_length", "max_expansions", "fuzzy_transpositions"],
  ...[
    "fuzzy_rewrite",
    "fuzzy_prefix_length",
    "fuzzy_max_expansions",
    "zero_terms_query",
    "rewrite",
  ],
  ...[
    "auto_generate_synonyms_phrase_query",
    "analyze_wildcard",
    "allow_leading_wildcard",
    "escape",
  ],
  ...["enable_position_increments", "phrase_slop", "quote_field_suffix", "slop", "time_zone"],
  ...["max_determinized_states", "cutoff_frequency"],
]);

/**
 * Whether a text query asks for any of its words. `operator`, `minimum_should_match`, a boost of 0
 * and what is not known here ask for something else, which a rule must not widen.
 */
function isAnyWord(options: Node): boolean {
  let loose = true;
  eachProperty(options, (name, { value }: { value?: unknown }) => {
    if (name === "operator" || name === "default_operator") {
      loose &&= typeof value === "string" && value.toLowerCase() === "or";
    } else if (name === "boost") loose &&= typeof value === "number" && value > 0;
    else loose &&= LOOSE.has(name);
  });
  return loose;
}

/** More fields than somebody would name are not worth the time to compare them. */
const MAX_FIELDS = 128;

function question(body: Node, hasSyntax: boolean): TextQuestion | undefined {
  const text = stringAt(body, "query");
  if (text === undefined || text.trim() === "" || (hasSyntax && SYNTAX.test(text))) {
    return undefined;
  }
  if (!isAnyWord(body)) return undefined;
  const fields = property(body, "fields") ?? property(body, "default_field");
  if (fields === undefined) return { text, fields: undefined };
  const given = fields.type === "array" ? (fields.children ?? []) : [fields];
  if (given.length > MAX_FIELDS) return undefined;
  const names = given
    .map((each) => String(each.value))
    // A field of weight 0 finds and does not score.
    .filter((name) => !/\^0*(?:\.0*)?$/.test(name))
    .map((name) => name.replace(/\^[\d.]+$/, ""))
    .filter((name) => name !== "");
  return { text, fields: names };
}
