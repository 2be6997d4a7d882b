/** Stories of searching. */
import { lines, NDJSON, over, SEA, search, step, type Story } from "./conformance-story.js";

/** Queries that every cluster takes, one request each. */
const QUERIES: readonly (readonly [string, object])[] = [
  ["match", SEA],
  ["match with operator and", { match: { text: { query: "sea shore", operator: "and" } } }],
  ["multi_match", { multi_match: { query: "sea", fields: ["text", "kind"] } }],
  ["query_string", { query_string: { query: "sea OR lake", default_field: "text" } }],
  ["query_string that is broken", { query_string: { query: "sea AND (" } }],
  ["simple_query_string", { simple_query_string: { query: "sea | lake", fields: ["text"] } }],
  ["match_phrase", { match_phrase: { text: "calm sea" } }],
  [
    "term and terms",
    { bool: { filter: [{ term: { kind: "even" } }, { terms: { year: [2000, 2002] } }] } },
  ],
  ["range", { range: { year: { gte: 2003 } } }],
  [
    "prefix, wildcard and fuzzy",
    {
      bool: {
        should: [
          { prefix: { text: "mou" } },
          { wildcard: { text: "l*e" } },
          { fuzzy: { text: "sae" } },
        ],
      },
    },
  ],
  [
    "nested",
    { nested: { path: "parts", query: { term: { "parts.name": "p1" } }, inner_hits: {} } },
  ],
  [
    "function_score",
    {
      function_score: { query: SEA, functions: [{ filter: { term: { kind: "odd" } }, weight: 3 }] },
    },
  ],
  [
    "constant_score, boosting, dis_max",
    {
      dis_max: {
        queries: [
          { constant_score: { filter: SEA, boost: 2 } },
          { boosting: { positive: SEA, negative: { term: { kind: "odd" } }, negative_boost: 0.5 } },
        ],
      },
    },
  ],
  [
    "ids and exists",
    { bool: { must: [{ ids: { values: ["1", "2", "9"] } }, { exists: { field: "year" } }] } },
  ],
  ["match_none", { match_none: {} }],
  ["a field called csplade", { term: { csplade: "value" } }],
  ["a query that nobody knows", { no_such_query: {} }],
  ["two keys in one query", { match: { text: "sea" }, term: { kind: "odd" } }],
];

