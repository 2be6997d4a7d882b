import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { readBody, type RequestBody } from "../../../src/gateway/request-body.js";
import { requestLife, type RequestLife } from "../../../src/gateway/request-life.js";

const LIMIT = 1_000;

describe("reading a request's body", () => {
  let server: http.Server;
  let timeoutMs: number;
  let lives: RequestLife[];
  let reads: Promise<RequestBody>[];

  before(async () => {
    server = http.createServer((request, response) => {
      const life = requestLife(response, timeoutMs);
      lives.push(life);
      const read = readBody(request, LIMIT, life);
      read.catch(() => {});
      reads.push(read);
      void read.finally(() => response.end()).catch(() => {});
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  beforeEach(() => {
    timeoutMs = 30_000;
    lives = [];
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

  it("unpacks it, and leaves what is too large, broken or in an unknown encoding to the cluster", async () => {
    send({ "content-encoding": "GZIP" }).end(gzipSync("a question"));
    await begun(1);
    assert.equal((await reads[0])?.plain?.toString(), "a question");
    const strange = [
      ["gzip", gzipSync("x".repeat(LIMIT + 1))],
      ["gzip", Buffer.from("no gzip")],
      ["constructor", Buffer.from("{}")],
      ["br", Buffer.from("{}")],
    ] as const;
    for (const [i, [encoding, body]] of strange.entries()) {
      send({ "content-encoding": encoding }).end(body);
      await begun(2 + i);
      const { raw, more, plain } = (await reads[1 + i])!;
      assert.deepEqual([raw.equals(body), more, plain], [true, false, undefined]);
    }
    send({ "transfer-encoding": "chunked" }).end("x".repeat(LIMIT + 1));
    await begun(6);
    const { raw, more, plain } = (await reads[5])!;
    assert.deepEqual([raw.length > LIMIT, more, plain], [true, true, undefined]);
  });

  it("ends when the deadline is over, and a signal that is first read then is aborted", async () => {
    timeoutMs = 100;
    send({ "transfer-encoding": "chunked" }).write("half of a body");
    await begun(1);
    await assert.rejects(reads[0]!, { code: "deadline_exceeded" });
    const { signal } = lives[0]!;
    assert.ok(signal.aborted);
    assert.equal((signal.reason as { code: string }).code, "deadline_exceeded");
  });

  it("ends when the client leaves, which aborts a signal that was read before", async () => {
    const request = send({ "transfer-encoding": "chunked" });
    request.write("half of a body");
    await begun(1);
    const { signal } = lives[0]!;
    const aborted = once(signal, "abort");
    request.destroy();
    await assert.rejects(reads[0]!);
    await aborted;
    assert.equal((signal.reason as { code: string }).code, "aborted");
  });
});
