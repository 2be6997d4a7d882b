import assert from "node:assert/strict";
import { searchTarget, targetOfHeader } from "../../../src/gateway/search-target.js";

describe("which requests are searches", () => {
  const searches: [method: string, url: string, body: string, expression: string | undefined][] = [
    ["POST", "/a/_search", "search", "a"],
    ["GET", "/a,b*/_search?pretty", "search", "a,b*"],
    ["POST", "/_search", "search", undefined],
    ["POST", "/_all/_search", "search", "_all"],
    ["POST", "/%3Clogs-%7Bnow%2Fd%7D%3E/_search", "search", "%3Clogs-%7Bnow%2Fd%7D%3E"],
    ["POST", "/a/_count", "search", "a"],
    ["GET", "/a/_validate/query?explain=true", "search", "a"],
    ["POST", "/a/_explain/7", "search", "a"],
    ["POST", "/a/_async_search?wait_for_completion_timeout=1s", "search", "a"],
    ["POST", "/_async_search", "search", undefined],
    ["POST", "/_plugins/_asynchronous_search?index=a,b", "search", "a%2Cb"],
    ["POST", "/_msearch", "msearch", undefined],
    ["POST", "/a/_msearch?typed_keys", "msearch", "a"],
  ];
  for (const [method, url, body, expression] of searches) {
    it(`${method} ${url} is one`, () => {
      const target = searchTarget(method, url);
      assert.deepEqual([target?.body, target?.expression], [body, expression]);
    });
  }

  const others: [method: string, url: string][] = [
    ["POST", "/_search/scroll"],
    ["POST", "/a/_search/point_in_time?keep_alive=1m"],
    ["POST", "/a/_search/template"],
    ["POST", "/_msearch/template"],
    ["GET", "/_async_search/Fabc="],
    ["DELETE", "/_async_search/Fabc="],
    ["POST", "/a/_delete_by_query"],
    ["POST", "/a/_update_by_query"],
    ["POST", "/_reindex"],
    ["POST", "/a/_doc"],
    ["PUT", "/a/_search"],
    ["GET", "/"],
    ["GET", "/a"],
    ["GET", "/_cat/indices"],
    ["POST", "/_bulk"],
  ];
  for (const [method, url] of others) {
    it(`${method} ${url} is none`, () => assert.equal(searchTarget(method, url), undefined));
  }

  it("takes over what decides which indices an expression means", () => {
    const target = searchTarget("POST", "/a/_search?ignore_unavailable=true&size=3");
    assert.deepEqual(target?.options, { ignore_unavailable: "true" });
  });

  it("reads an _msearch header's own indices and options, and falls back on the URL's", () => {
    const target = searchTarget("POST", "/a/_msearch?allow_no_indices=false");
    assert.ok(target);
    const own = targetOfHeader('{"index":["b","c"],"ignore_unavailable":true}', target);
    assert.equal(own.expression, "b%2Cc");
    assert.deepEqual(own.options, { allow_no_indices: "false", ignore_unavailable: "true" });
    assert.equal(targetOfHeader('{"index":"x"}', target).expression, "x");
    for (const header of ["", "{}", "no JSON", "null"]) {
      assert.equal(targetOfHeader(header, target).expression, "a", header);
    }
  });
});
