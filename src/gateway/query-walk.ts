/**
 * Where queries stand in a search body. A key `csplade` may as well be a field, an aggregation
 * or a parameter of a script; it is our clause only where the DSL has a query. The table of
 * those places covers the query DSL of OpenSearch 3 and Elasticsearch 9.
 */
import type { Node } from "jsonc-parser";

/** What is known of the place a query stands in. */
export interface QueryPlace {
  /** For messages: `query.bool.must[0]`. */
  readonly path: string;
  /** Path of the innermost `nested` around it. */
  readonly nested: string | undefined;
  /** Whether it adds to the score of the search's own hits. */
  readonly scored: boolean;
  /** The bool whose filter it is a direct part of, where that is the body's whole query. */
  readonly topBool: Node | undefined;
}

/** Called for every query object, outer before inner. */
export type QueryVisitor = (query: Node, place: QueryPlace) => void;

interface Context {
  readonly visit: QueryVisitor;
  readonly nested: string | undefined;
  readonly scored: boolean;
}

/** Parts of compound queries that hold queries, one or a list; `true` where they score. */
const COMPOUND: ReadonlyMap<string, Readonly<Record<string, boolean>>> = new Map([
  ["bool", { must: true, should: true, filter: false, must_not: false }],
  ["boosting", { positive: true, negative: false }],
  ["constant_score", { filter: false }],
  ["dis_max", { queries: true }],
  ["function_score", { query: true, filter: false }],
  ["script_score", { query: true }],
  ["nested", { query: true }],
  ["has_child", { query: true }],
  ["has_parent", { query: true }],
  ["hybrid", { queries: true, filter: false }],
  ["pinned", { organic: true }],
  ["rule", { organic: true }],
  ["knn", { filter: false }],
]);

/** Queries on a vector field, which may narrow its neighbours: `{knn: {field: {filter}}}`. */
const BY_FIELD: ReadonlySet<string> = new Set(["knn", "neural", "neural_sparse"]);

/** Visits every query of a search body. */
export function walkSearchBody(body: Node, visit: QueryVisitor): void {
  const context: Context = { visit, nested: undefined, scored: true };
  const unscored = { ...context, scored: false };
  eachProperty(body, (key, value) => {
    switch (key) {
      case "query":
        walkTopQuery(value, context);
        break;
      case "post_filter":
        walkQuery(value, "post_filter", unscored);
        break;
      case "rescore":
        walkRescore(value, "rescore", unscored);
        break;
      case "aggs":
      case "aggregations":
        walkAggregations(value, key, unscored);
        break;
      case "retriever":
        walkRetriever(value, "retriever", context);
        break;
      case "knn":
        eachItem(value, "knn", (item, path) => {
          walkQueries(property(item, "filter"), `${path}.filter`, unscored);
        });
        break;
      default:
        walkHitPart(key, value, key, unscored);
    }
  });
}

/** The body's query: a text in its bool's filter may be what somebody typed in a search bar. */
function walkTopQuery(query: Node, context: Context): void {
  const bool = property(query, "bool");
  const filters = new Set<Node>();
  eachItem(property(bool, "filter"), "", (item) => filters.add(item));
  walkQuery(query, "query", {
    ...context,
    visit: (node, place) =>
      context.visit(node, filters.has(node) ? { ...place, topBool: bool } : place),
  });
}

function walkQuery(query: Node | undefined, path: string, context: Context): void {
  if (query?.type !== "object") return;
  const { visit, nested, scored } = context;
  visit(query, { path, nested, scored, topBool: undefined });
  eachProperty(query, (type, body) => {
    const inside = `${path}.${type}`;
    const parts = COMPOUND.get(type);
    if (parts !== undefined) {
      const within = type === "nested" ? (stringAt(body, "path") ?? nested) : nested;
      for (const [part, scores] of Object.entries(parts)) {
        const place = { ...context, nested: within, scored: scored && scores && !isIdle(body) };
        walkQueries(property(body, part), `${inside}.${part}`, place);
      }
    }
    if (type === "function_score") {
      eachItem(property(body, "functions"), `${inside}.functions`, (each, at) => {
        walkQuery(property(each, "filter"), `${at}.filter`, { ...context, scored: false });
      });
    }
    if (BY_FIELD.has(type)) {
      eachProperty(body, (field, options) => {
        const filter =
          property(options, "filter") ?? property(property(options, "method_parameters"), "filter");
        walkQueries(filter, `${inside}.${field}.filter`, { ...context, scored: false });
      });
    }
    walkInnerHits(property(body, "inner_hits"), `${inside}.inner_hits`, context);
  });
}

/** A query of boost 0 finds and does not score. */
function isIdle(body: Node): boolean {
  return property(body, "boost")?.value === 0;
}

/** One query or a list of them. */
function walkQueries(value: Node | undefined, path: string, context: Context): void {
  eachItem(value, path, (query, at) => walkQuery(query, at, context));
}

function walkRescore(value: Node, path: string, context: Context): void {
  eachItem(value, path, (each, at) => {
    const query = property(property(each, "query"), "rescore_query");
    walkQuery(query, `${at}.query.rescore_query`, context);
  });
}

