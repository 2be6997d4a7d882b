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

  it("2.19.1 runs with the same plugins and scores the same", async function () {
    // npm run setup installs a JDK that fits where it may install anything.
    if (findJdk(distributionLock("2.19.1")) === undefined) this.skip();
    assert.equal(await scoreOf(await start({ opensearchVersion: "2.19.1" })), 4);
  });
});
