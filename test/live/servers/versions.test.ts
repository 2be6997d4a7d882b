import assert from "node:assert/strict";
import { distributionLock } from "../../../src/servers/distribution-lock.js";
import { findJdk } from "../../../src/servers/java.js";
import { findFreePort } from "../../../src/servers/port.js";
import { startServers, type StartOptions } from "../../../src/servers/servers.js";
import { endHome } from "../../support/process-end.js";
import { makeTestFolder, sharedCache } from "../../support/servers.js";

describe("variants of the embedded OpenSearch", function () {
  this.timeout(600_000); // the first run on a machine downloads them

  let home: string;
  beforeEach(async () => {
    home = await makeTestFolder();
  });
  afterEach(() => endHome(home));

  const start = async (options: Partial<StartOptions>) => {
    const opensearchPort = await findFreePort();
    const cache = sharedCache();
    const started = await startServers({
      home,
      cache,
      opensearchPort,
      servers: ["opensearch"],
      ...options,
    });
    return started.opensearch!.url;
  };

  const send = async (method: string, url: string, body: unknown) => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(url, { method, headers, body: JSON.stringify(body) });
    return (await answer.json()) as Record<string, unknown>;
  };

  /** A search with neural_sparse needs the plugins; its score is the dot product. */
  const scoreOf = async (url: string) => {
    await send("PUT", `${url}/docs`, {
      mappings: { properties: { w: { type: "rank_features" } } },
    });
    await send("PUT", `${url}/docs/_doc/1?refresh=true`, { w: { "7": 1.5, "9": 0.25 } });
    const query = { neural_sparse: { w: { query_tokens: { "7": 2, "9": 4 } } } };
    const { hits } = await send("POST", `${url}/docs/_search`, { query });
    return (hits as { hits: { _score: number }[] }).hits[0]?._score;
  };

  /** Indices with a vector field, by what its mapping says besides its type. */
  const vectorIndex = (field: object, knn = true) => ({
    settings: { index: { knn } },
    mappings: { properties: { v: { type: "knn_vector", dimension: 2, ...field } } },
  });
  const refusal = /has no native library for the k-NN engine faiss .*lucene/;

  /** Fields of native engines are refused however they come, and others work. */
  const demandGuarded = async (url: string, major: number) => {
    const faiss = { method: { name: "hnsw", engine: "faiss" } };
    const requests: [string, object][] = [
      ["refused", vectorIndex({})],
      ["refused", vectorIndex(faiss)],
      ["refused", vectorIndex({ data_type: "byte", method: faiss.method })],
      ["_index_template/refused", { index_patterns: ["r*"], template: vectorIndex(faiss) }],
    ];
    for (const [path, body] of requests) {
      const answer = await send("PUT", `${url}/${path}`, body);
      assert.equal(answer.status, 400, JSON.stringify(answer));
      assert.match(JSON.stringify(answer), refusal);
    }
    await send("PUT", `${url}/later`, { settings: { index: { knn: true } } });
    const later = await send("PUT", `${url}/later/_mapping`, vectorIndex(faiss).mappings);
    assert.match(JSON.stringify(later), refusal);
    const nmslib = await send(
      "PUT",
      `${url}/old`,
      vectorIndex({ method: { name: "hnsw", engine: "nmslib" } }),
    );
    assert.equal(nmslib.status, 400);
    if (major < 3) assert.match(JSON.stringify(nmslib), /the k-NN engine nmslib/);
    // Without an index of vectors they are only stored.
    assert.deepEqual((await send("PUT", `${url}/flat`, vectorIndex({}, false))).acknowledged, true);
    const lucene = { method: { name: "hnsw", engine: "lucene", space_type: "l2" } };
    await send("PUT", `${url}/near`, vectorIndex(lucene));
    for (const index of ["flat", "near"]) {
      await send("PUT", `${url}/${index}/_doc/1?refresh=true`, { v: [1, 2] });
    }
    const query = { knn: { v: { vector: [1, 2], k: 1 } } };
    const { hits } = await send("POST", `${url}/near/_search`, { query });
    assert.equal((hits as { hits: { _score: number }[] }).hits[0]?._score, 1);
  };

  it("3.6.0 runs on the downloaded Java, Thai words included, which that Java cannot split by itself", async () => {
    const url = await start({ java: { env: {}, folders: [] } });
    assert.equal(await scoreOf(url), 4);
    const { tokens } = await send("POST", `${url}/_analyze`, {
      tokenizer: "thai",
      text: "การที่ได้ต้องแสดงว่างานดี",
    });
    const words = (tokens as { token: string }[]).map(({ token }) => token);
    assert.deepEqual(words, ["การ", "ที่", "ได้", "ต้อง", "แสดง", "ว่า", "งาน", "ดี"]);
  });

  it("takes no port of those that another start may have found free", async () => {
    const url = await start({});
    const { nodes } = await send("GET", `${url}/_nodes/_local/transport`, undefined);
    const [node] = Object.values(
      nodes as Record<string, { transport: { publish_address: string } }>,
    );
    const port = Number(node!.transport.publish_address.split(":")[1]);
    assert.ok(port < 9_200 || port > 9_400, `${port}`);
  });

  it("a field of an engine whose native library is absent is refused with a sentence, and the node lives", async () => {
    await demandGuarded(await start({}), 3);
  });

  it("2.19.1 runs with the same plugins and scores the same", async function () {
    // npm run setup installs a JDK that fits where it may install anything.
    if (findJdk(distributionLock("2.19.1")) === undefined) this.skip();
    const url = await start({ opensearchVersion: "2.19.1" });
    assert.equal(await scoreOf(url), 4);
    await demandGuarded(url, 2);
  });
});
