import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { testServers } from "../../support/servers.js";

describe("embedded servers after kill -9", function () {
  this.timeout(120_000); // a start of OpenSearch, on a machine that may be busy

  it("OpenSearch keeps a document that it acknowledged but had not refreshed", async () => {
    const servers = testServers();
    const document = `${servers.opensearchUrl}/durability/_doc/1`;
    const written = await fetch(document, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ text: "acknowledged" }),
    });
    assert.equal(written.status, 201);
    await servers.killOpenSearch();
    await assert.rejects(fetch(servers.opensearchUrl), "nobody answers while it is down");
    await servers.restartOpenSearch();
    const answer = (await (await fetch(document)).json()) as { _source: unknown };
    assert.deepEqual(answer._source, { text: "acknowledged" });
    await fetch(`${servers.opensearchUrl}/durability`, { method: "DELETE" });
  });

  it("Redis keeps what it acknowledged, refuses writes rather than evict, and flushes every second", async () => {
    const servers = testServers();
    const connect = () => new Redis(servers.redisUrl).on("error", () => undefined);
    const before = connect();
    await before.rpush("durability", "one", "two");
    const [, policy] = (await before.config("GET", "maxmemory-policy")) as string[];
    const [, fsync] = (await before.config("GET", "appendfsync")) as string[];
    before.disconnect();
    await servers.killRedis();
    await servers.restartRedis();
    const after = connect();
    assert.deepEqual(await after.lrange("durability", 0, -1), ["one", "two"]);
    await after.del("durability");
    after.disconnect();
    assert.deepEqual([policy, fsync], ["noeviction", "everysec"]);
  });
});
