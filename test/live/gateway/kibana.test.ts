/**
 * The searches that Kibana 8 and 9 send from Discover and Dev Tools, built as its public source
 * builds them (`buildEsQuery`, `SearchSource`, the ese search strategy), sent by Elasticsearch's
 * own client through the gateway to a real Elasticsearch.
 */
import assert from "node:assert/strict";
import { Client } from "@elastic/elasticsearch";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { metaOf } from "../../../src/index/index-meta.js";
import { indexModelOf } from "../../../src/documents/index-model.js";
import { startAsyncSearchFront, type AsyncSearchFront } from "../../support/async-search-front.js";
import { testElasticsearch } from "../../support/elasticsearch.js";
import { fillWithSentences } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testCluster } from "../../support/test-index.js";

const INDEX = "kibana-sentences";
const QUESTION = "fear of closed spaces";
const TAG = "@kibana-highlighted-field@";

interface Found {
  readonly hits: {
    readonly total: number | { readonly value: number };
    readonly hits: readonly {
      readonly _id: string;
      readonly _score: number | null;
      readonly fields?: Readonly<Record<string, readonly unknown[]>>;
      readonly highlight?: Readonly<Record<string, readonly string[]>>;
      readonly sort?: readonly unknown[];
    }[];
  };
  readonly aggregations?: { readonly 0: { readonly buckets: readonly { doc_count: number }[] } };
}

const RANGE = {
  range: {
    at: {
      format: "strict_date_optional_time",
      gte: "2026-01-01T00:00:00.000Z",
      lte: "2026-01-10T23:59:59.999Z",
    },
  },
};

/** What the pills and the time range leave of the index. */
const LEFT = ["0", "2", "4", "6"];

/** Filter pills: is, is one of, is between, exists, and one that is negated. */
const PILLS = {
  filter: [
    { match_phrase: { kind: "even" } },
    {
      bool: {
        minimum_should_match: 1,
        should: LEFT.map((id) => ({ match_phrase: { year: String(1990 + Number(id)) } })),
      },
    },
    { range: { year: { gte: "1990", lt: "2000" } } },
    { exists: { field: "title" } },
  ],
  must_not: [{ match_phrase: { year: "1998" } }],
};

const NO_PILLS = { filter: [], must_not: [] };

interface Bar {
  readonly must?: readonly object[];
  readonly filter?: readonly object[];
}

/** What KQL makes of a text; sorted by score, Kibana puts it into `must` itself. */
const BARS: Readonly<Record<string, Bar>> = {
  "KQL's plain words": {
    filter: [{ multi_match: { type: "best_fields", query: QUESTION, lenient: true } }],
  },
  "KQL's words on a field": {
    filter: [{ bool: { should: [{ match: { text: QUESTION } }], minimum_should_match: 1 } }],
  },
  "KQL's words, sorted by score": {
    must: [{ multi_match: { type: "best_fields", query: QUESTION, lenient: true } }],
  },
  "Lucene's words": { must: [{ query_string: { analyze_wildcard: true, query: QUESTION } }] },
};

function discoverBody(
  bar: Bar,
  more: object = {},
  pills: typeof PILLS | typeof NO_PILLS = PILLS,
): object {
  return {
    size: 500,
    sort: [{ _score: { order: "desc" } }],
    version: true,
    track_total_hits: true,
    fields: [
      { field: "*", include_unmapped: "true" },
      { field: "at", format: "strict_date_optional_time" },
    ],
    aggs: {
      0: {
        date_histogram: { field: "at", fixed_interval: "1d", time_zone: "UTC", min_doc_count: 1 },
      },
    },
    script_fields: {},
    stored_fields: ["*"],
    // Without a script a runtime field reads the source: here instead of the text field.
    runtime_mappings: { kind: { type: "keyword" } },
    _source: false,
    query: {
      bool: {
        must: bar.must ?? [],
        filter: [...(bar.filter ?? []), ...pills.filter, RANGE],
        should: [],
        must_not: pills.must_not,
      },
    },
    highlight: {
      pre_tags: [TAG],
      post_tags: [`@/${TAG.slice(1)}`],
      fields: { "*": {} },
      fragment_size: 2147483647,
    },
    ...more,
  };
}

