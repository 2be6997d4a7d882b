import assert from "node:assert/strict";
import fc from "fast-check";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { isSourceIndex, joinedCluster, sourceIndex } from "../../../src/cluster/joined-cluster.js";
import { pathOf, type ClusterRequest } from "../../../src/cluster/request.js";
import { parseRemote } from "../../../src/reindex/remote-source.js";

/** A cluster that notes what reaches it. */
function noting(url: string): { readonly cluster: Cluster; readonly sent: ClusterRequest[] } {
  const sent: ClusterRequest[] = [];
  const send = (request: ClusterRequest) => {
    sent.push(request);
    return Promise.resolve({ status: 200, body: {}, retryAfterSeconds: undefined });
  };
  const sendText = async (request: ClusterRequest) => ({
    ...(await send(request)),
    text: "{}",
    json: true,
  });
  const cluster: Cluster = {
    url,
    send,
    sendText,
    demand: async (request) => (await send(request)).body,
    demandText: async (request) => (await sendText(request)).text,
    capabilities: () => Promise.reject(new Error(url)),
    close: () => Promise.resolve(),
  };
  return { cluster, sent };
}

const segment = fc.string({ minLength: 1, maxLength: 12, unit: "grapheme" });
const methods = ["GET", "POST", "PUT", "DELETE", "HEAD"] as const;

describe("two clusters as one", () => {
  it("send what is about an index of the source there, under its own name, and all else to the target", async () => {
    const property = fc.asyncProperty(segment, fc.array(segment), async (name, rest) => {
      const [target, source] = [noting("t"), noting("s")];
      const both = joinedCluster(target.cluster, source.cluster);
      await both.demand({ method: "GET", path: pathOf(sourceIndex(name), ...rest) }, "Reading");
      assert.deepEqual(source.sent, [{ method: "GET", path: pathOf(name, ...rest) }]);
      fc.pre(!isSourceIndex(name));
      // An id may look like an index of the source.
      const path = pathOf(name, "_doc", sourceIndex(rest[0] ?? "a"));
      await both.send({ method: "PUT", path });
      assert.deepEqual([target.sent, source.sent.length], [[{ method: "PUT", path }], 1]);
    });
    await fc.assert(property);
  });

  it("let nothing but reading reach the source", async () => {
    const action = fc.constantFrom(
      "_search",
      "_bulk",
      "_doc",
      "_settings",
      "_refresh",
      "_close",
      "_mget",
    );
    const property = fc.asyncProperty(fc.constantFrom(...methods), action, async (method, last) => {
      const [target, source] = [noting("t"), noting("s")];
      const both = joinedCluster(target.cluster, source.cluster);
      const request = { method, path: pathOf(sourceIndex("i"), last) };
      const reads =
        ["GET", "HEAD"].includes(method) ||
        (method === "POST" && ["_search", "_refresh", "_mget"].includes(last));
      await (reads ? both.send(request) : assert.rejects(both.send(request), /only reads/));
      assert.equal(source.sent.length, reads ? 1 : 0);
      assert.equal(target.sent.length, 0);
    });
    await fc.assert(property);
  });

  it("are named by a URL without credentials that ends with an index", () => {
    assert.equal(parseRemote("products"), undefined);
    assert.equal(parseRemote("./https/products.ndjson"), undefined);
    assert.deepEqual(parseRemote("https://old.example:9200/products"), {
      cluster: "https://old.example:9200",
      index: "products",
    });
    assert.deepEqual(parseRemote("https://front.example/search/caf%C3%A9/"), {
      cluster: "https://front.example/search",
      index: "café",
    });
    for (const bad of [
      "https://a",
      "https://a/",
      "https://me:pw@a/i",
      "http://a/i?q=1",
      "https://",
    ]) {
      assert.throws(() => parseRemote(bad), { code: "usage" }, bad);
    }
    assert.throws(
      () => parseRemote("https://me:secret@a/i"),
      (thrown: Error) => {
        return !thrown.message.includes("secret");
      },
    );
  });
});
