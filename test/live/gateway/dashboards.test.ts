/**
 * The searches that Dashboards' Discover and Dev Tools send, built as its public source builds
 * them (`buildOpenSearchQuery`, `SearchSource`), replayed through the proxy.
 */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { Client as ElasticClient, HttpConnection } from "@elastic/elasticsearch";
import { Transport } from "@elastic/transport";
import { Client as OpenSearchClient } from "@opensearch-project/opensearch";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { SENTENCES, fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";

const QUESTION = "fear of closed spaces";
const KEYWORDS = "fear dread";

interface Found {
  readonly hits: {
    readonly total: { value: number };
    readonly hits: { _id: string; _score: number | null }[];
  };
  readonly aggregations?: { readonly 2: { readonly buckets: { doc_count: number }[] } };
}

/** Discover's body; `bar` is what its search bar makes of a text. */
function discoverBody(bar: { must?: object[]; filter?: object[] }, sort: object[]): object {
  const range = {
    range: {
      at: {
        gte: "2026-01-01T00:00:00.000Z",
        lte: "2026-01-10T23:59:59.999Z",
        format: "strict_date_optional_time",
      },
    },
  };
  return {
    sort,
    size: 500,
    version: true,
    aggs: {
      2: {
        date_histogram: { field: "at", fixed_interval: "3h", time_zone: "UTC", min_doc_count: 1 },
      },
    },
    stored_fields: ["*"],
    script_fields: {},
    docvalue_fields: [{ field: "at", format: "date_time" }],
    _source: { excludes: [] },
    query: {
      bool: {
        must: bar.must ?? [],
        filter: [...(bar.filter ?? []), { match_phrase: { kind: "even" } }, range],
        should: [],
        must_not: [],
      },
    },
    highlight: {
      pre_tags: ["@opensearch-dashboards-highlighted-field@"],
      post_tags: ["@/opensearch-dashboards-highlighted-field@"],
      fields: { "*": {} },
      fragment_size: 2147483647,
    },
  };
}

/** What the search bar sends, by its language. */
const BARS = {
  dql: (text: string) => ({
    filter: [{ multi_match: { type: "best_fields", query: text, lenient: true } }],
  }),
  "dql on a field": (text: string) => ({
    filter: [{ bool: { should: [{ match: { text } }], minimum_should_match: 1 } }],
  }),
  lucene: (text: string) => ({
    must: [{ query_string: { query: text, analyze_wildcard: true, time_zone: "UTC" } }],
  }),
} as const;

const BY_SCORE = [{ _score: { order: "desc" } }];
const BY_TIME = [{ at: { order: "desc", unmapped_type: "boolean" } }];

describe("Dashboards through the gateway", () => {
  let gateway: TestGateway;
  let ruled: TestGateway;
  let cluster: Cluster;
  let index: string;
  let openSearch: OpenSearchClient;

  before(async function () {
    this.timeout(120_000);
    const url = testServers().opensearchUrl;
    cluster = testCluster();
    gateway = await startTestGateway({ "opensearch.url": url });
    index = await fillEncodedIndex(cluster, gateway.encoder);
    const rules = [{ index: `${index}*`, fields: ["title", "text"], boost: 2 }];
    ruled = await startTestGateway({ "opensearch.url": url, "gateway.rules": rules });
    openSearch = new OpenSearchClient({ node: ruled.url });
  });
  after(async () => {
    await openSearch.close();
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await ruled.stop();
    await gateway.stop();
    await cluster.close();
  });

  async function discover(bar: { must?: object[]; filter?: object[] }, sort: object[] = BY_SCORE) {
    const params = {
      index,
      body: discoverBody(bar, sort),
      ignore_unavailable: true,
      track_total_hits: true,
      timeout: "30000ms",
      preference: "1700000000000",
    };
    const { body } = await openSearch.search(
      params as unknown as Parameters<OpenSearchClient["search"]>[0],
    );
    return body as unknown as Found;
  }

  for (const [language, bar] of Object.entries(BARS)) {
    it(`Discover's search bar (${language}) finds by meaning, scored, with filters and time range kept`, async () => {
      const direct = (await cluster.demand(
        { method: "POST", path: `/${index}/_search`, body: discoverBody(bar(QUESTION), BY_SCORE) },
        "Searching directly",
      )) as Found;
      const found = await discover(bar(QUESTION));
      assert.ok(found.hits.total.value > direct.hits.total.value, "more than the words find");
      for (const { _id, _score } of found.hits.hits) {
        assert.ok(_score! > 0, "scored, wherever the bar's text stood");
        assert.equal(Number(_id) % 2, 0, "the filter holds");
        assert.ok(Number(_id) < 10, "the time range holds");
      }
      assert.equal(found.hits.hits[0]!._id, "0");
      assert.equal(
        found.aggregations![2].buckets.reduce((sum, bucket) => sum + bucket.doc_count, 0),
        found.hits.total.value,
      );
      const byTime = await discover(bar(QUESTION), BY_TIME);
      assert.equal(byTime.hits.total.value, found.hits.total.value);
    });
  }

  it("leaves exact searches exact: phrases, operators, wildcards, other fields, filter pills", async () => {
    const exact: object[] = [
      { filter: [{ multi_match: { type: "phrase", query: "confined space", lenient: true } }] },
      { must: [{ query_string: { query: "+fear -dread", analyze_wildcard: true } }] },
      { must: [{ query_string: { query: "fea*" } }] },
      { filter: [{ bool: { should: [{ match: { kind: "even" } }], minimum_should_match: 1 } }] },
      { filter: [{ match_phrase: { text: "fear" } }] },
      { must: [{ match_all: {} }] },
    ];
    for (const bar of exact) {
      const direct = (await cluster.demand(
        { method: "POST", path: `/${index}/_search`, body: discoverBody(bar, BY_SCORE) },
        "Searching directly",
      )) as Found;
      const found = await discover(bar);
      assert.deepEqual(found.hits.hits, direct.hits.hits, JSON.stringify(bar));
    }
  });

  it("a csplade clause as JSON in Discover's Lucene bar is scored, without any rule", async () => {
    const client = new OpenSearchClient({ node: gateway.url });
    const { body } = await client.search({
      index,
      body: discoverBody({ must: [{ csplade: QUESTION }] }, BY_SCORE),
    });
    assert.equal(body.hits.hits[0]?._id, "0");
    assert.ok(Number(body.hits.hits[0]._score) > 0);
    await client.close();
  });

  it("Dev Tools' requests work: GET with a body, comments, several lines", async () => {
    const text = `{\n  // what I look for\n  "query": {\n    "csplade": {\n      "query_text": "${QUESTION}"\n    }\n  }\n}\n`;
    const answer = await new Promise<Found>((resolve, reject) => {
      const headers = {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(text),
      };
      const request = httpRequest(
        `${gateway.url}/${index}/_search?pretty=true`,
        { headers },
        (response) => {
          let all = "";
          response.on("data", (chunk: Buffer) => (all += chunk.toString()));
          response.on("end", () => resolve(JSON.parse(all) as Found));
        },
      );
      request.on("error", reject);
      request.end(text);
    });
    assert.equal(answer.hits.hits[0]!._id, "0");
  });

  it("the OpenSearch client searches, counts, pages and batches through the proxy", async () => {
    const query = { csplade: KEYWORDS } as object;
    const found = await openSearch.search({ index, body: { query } });
    assert.ok(found.body.hits.hits.length > 0);
    const counted = await openSearch.count({ index, body: { query } });
    assert.ok(counted.body.count >= found.body.hits.hits.length);
    const many = await openSearch.msearch({ body: [{ index }, { query }, {}, { size: 0 }] });
    assert.equal(many.body.responses.length, 2);
    const bulk = await openSearch.helpers.bulk({
      datasource: [{ text: "written through the proxy" }],
      onDocument: () => ({ index: { _index: `${index}-bulk` } }),
      refresh: true,
    });
    assert.deepEqual([bulk.successful, bulk.failed], [1, 0]);
    await openSearch.indices.delete({ index: `${index}-bulk` });
  });

  it("the Elasticsearch client does so too, with its own media types and compression", async () => {
    // Its check for the product Elasticsearch is the one thing that OpenSearch cannot pass.
    class AnyProduct extends Transport {
      constructor(options: ConstructorParameters<typeof Transport>[0]) {
        const unchecked = { ...options };
        delete unchecked.productCheck;
        super(unchecked);
      }
    }
    const client = new ElasticClient({
      node: gateway.url,
      compression: true,
      Connection: HttpConnection,
      Transport: AnyProduct,
    });
    const headers = { "content-type": "application/json", accept: "application/json" };
    const query = { csplade: QUESTION } as object;
    const found = await client.search({ index, query, size: 50 }, { headers });
    assert.equal(found.hits.hits[0]?._id, "0");
    const filtered = await client.count(
      { index, query: { bool: { filter: [query] } } },
      { headers },
    );
    assert.ok(filtered.count > 0 && filtered.count <= SENTENCES.length);
    const ndjson = { "content-type": "application/x-ndjson", accept: "application/json" };
    const many = await client.msearch({ searches: [{ index }, { query }] }, { headers: ndjson });
    assert.equal(many.responses.length, 1);
    await assert.rejects(
      client.search({ index, query: { csplade: { boost: 1 } } as object }, { headers }),
      (thrown: { meta?: { statusCode?: number; body?: { error?: { reason?: string } } } }) =>
        thrown.meta?.statusCode === 400 &&
        /query\.csplade/.test(thrown.meta.body?.error?.reason ?? ""),
    );
    await client.close();
  });
});
