import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { readBody, type RequestBody } from "../../../src/gateway/request-body.js";

const LIMIT = 1_000;

describe("reading a request's body", () => {
  let server: http.Server;
  let interruption: AbortController;
  let reads: Promise<RequestBody>[];

  before(async () => {
    server = http.createServer((request, response) => {
      const read = readBody(request, LIMIT, interruption.signal);
      read.catch(() => {});
      reads.push(read);
      void read.finally(() => response.end()).catch(() => {});
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  beforeEach(() => {
    interruption = new AbortController();
    reads = [];
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  function send(headers: http.OutgoingHttpHeaders = {}): http.ClientRequest {
    const { port } = server.address() as AddressInfo;
    const request = http.request({
      host: "127.0.0.1",
      port,
      method: "POST",
      headers,
      agent: false,
    });
    return request.on("error", () => {});
  }

  /** The server's read of the request that was sent last, as soon as it has begun. */
  async function begun(count: number): Promise<void> {
    while (reads.length < count) await sleep(5);
  }

  it("unpacks it, and refuses what is too large packed or unpacked", async () => {
    send({ "content-encoding": "gzip" }).end(gzipSync("a question"));
    await begun(1);
    assert.equal((await reads[0])?.plain?.toString(), "a question");
    send({ "content-encoding": "gzip" }).end(gzipSync("x".repeat(LIMIT + 1)));
    await begun(2);
    await assert.rejects(reads[1]!, { code: "batch_too_large" });
    send({ "transfer-encoding": "chunked" }).end("x".repeat(LIMIT + 1));
    await begun(3);
    await assert.rejects(reads[2]!, { code: "batch_too_large" });
  });

  it("ends with the reason of a signal, on which many reads put one listener", async () => {
    const { signal } = interruption;
    const many = 20;
    const sent = Array.from({ length: many }, () => send({ "transfer-encoding": "chunked" }));
    for (const request of sent) request.write("half of ");
    await begun(many);
    assert.equal(getEventListeners(signal, "abort").length, 1);
    sent[0]?.end("a body");
    assert.equal((await reads[0])?.raw.toString(), "half of a body");
    const reason = new Error("nobody waits");
    interruption.abort(reason);
    for (const read of reads.slice(1)) await assert.rejects(read, reason);
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });
});