describe("Kibana through the gateway", function () {
  this.timeout(120_000);
  let cluster: Cluster | undefined;
  let front: AsyncSearchFront;
  let gateway: TestGateway;
  let client: Client;

  before(async function () {
    this.timeout(900_000);
    const server = await testElasticsearch();
    if (typeof server === "string") {
      process.stderr.write(`Kibana's tests are skipped: ${server}\n`);
      return this.skip();
    }
    cluster = testCluster(server.url);
    front = await startAsyncSearchFront(server.url);
    gateway = await startTestGateway({
      "opensearch.url": front.url,
      "gateway.rules": [{ index: "kibana-*", fields: ["title", "text"], boost: 2 }],
    });
    client = new Client({ node: gateway.url });
    const plan = {
      model: indexModelOf(gateway.encoder.manifest),
      passages: "merged",
      text_fields: ["title", "text"],
      title_field: "title",
    } as const;
    const mappings = {
      _meta: { csplade: metaOf(plan, "test") },
      properties: { csplade: { type: "rank_features" } },
    };
    const body = { mappings };
    await cluster.demand({ method: "PUT", path: `/${INDEX}`, body }, "Creating the index");
    await fillWithSentences(cluster, gateway.encoder, "merged", INDEX);
  });
  after(async () => {
    if (cluster === undefined) return;
    await client.close();
    await gateway.stop();
    await front.stop();
    await cluster.send({ method: "DELETE", path: `/${INDEX}` });
    await cluster.close();
  });

  /** As Discover asks: an asynchronous search with the parameters of its strategy. */
  async function discover(body: object): Promise<Found> {
    const { response } = await client.asyncSearch.submit({
      index: "kibana-*",
      batched_reduce_size: 64,
      ccs_minimize_roundtrips: true,
      ignore_unavailable: true,
      keep_alive: "60000ms",
      keep_on_completion: false,
      wait_for_completion_timeout: "200ms",
      preference: "1700000000000",
      ...body,
    });
    return response as unknown as Found;
  }

  const directly = async (body: object) =>
    (await cluster!.demand(
      { method: "POST", path: `/${INDEX}/_search`, body },
      "Searching directly",
    )) as Found;

  const ids = ({ hits }: Found) => hits.hits.map((hit) => hit._id);

  for (const [what, bar] of Object.entries(BARS)) {
    it(`${what} find by meaning in Discover, with pills, time range, fields and histogram kept`, async () => {
      const found = await discover(discoverBody(bar));
      assert.ok(ids(found).every((id) => LEFT.includes(id)));
      const [first, second] = found.hits.hits;
      assert.equal(first!._id, "0");
      assert.ok(first!._score! > second!._score! && second!._score! > 0, "scored");
      assert.deepEqual(first!.fields!.year, [1990]);
      assert.deepEqual(first!.fields!.at, ["2026-01-01T12:00:00.000Z"]);
      assert.match(first!.highlight!.text!.join(" "), /@kibana-highlighted-field@fear@/);
      const counted = found.aggregations![0].buckets;
      assert.equal(counted.length, found.hits.hits.length, "a day for each");
      const wide = await discover(discoverBody(bar, {}, NO_PILLS));
      const exact = await directly(discoverBody(bar, {}, NO_PILLS));
      assert.match(front.bodies.at(-1)!.body, /"rank_feature":\{"field":"csplade\.\d+"/);
      assert.ok(ids(wide).length >= ids(exact).length);
      assert.ok(wide.hits.hits[0]!._score! > exact.hits.hits[0]!._score!, "meaning adds to it");
      assert.ok(ids(wide).every((id) => Number(id) < 10));
    });
  }

  it("a csplade clause in the Lucene bar, or in a saved query, needs no rule and is scored", async () => {
    const found = await discover(discoverBody({ must: [{ csplade: QUESTION }] }, {}, NO_PILLS));
    assert.equal(ids(found)[0], "0");
    assert.ok(found.hits.hits.every((hit) => hit._score! > 0));
    // A saved query with a filter of its own beside that of the page.
    const saved = { must: [{ csplade: QUESTION }], filter: PILLS.filter };
    const both = ids(await discover(discoverBody(saved)));
    assert.ok(both[0] === "0" && both.every((id) => LEFT.includes(id)));
  });

  it("leaves phrases, wildcards, fields of no rule and ranges as they were, byte for byte", async () => {
    const exact: Bar[] = [
      { filter: [{ multi_match: { type: "phrase", query: "confined space", lenient: true } }] },
      { filter: [{ query_string: { query: "fea*" } }] },
      { filter: [{ bool: { should: [{ match: { kind: "even" } }], minimum_should_match: 1 } }] },
      {
        filter: [
          { bool: { should: [{ range: { year: { gt: 1994 } } }], minimum_should_match: 1 } },
        ],
      },
      { must: [{ query_string: { analyze_wildcard: true, query: "+fear -dread" } }] },
    ];
    for (const bar of exact) {
      const body = discoverBody(bar, {}, NO_PILLS);
      const found = await discover(body);
      assert.deepEqual(JSON.parse(front.bodies.at(-1)!.body), body, JSON.stringify(bar));
      assert.deepEqual(found.hits.hits, (await directly(body)).hits.hits);
    }
  });

  it("pages as Discover does: search_after over a point in time, ties by document", async () => {
    const { id } = await client.openPointInTime({ index: INDEX, keep_alive: "1m" });
    const sort = [{ _score: { order: "desc" as const } }, { _shard_doc: "asc" as const }];
    const query = { csplade: QUESTION } as object;
    const whole = await client.search({ pit: { id }, size: 9, sort, query });
    const seen: (string | undefined)[] = [];
    let search_after: (string | number | boolean | null)[] | undefined;
    for (let page = 0; page < 3; page++) {
      const { hits } = await client.search({
        pit: { id, keep_alive: "1m" },
        size: 3,
        sort,
        query,
        track_total_hits: false,
        ...(search_after === undefined ? {} : { search_after }),
      });
      seen.push(...hits.hits.map((hit) => hit._id));
      search_after = hits.hits.at(-1)!.sort as typeof search_after;
    }
    assert.deepEqual(
      seen,
      whole.hits.hits.map((hit) => hit._id),
    );
    await client.closePointInTime({ id });
  });

  it("exports as CSV reports do: a scroll to its end", async () => {
    const bar = BARS["KQL's plain words"]!;
    const body = discoverBody(bar, { size: 4, aggs: {} }, NO_PILLS);
    let page = await client.search({ index: INDEX, scroll: "30s", ...body });
    const seen: (string | undefined)[] = [];
    while (page.hits.hits.length > 0) {
      seen.push(...page.hits.hits.map((hit) => hit._id));
      page = await client.scroll({ scroll: "30s", scroll_id: page._scroll_id! });
    }
    await client.clearScroll({ scroll_id: page._scroll_id! });
    assert.deepEqual(seen, ids(await discover(discoverBody(bar, {}, NO_PILLS))));
  });

  it("loads data views and suggests values: field_caps, resolve, terms of a field", async () => {
    // The fields stand in the URL up to 8.4, and this server reads them only there.
    const caps = await client.transport.request<{ fields: Record<string, Record<string, object>> }>(
      {
        method: "POST",
        path: "/kibana-*/_field_caps",
        querystring: { fields: "*", ignore_unavailable: true, allow_no_indices: false },
        body: { index_filter: RANGE },
      },
    );
    assert.ok(caps.fields.text?.text);
    const resolved = await client.indices.resolveIndex({
      name: "kibana-*",
      expand_wildcards: "open",
    });
    assert.deepEqual(
      resolved.indices.map((index) => index.name),
      [INDEX],
    );
    const suggested = await client.search({
      index: INDEX,
      size: 0,
      timeout: "1000ms",
      terminate_after: 100_000,
      query: { bool: { filter: [RANGE] } },
      aggs: {
        suggestions: {
          terms: {
            field: "kind.keyword",
            include: "ev.*",
            execution_hint: "map",
            shard_size: 10,
          },
        },
      },
    });
    const { buckets } = suggested.aggregations!.suggestions as { buckets: { key: string }[] };
    assert.deepEqual(
      buckets.map((bucket) => bucket.key),
      ["even"],
    );
  });

  it("passes ES|QL on as it is: a rule or a clause changes nothing in it", async () => {
    const body = {
      query: `FROM ${INDEX} | WHERE MATCH(text, "${QUESTION} csplade") | LIMIT 10`,
      locale: "en",
      filter: { bool: { filter: [RANGE], must: [], should: [], must_not: [] } },
    };
    await client.transport.request({
      method: "POST",
      path: "/_query/async",
      querystring: { drop_null_columns: true },
      body,
    });
    const { path, body: got } = front.bodies.at(-1)!;
    assert.equal(path, "/_query/async?drop_null_columns=true");
    assert.equal(got, JSON.stringify(body));
  });

  it("Dev Tools sends any of it by hand, comments and triple quotes resolved, as GET with a body", async () => {
    const found = await client.transport.request<Found>(
      {
        method: "POST",
        path: `/${INDEX}/_search`,
        querystring: { pretty: true },
        body: `{\n  // what I look for\n  "query": { "csplade": { "query_text": "${QUESTION}" } }\n}`,
      },
      { headers: { "content-type": "application/json" } },
    );
    assert.equal(ids(found)[0], "0");
  });
});
