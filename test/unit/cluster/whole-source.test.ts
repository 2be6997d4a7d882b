import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { scanIndex } from "../../../src/cluster/scan-index.js";
import { demandVectorsTold } from "../../../src/cluster/whole-source.js";
import { keptSource } from "../../../src/index/dense-field.js";
import { readVectors } from "../../../src/index/stored-vectors.js";
import { sampleDocuments } from "../../../src/reindex/index-sample.js";
import { readDocuments } from "../../../src/sources/index-source.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const WHOLE =
  '{"near":[0.5,10,6],"text":"one",  "n":1.0,"csplade":{"7":1.5},"csplade_dense":[1,2]}';
const WITHOUT = '{"text":"one",  "n":1.0,"csplade":{"7":1.5}}';

/** Answers as Elasticsearch 9.2 does (no server of it can be had here): vectors only to those who ask. */
function answerOf(url: URL, body: { readonly _source?: unknown }, version: string | undefined) {
  if (url.pathname === "/") {
    if (version === undefined) return { status: 403, text: '{"error":"no","status":403}' };
    const told = version === "serverless" ? { number: "8.11.0", build_flavor: version } : undefined;
    return { status: 200, text: JSON.stringify({ version: told ?? { number: version } }) };
  }
  if (url.pathname.startsWith("/_")) return { status: 200, text: '{"_scroll_id":"s"}' };
  const isAsked =
    JSON.stringify(body._source) === '{"exclude_vectors":false}' ||
    url.searchParams.get("_source_exclude_vectors") === "false";
  const source = isAsked || version === "9.1.4" ? WHOLE : WITHOUT;
  if (url.pathname.endsWith("_mget")) {
    return { status: 200, text: `{"docs":[{"_id":"a","found":true,"_source":${source}}]}` };
  }
  const hit = `{"_id":"a","_seq_no":3,"_primary_term":1,"_version":1,"_source":${source}}`;
  return {
    status: 200,
    text: `{"_scroll_id":"s","_shards":{"failed":0},"hits":{"hits":[${hit}]}}`,
  };
}

describe("whole documents of an Elasticsearch that hides fields of vectors", () => {
  const open: (() => Promise<void>)[] = [];
  after(async () => {
    for (const close of open) await close();
  });

  async function clusterOf(version: string | undefined): Promise<Cluster> {
    const server = http.createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        const text = Buffer.concat(parts).toString();
        const body = text === "" ? {} : (JSON.parse(text) as object);
        const answer = answerOf(new URL(request.url ?? "", "http://a"), body, version);
        response.writeHead(answer.status, { "content-type": "application/json" }).end(answer.text);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const cluster = connectCluster(testConfig({ "opensearch.url": `http://127.0.0.1:${port}` }));
    open.push(async () => {
      await cluster.close();
      server.closeAllConnections();
      server.close();
    });
    return cluster;
  }

  async function readEveryWay(cluster: Cluster): Promise<string[]> {
    const reader = { index: "i", shard: 0, primaries: false };
    const page = { from: 0, to: 9, size: 5 };
    const sources = (found: readonly { readonly source: string }[]) => found.map((d) => d.source);
    const scan = scanIndex(cluster, "i");
    const first = await scan.next();
    await scan.return(undefined);
    return [
      ...sources(await readDocuments(cluster, reader, page)),
      ...sources(await sampleDocuments(cluster, { from: "i", size: 1 })),
      ...sources(first.done === true ? [] : first.value),
    ];
  }

  it("are read with their own vectors, however they are read, also from serverless", async () => {
    for (const version of ["9.2.0", "10.0.1", "serverless", "9.1.4"]) {
      const cluster = await clusterOf(version);
      assert.deepEqual(await readEveryWay(cluster), [WHOLE, WHOLE, WHOLE], version);
      const [stored] = await readVectors(cluster, "i", [{ id: "a" }]);
      assert.deepEqual(stored?.vectors.csplade_dense, [1, 2], version);
    }
  });

  it("are not taken for whole where fields are vectors and the cluster hides its version too", async () => {
    const hidden = await clusterOf(undefined);
    const near = { type: "dense_vector", dims: 3 };
    const properties = { inner: { properties: { near } }, text: { type: "text" } };
    await assert.rejects(demandVectorsTold(hidden, "i", properties), {
      code: "index_invalid",
      message: /dense_vector.*does not tell/,
    });
    await demandVectorsTold(hidden, "i", { text: { type: "text" } });
    await demandVectorsTold(await clusterOf("9.2.0"), "i", properties);
  });

  it("stay whole in indices that csplade makes, unless somebody else said something", async () => {
    const newest = await (await clusterOf("9.2.0")).capabilities();
    const name = "mapping.exclude_source_vectors";
    assert.deepEqual(keptSource(newest, {}), { [name]: false });
    assert.deepEqual(keptSource(newest, { mapping: { exclude_source_vectors: "true" } }), {});
    assert.deepEqual(keptSource(await (await clusterOf("9.1.4")).capabilities(), {}), {});
  });
});