function walkAggregations(value: Node | undefined, path: string, context: Context): void {
  eachProperty(value, (name, aggregation) => {
    const at = `${path}.${name}`;
    let inside = context;
    eachProperty(aggregation, (type, body) => {
      if (type === "nested") inside = { ...context, nested: stringAt(body, "path") };
      if (type === "reverse_nested") inside = { ...context, nested: stringAt(body, "path") };
      walkAggregation(type, body, `${at}.${type}`, context);
    });
    for (const key of ["aggs", "aggregations"]) {
      walkAggregations(property(aggregation, key), `${at}.${key}`, inside);
    }
  });
}

function walkAggregation(type: string, body: Node, path: string, context: Context): void {
  switch (type) {
    case "filter":
      walkQuery(body, path, context);
      break;
    case "filters":
    case "adjacency_matrix": {
      const filters = property(body, "filters");
      if (filters?.type === "array") walkQueries(filters, `${path}.filters`, context);
      else {
        eachProperty(filters, (name, filter) => {
          walkQuery(filter, `${path}.filters.${name}`, context);
        });
      }
      break;
    }
    case "significant_terms":
    case "significant_text":
      walkQuery(property(body, "background_filter"), `${path}.background_filter`, context);
      break;
    case "top_hits":
      eachProperty(body, (key, value) => walkHitPart(key, value, `${path}.${key}`, context));
      break;
  }
}

/** Elasticsearch's retrievers. */
function walkRetriever(retriever: Node | undefined, path: string, context: Context): void {
  const unscored = { ...context, scored: false };
  eachProperty(retriever, (type, body) => {
    const at = `${path}.${type}`;
    walkQuery(property(body, "query"), `${at}.query`, context);
    walkQueries(property(body, "filter"), `${at}.filter`, unscored);
    walkRetriever(property(body, "retriever"), `${at}.retriever`, context);
    eachItem(property(body, "retrievers"), `${at}.retrievers`, (each, place) => {
      // `linear` wraps each retriever together with its weight.
      const wrapped = property(each, "retriever");
      walkRetriever(wrapped ?? each, wrapped === undefined ? place : `${place}.retriever`, context);
    });
    const rescore = property(body, "rescore");
    if (rescore !== undefined) walkRescore(rescore, `${at}.rescore`, unscored);
  });
}

/** Parts that a search body shares with `top_hits` and `inner_hits`. */
function walkHitPart(key: string, value: Node, path: string, context: Context): void {
  if (key === "highlight") walkHighlight(value, path, context);
  if (key === "collapse") {
    walkInnerHits(property(value, "inner_hits"), `${path}.inner_hits`, context);
  }
  if (key === "sort") {
    eachItem(value, path, (each, at) => {
      eachProperty(each, (field, options) => {
        let nested = property(options, "nested");
        let place = `${at}.${field}.nested`;
        while (nested !== undefined) {
          const within = { ...context, nested: stringAt(nested, "path") };
          walkQuery(property(nested, "filter"), `${place}.filter`, within);
          nested = property(nested, "nested");
          place += ".nested";
        }
      });
    });
  }
}

function walkInnerHits(value: Node | undefined, path: string, context: Context): void {
  const unscored = { ...context, scored: false };
  eachItem(value, path, (each, at) => {
    eachProperty(each, (key, part) => walkHitPart(key, part, `${at}.${key}`, unscored));
  });
}

function walkHighlight(highlight: Node, path: string, context: Context): void {
  walkQuery(property(highlight, "highlight_query"), `${path}.highlight_query`, context);
  eachItem(property(highlight, "fields"), `${path}.fields`, (fields, at) => {
    eachProperty(fields, (field, options) => {
      const place = `${at}.${field}.highlight_query`;
      walkQuery(property(options, "highlight_query"), place, context);
    });
  });
}

/** The value of an object's property; undefined for anything that has none. */
export function property(node: Node | undefined, name: string): Node | undefined {
  if (node?.type !== "object") return undefined;
  return node.children?.find((each) => each.children?.[0]?.value === name)?.children?.[1];
}

/** An object's properties in order, those that lack a value left out. */
export function eachProperty(
  node: Node | undefined,
  call: (name: string, value: Node) => void,
): void {
  if (node?.type !== "object") return;
  for (const { children } of node.children ?? []) {
    const [name, value] = children ?? [];
    if (name !== undefined && value !== undefined) call(String(name.value), value);
  }
}

/** The items of a list, or the value itself where it is no list. */
function eachItem(
  node: Node | undefined,
  path: string,
  call: (item: Node, path: string) => void,
): void {
  if (node === undefined) return;
  if (node.type !== "array") call(node, path);
  else node.children?.forEach((item, i) => call(item, `${path}[${i}]`));
}

/** A string property's value. */
export function stringAt(node: Node | undefined, name: string): string | undefined {
  const value: unknown = property(node, name)?.value;
  return typeof value === "string" ? value : undefined;
}
