import assert from "node:assert/strict";
import { once } from "node:events";
import { readdir, rm } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { findFreePort } from "../../../src/servers/port.js";
import {
  serverStatus,
  startServers,
  stopServers,
  type StartOptions,
} from "../../../src/servers/servers.js";
import { csplade } from "../../support/csplade-command.js";
import { endHome } from "../../support/process-end.js";
import { makeTestFolder, sharedCache } from "../../support/servers.js";

type Settings = Record<string, { settings: { index: { uuid: string } } }>;

describe("csplade up and down", () => {
  let home: string;
  let redisPort: number;

  beforeEach(async () => {
    home = await makeTestFolder();
    redisPort = await findFreePort();
  });
  afterEach(() => endHome(home));

  const upRedis = () =>
    csplade(["up", "--home", home, "--only", "redis", "--redis-port", String(redisPort), "--json"]);

  /** The JSON object among a command's output. */
  const answerOf = (output: string) =>
    JSON.parse(output.split("\n").find((line) => line.startsWith("{"))!) as {
      redis: { pid: number; alreadyRunning: boolean };
      stopped: string[];
    };

  it("starts once: a second up leaves the running server alone, down stops it, a second down is no error", async () => {
    const first = answerOf((await upRedis()).output);
    const second = answerOf((await upRedis()).output);
    assert.equal(first.redis.alreadyRunning, false);
    assert.deepEqual(second.redis, { ...first.redis, alreadyRunning: true });
    const down = await csplade(["down", "--home", home, "--json"]);
    assert.deepEqual(answerOf(down.output).stopped, ["redis"]);
    assert.equal((await serverStatus(home)).redis.state, "stopped");
    const again = await csplade(["down", "--home", home]);
    assert.equal(again.status, 0);
    assert.match(again.output, /^Nothing runs in /m);
  });

  it("starts one server when many commands start it at once", async () => {
    const ends = await Promise.all([upRedis(), upRedis(), upRedis()]);
    const answers = ends.map(({ output }) => answerOf(output).redis);
    assert.equal(new Set(answers.map(({ pid }) => pid)).size, 1);
    assert.equal(answers.filter(({ alreadyRunning }) => !alreadyRunning).length, 1);
  });

  it("says which port another program took and how to choose another", async () => {
    const intruder = net.createServer().listen(redisPort, "127.0.0.1");
    await once(intruder, "listening");
    const end = await upRedis();
    intruder.close();
    assert.equal(end.status, 1);
    assert.match(end.output, new RegExp(`port ${redisPort} .*another program listens there`));
    assert.match(end.output, /--redis-port/);
  });

  it("starts a server anew that was killed a moment ago, instead of waiting for it to become healthy", async () => {
    const killed = answerOf((await upRedis()).output).redis;
    process.kill(killed.pid, "SIGKILL");
    const next = answerOf((await upRedis()).output).redis;
    assert.notEqual(next.pid, killed.pid);
    assert.equal(next.alreadyRunning, false);
  });

  it("refuses to move a running server to another port instead of starting a second one on its data", async () => {
    await upRedis();
    const other: StartOptions = { home, redisPort: await findFreePort(), servers: ["redis"] };
    await assert.rejects(startServers(other), /already runs in .*csplade-test/);
  });

  it("keeps documents across down and up", async function () {
    this.timeout(240_000); // two starts of OpenSearch, on a machine that may be busy
    const opensearchPort = await findFreePort();
    const start = () => startServers({ home, cache: sharedCache(), opensearchPort, redisPort });
    const { opensearch } = await start();
    assert.ok(opensearch !== undefined && !opensearch.alreadyRunning);
    const document = `${opensearch.url}/kept/_doc/1`;
    await fetch(document, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ text: "still here" }),
    });
    const before = Date.now();
    assert.equal((await start()).opensearch?.alreadyRunning, true);
    assert.ok(Date.now() - before < 5_000, "an up with nothing to do is quick");
    assert.deepEqual(await stopServers(home), ["redis", "opensearch"]);
    await start();
    const answer = (await (await fetch(document)).json()) as { _source: unknown };
    assert.deepEqual(answer._source, { text: "still here" });
  });

  it("starts beside an index whose files are damaged, and the other indices are searched", async function () {
    this.timeout(240_000); // two starts of OpenSearch, on a machine that may be busy
    const opensearchPort = await findFreePort();
    const start = () =>
      startServers({ home, cache: sharedCache(), opensearchPort, servers: ["opensearch"] });
    const { opensearch } = await start();
    const url = opensearch!.url;
    const ask = async (path: string, method = "GET", body?: object) => {
      const headers = { "content-type": "application/json" };
      const request = { method, headers, ...(body && { body: JSON.stringify(body) }) };
      return (await (await fetch(url + path, request)).json()) as Record<string, unknown>;
    };
    const uuids: Record<string, string> = {};
    for (const index of ["whole", "damaged"]) {
      await ask(`/${index}/_doc/1?refresh=true`, "PUT", { text: index });
      await ask(`/${index}/_flush`, "POST");
      const answer = (await ask(`/${index}/_settings`)) as Settings;
      uuids[index] = answer[index]!.settings.index.uuid;
    }
    await stopServers(home);
    const [data] = await readdir(path.join(home, "data"));
    const shard = path.join(home, "data", data!, "nodes", "0", "indices", uuids.damaged!, "0");
    await rm(path.join(shard, "index"), { recursive: true });
    await start();
    assert.equal((await ask("/_cluster/health")).status, "red");
    assert.deepEqual((await ask("/whole/_doc/1"))._source, { text: "whole" });
    assert.equal((await ask("/whole/_doc/2", "PUT", { text: "new" })).result, "created");
  });

  it("stops what it started when the other server cannot start", async () => {
    const intruder = net.createServer().listen(0, "127.0.0.1");
    await once(intruder, "listening");
    const { port } = intruder.address() as net.AddressInfo;
    await assert.rejects(
      startServers({ home, cache: sharedCache(), opensearchPort: port, redisPort }),
      (thrown: { code: string }) => thrown.code === "server_port_taken",
    );
    intruder.close();
    assert.equal((await serverStatus(home)).redis.state, "stopped");
  });
});
