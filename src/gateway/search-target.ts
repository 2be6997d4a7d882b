/** Which requests to a cluster are searches, and which indices they are about. */

/** How the body of a search is laid out. */
export type SearchBody =
  /** A search body, or an object with a `query` (`_count`, `_validate/query`, `_explain`). */
  | "search"
  /** `_msearch`: lines in pairs, a header and a search body. */
  | "msearch";

/** A request whose body may hold queries. */
export interface SearchTarget {
  readonly body: SearchBody;
  /** Indices as they stand in the URL (percent-encoded); undefined for all of them. */
  readonly expression: string | undefined;
  /** Options that decide what an index expression means, as the URL has them. */
  readonly options: IndexOptions;
  /** Of a scroll, whose pages hold no query. */
  readonly scrolled?: true;
}

/** `ignore_unavailable` and the like, by name. */
export type IndexOptions = Readonly<Record<string, string>>;

const INDEX_OPTIONS = ["ignore_unavailable", "allow_no_indices", "expand_wildcards"] as const;

/** The last parts of a search's path, after the index. */
const ENDINGS: readonly (readonly [parts: readonly string[], body: SearchBody])[] = [
  [["_search"], "search"],
  [["_count"], "search"],
  [["_validate", "query"], "search"],
  [["_async_search"], "search"],
  [["_msearch"], "msearch"],
];

/**
 * Recognizes searches by method and path. Scrolls, points in time, templates, deletes and
 * updates by query are none: their bodies hold no query, or none that may be widened.
 * @param url path and query string of the request.
 */
export function searchTarget(method: string, url: string): SearchTarget | undefined {
  if (method !== "POST" && method !== "GET") return undefined;
  const end = url.indexOf("?");
  const path = end < 0 ? url : url.slice(0, end);
  // Every such path has a segment that starts with an underscore.
  if (!path.includes("/_")) return undefined;
  const parameters = new URLSearchParams(end < 0 ? "" : url.slice(end));
  const options = indexOptions(parameters);
  const segments = path.split("/").filter((segment) => segment !== "");
  if (segments.join("/") === "_plugins/_asynchronous_search") {
    const index = parameters.get("index");
    return {
      body: "search",
      expression: index === null ? undefined : encodeURIComponent(index),
      options,
    };
  }
  const [first = ""] = segments;
  const expression = first.startsWith("_") && first !== "_all" ? undefined : first;
  const rest = expression === undefined ? segments : segments.slice(1);
  if (rest[0] === "_explain" && rest.length === 2 && expression !== undefined) {
    return { body: "search", expression, options };
  }
  for (const [parts, body] of ENDINGS) {
    if (rest.length === parts.length && parts.every((part, i) => rest[i] === part)) {
      const scrolled = parameters.has("scroll") ? { scrolled: true as const } : {};
      return { body, expression, options, ...scrolled };
    }
  }
  return undefined;
}

/** The indices, aliases and patterns of a target as people write them; none for all of them. */
export function namesOf({ expression }: SearchTarget): string[] {
  if (expression === undefined) return [];
  try {
    return decodeURIComponent(expression).split(",");
  } catch {
    return [expression];
  }
}

function indexOptions(parameters: URLSearchParams): IndexOptions {
  const options: Record<string, string> = {};
  for (const name of INDEX_OPTIONS) {
    const value = parameters.get(name);
    if (value !== null) options[name] = value;
  }
  return options;
}

/** The target of one search of an `_msearch`, whose header may name other indices. */
export function targetOfHeader(header: string, target: SearchTarget): SearchTarget {
  const parsed = header.trim() === "" ? {} : objectOf(header);
  const index = parsed.index ?? parsed.indices;
  const names = Array.isArray(index) ? index : [index];
  const expression = names.filter((name) => typeof name === "string" && name !== "").join(",");
  const options: Record<string, string> = { ...target.options };
  for (const name of INDEX_OPTIONS) {
    const value = parsed[name];
    if (typeof value === "boolean" || typeof value === "string") options[name] = String(value);
    else if (Array.isArray(value)) options[name] = value.join(",");
  }
  return {
    body: "search",
    expression: expression === "" ? target.expression : encodeURIComponent(expression),
    options,
  };
}

/** A header that is no JSON is the cluster's to refuse. */
function objectOf(json: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(json);
    return value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
