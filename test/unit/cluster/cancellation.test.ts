import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { connectCluster, type Cluster } from "../../../src/cluster/cluster.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

describe("cancelling a request to a cluster", () => {
  let server: http.Server;
  let cluster: Cluster;

  before(async () => {
    // Answers nothing below /slow, and an empty object elsewhere.
    server = http.createServer((request, response) => {
      if (request.url === "/slow") return;
      response.setHeader("content-type", "application/json").end("{}");
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    cluster = connectCluster(testConfig({ "opensearch.url": `http://127.0.0.1:${port}` }));
  });

  after(async () => {
    await cluster.close();
    server.closeAllConnections();
    server.close();
  });

  it("keeps what was sent, and who sent it, out of the error", async () => {
    const failing: Promise<unknown>[] = [
      { timeoutMs: 50 },
      { signal: AbortSignal.timeout(50), timeoutMs: 5_000 },
    ].map((how) =>
      cluster.send({
        method: "POST",
        path: "/slow",
        body: "pomegranate\n",
        headers: { authorization: "Basic chrysanthemum" },
        ...how,
      }),
    );
    const away = connectCluster(
      testConfig({ "opensearch.url": "http://user:hunter2@127.0.0.1:1" }),
    );
    failing.push(away.send({ method: "POST", path: "/away", body: "pomegranate\n" }));
    for (const each of failing) {
      const error: unknown = await each.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof CspladeError);
      assert.ok(error.cause instanceof Error, "the cause is kept");
      const shown = inspect(error, { depth: 20, showHidden: true });
      for (const secret of ["pomegranate", "chrysanthemum", "hunter2"]) {
        assert.ok(!shown.includes(secret), `${error.code} shows ${secret}`);
      }
    }
    await away.close();
  });

  it("fails that request with `aborted`, and neither the process nor other requests", async () => {
    const interruption = new AbortController();
    const slow = cluster.send({ method: "GET", path: "/slow", signal: interruption.signal });
    const other = cluster.send({ method: "GET", path: "/other", signal: interruption.signal });
    assert.equal((await other).status, 200);
    setTimeout(() => interruption.abort(), 20);
    await assert.rejects(
      slow,
      (error) => error instanceof CspladeError && error.code === "aborted",
    );
    // An unhandled rejection would end the process on the next turn of the event loop.
    await sleep(20);
    assert.equal((await cluster.send({ method: "GET", path: "/other" })).status, 200);
  });

  it("listens once to a signal that many requests share, and no longer than they take", async () => {
    const warnings: string[] = [];
    const warned = (warning: Error) => warnings.push(warning.message);
    process.on("warning", warned);
    try {
      const { signal } = new AbortController();
      const sent = Array.from({ length: 30 }, () =>
        cluster.send({ method: "GET", path: "/other", signal }),
      );
      assert.equal(getEventListeners(signal, "abort").length, 1);
      await Promise.all(sent);
      assert.equal(getEventListeners(signal, "abort").length, 0);
      // Warnings are emitted on the next turn of the event loop.
      await sleep(10);
      assert.deepEqual(warnings, []);
    } finally {
      process.off("warning", warned);
    }
  });

  it("cancels every one of many requests that share a signal", async () => {
    const interruption = new AbortController();
    const slow = Array.from({ length: 30 }, () =>
      cluster.send({ method: "GET", path: "/slow", signal: interruption.signal }),
    );
    setTimeout(() => interruption.abort(), 20);
    for (const each of await Promise.allSettled(slow)) {
      assert.equal(each.status, "rejected");
      assert.equal((each.reason as CspladeError).code, "aborted");
    }
  });
});