/** All of them. */
export const SEARCHES: readonly Story[] = [
  ...QUERIES.map(([title, query]) => over("queries", title, search({ query, size: 20 }))),

  over("pages", "from and size", ...[0, 3, 6].map((from) => search({ query: SEA, from, size: 3 }))),
  over("pages", "beyond the window", search({ from: 20_000, size: 1 }), search({ size: -1 })),
  over(
    "pages",
    "search_after",
    step(
      "POST",
      "/{i}/_search",
      { size: 3, sort: [{ year: "asc" }] },
      { keep: { after: "hits.hits.2.sort.0" } },
    ),
    step("POST", "/{i}/_search", '{"size":3,"sort":[{"year":"asc"}],"search_after":[{after}]}'),
    step("POST", "/{i}/_search", { size: 3, sort: [{ year: "asc" }], search_after: [1, 2] }),
    step("POST", "/{i}/_search", {
      query: SEA,
      size: 3,
      sort: [{ _score: "desc" }, { year: "asc" }],
    }),
  ),
  over(
    "pages",
    "a scroll to its end",
    step("POST", "/{i}/_search?scroll=1m", { size: 3, query: SEA }, { keep: { id: "_scroll_id" } }),
    step("POST", "/_search/scroll", '{"scroll":"1m","scroll_id":"{id}"}'),
    step("POST", "/_search/scroll", '{"scroll":"1m","scroll_id":"{id}"}'),
    step("DELETE", "/_search/scroll", '{"scroll_id":"{id}"}'),
    step("POST", "/_search/scroll", '{"scroll":"1m","scroll_id":"{id}"}'),
    step("POST", "/_search/scroll", { scroll: "1m" }),
  ),
  over(
    "pages",
    "a point in time",
    step("POST", "/{i}/_search/point_in_time?keep_alive=1m", undefined, { keep: { id: "pit_id" } }),
    step(
      "POST",
      "/_search",
      '{"pit":{"id":"{id}","keep_alive":"1m"},"size":3,"sort":[{"year":"asc"}]}',
    ),
    step("POST", "/{i}/_search", '{"pit":{"id":"{id}"}}'),
    step("DELETE", "/_search/point_in_time", '{"pit_id":["{id}"]}'),
    step("POST", "/_search", '{"pit":{"id":"{id}"},"size":3}'),
  ),

  over(
    "search",
    "aggregations",
    search({
      size: 0,
      aggs: {
        kinds: { terms: { field: "kind" }, aggs: { years: { stats: { field: "year" } } } },
        odd: { filter: { term: { kind: "odd" } } },
        csplade: { date_histogram: { field: "year", calendar_interval: "month" } },
      },
    }),
    search({ size: 0, aggs: { bad: { no_such_aggregation: {} } } }),
  ),
  over(
    "search",
    "highlights, source filters, fields",
    search({
      query: SEA,
      highlight: { fields: { text: {} } },
      _source: ["year"],
      fields: ["kind"],
      docvalue_fields: ["year"],
    }),
  ),
  over(
    "search",
    "collapse and inner hits",
    search({ query: SEA, collapse: { field: "kind", inner_hits: { name: "all", size: 2 } } }),
  ),
  over(
    "search",
    "rescore and explain",
    search({
      query: SEA,
      explain: true,
      rescore: { window_size: 3, query: { rescore_query: { term: { kind: "odd" } } } },
    }),
  ),
  over(
    "search",
    "suggest",
    search({ suggest: { more: { text: "sae", term: { field: "text" } } } }),
  ),
  over(
    "search",
    "profile, timeout, track_total_hits",
    search({ query: SEA, track_total_hits: false, timeout: "5s", terminate_after: 2 }),
  ),
  over(
    "search",
    "sort by a script and a missing field",
    search({ sort: [{ nothing: { order: "asc", unmapped_type: "long" } }, { year: "desc" }] }),
    search({ sort: ["nothing"] }),
  ),
  over(
    "search",
    "a body in GET, none, and one in the URL",
    step("GET", "/{i}/_search", { query: SEA }),
    step("GET", "/{i}/_search?q=text:sea&size=2"),
    step("POST", "/{i}/_search"),
  ),
  over(
    "search",
    "options of the URL",
    search({}, "?filter_path=hits.hits._id,took&size=1"),
    search({}, "?preference=_local&request_cache=false&pretty"),
    search({}, "?no_such_option=1"),
    search({}, "?format=yaml"),
    search({}, "?rest_total_hits_as_int=true&typed_keys"),
  ),
  over(
    "search",
    "templates",
    step("POST", "/{i}/_search/template", {
      source: '{"query":{"match":{"text":"{{q}}"}}}',
      params: { q: "sea" },
    }),
    step("POST", "/_render/template", { source: '{"size":{{n}}}', params: { n: 3 } }),
  ),
  over(
    "search",
    "count, validate, explain",
    step("POST", "/{i}/_count", { query: SEA }),
    step("GET", "/{i}/_count"),
    step("POST", "/{i}/_count", { query: { no: {} } }),
    step("POST", "/{i}/_validate/query?explain=true", { query: SEA }),
    step("POST", "/{i}/_validate/query", { query: { no: {} } }),
    step("POST", "/{i}/_explain/1", { query: SEA }),
    step("POST", "/{i}/_explain/99", { query: SEA }),
  ),
  over(
    "search",
    "term vectors, field capabilities, shards",
    step("POST", "/{i}/_termvectors/1?fields=text"),
    step("POST", "/{i}/_field_caps?fields=*"),
    step("GET", "/{i}/_search_shards"),
  ),
  over(
    "search",
    "asynchronous searches",
    step("POST", "/_plugins/_asynchronous_search?index={i}", { query: SEA }),
    step("POST", "/{i}/_async_search", { query: SEA }),
  ),
  over(
    "search",
    "numbers that JavaScript does not know",
    step(
      "PUT",
      "/{i}/_doc/big?refresh=true",
      '{"n":9007199254740993,"d":1.10,"e":1e400,"text":"sea"}',
    ),
    step("PUT", "/{i}/_doc/big?refresh=true", '{"n":9007199254740993,"d":1.10,"text":"big"}'),
    step("POST", "/{i}/_search", '{"query":{"match":{"text":"big"}}}', { exact: true }),
    step("POST", "/{i}/_search", '{"query":{"range":{"n":{"gte":9007199254740993}}}}', {
      exact: true,
    }),
  ),

  over(
    "many searches",
    "two, one without a header, one that is missing",
    step(
      "POST",
      "/{i}/_msearch",
      lines({}, { query: SEA }, { index: "{i}-missing" }, {}, {}, { query: { no: {} } }),
      { headers: NDJSON },
    ),
    step("POST", "/_msearch", `\n${lines({ index: "{i}" }, { query: SEA, size: 1 })}`, {
      headers: NDJSON,
    }),
  ),
  over(
    "many searches",
    "bodies that are none",
    step("POST", "/_msearch", "{}", { headers: NDJSON }),
    step("POST", "/_msearch", "", { headers: NDJSON }),
    step("POST", "/_msearch", "{}\n{broken\n", { headers: NDJSON }),
    step("POST", "/_msearch", '{"index":"{i}"}\n{"size":1}', { headers: NDJSON }),
  ),
  over(
    "many searches",
    "templates of many",
    step("POST", "/{i}/_msearch/template", lines({}, { source: '{"size":1}' }), {
      headers: NDJSON,
    }),
  ),
  over(
    "many searches",
    "mget and its errors",
    step("POST", "/{i}/_mget", { ids: ["1", "99"] }),
    step("POST", "/_mget", { docs: [{ _index: "{i}-missing", _id: "1" }] }),
    step("POST", "/_mget", {}),
  ),
];
