import assert from "node:assert/strict";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import {
  startRecordingUpstream,
  type RecordingUpstream,
} from "../../support/recording-upstream.js";

describe("streaming answers", function () {
  this.timeout(60_000);
  let upstream: RecordingUpstream;
  let gateway: TestGateway;
  before(async () => {
    upstream = await startRecordingUpstream();
    gateway = await startTestGateway({ "opensearch.url": upstream.url });
  });
  after(async () => {
    await gateway.stop();
    await upstream.close();
  });

  const ask = (): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      httpRequest(`${gateway.url}/_export`, resolve).on("error", reject).end();
    });

  it("reads an answer no faster than the client takes it, and gives it whole", async () => {
    const chunk = Buffer.alloc(1 << 20, "x");
    const chunks = 64;
    let written = 0;
    upstream.answer = (_request, response) => {
      const more = (): void => {
        while (written < chunks) {
          written += 1;
          if (!response.write(chunk)) return void response.once("drain", more);
        }
        response.end();
      };
      more();
    };
    const response = await ask();
    // Until nothing moves any more: what the sockets between take, and no more, is under way.
    let seen = -1;
    while (seen !== written) {
      seen = written;
      await sleep(300);
    }
    assert.ok(written < chunks / 2, `${written} MB were read for a client that reads nothing`);
    let bytes = 0;
    for await (const part of response) bytes += (part as Buffer).length;
    assert.equal(bytes, chunks * chunk.length);
  });

  it("waits for the answer that an informational one announces", async () => {
    upstream.answer = (_request, response) => {
      response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
      setTimeout(() => response.writeHead(201, { "x-own": "kept" }).end("whole"), 20);
    };
    const response = await ask();
    const parts: Buffer[] = [];
    for await (const part of response) parts.push(part as Buffer);
    assert.equal(response.statusCode, 201);
    assert.equal(response.headers["x-own"], "kept");
    assert.equal(Buffer.concat(parts).toString(), "whole");
  });
});
