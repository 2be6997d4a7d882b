import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { createEncodeQueue, type QueueLimits } from "../../../src/gateway/encode-queue.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const limits: QueueLimits = { calls: 1, call_texts: 8, queue_texts: 10 };
const never = new AbortController().signal;

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (thrown) {
    return thrown instanceof CspladeError ? thrown.code : String(thrown);
  }
  return "no error";
}

describe("the encode queue", () => {
  let encoder: Encoder;
  before(async () => {
    encoder = await openEncoder(testConfig());
  });
  after(() => encoder.close());

  it("encodes what came while the encoder was busy in one call, each caller getting its own", async () => {
    const batches: number[] = [];
    const queue = createEncodeQueue(encoder, limits, { onBatch: (texts) => batches.push(texts) });
    const texts = ["fear of spaces", "sleep", "a star", "closed rooms", "dogs"];
    const encoded = await Promise.all(texts.map((text) => queue.encode([text], "query", never)));
    assert.deepEqual(batches, [1, 4]);
    const apart = await encoder.encodeQueries(texts);
    encoded.forEach(([each], i) =>
      assert.deepEqual(each?.passages[0]?.vector.ids, apart[i]?.passages[0]?.vector.ids),
    );
  });

  it("never mixes documents and queries in a call, and gives no call more texts than allowed", async () => {
    const batches: number[] = [];
    const queue = createEncodeQueue(encoder, limits, { onBatch: (texts) => batches.push(texts) });
    await Promise.all([
      queue.encode(["first"], "document", never),
      queue.encode(["a", "b", "c"], "query", never),
      queue.encode(["d"], "document", never),
      queue.encode(["e", "f", "g"], "query", never),
      queue.encode(["h", "i", "j"], "query", never),
    ]);
    assert.deepEqual(batches, [1, 6, 1, 3]);
  });

  it("refuses at once what does not fit, and takes texts again when there is room", async () => {
    const depths: number[] = [];
    const queue = createEncodeQueue(encoder, limits, { onDepth: (depth) => depths.push(depth) });
    const running = queue.encode(["busy"], "query", never);
    const waiting = queue.encode(Array.from({ length: 8 }, String), "query", never);
    assert.equal(await codeOf(queue.encode(["x", "y", "z"], "query", never)), "overloaded");
    await Promise.all([running, waiting]);
    assert.equal(Math.max(...depths), 8);
    assert.equal(depths.at(-1), 0);
    assert.equal((await queue.encode(["x", "y", "z"], "query", never)).length, 3);
  });

  it("forgets a waiting request that was given up, and not its neighbours", async () => {
    const batches: number[] = [];
    const queue = createEncodeQueue(encoder, limits, { onBatch: (texts) => batches.push(texts) });
    const given = new AbortController();
    const running = queue.encode(["busy"], "query", never);
    const abandoned = codeOf(queue.encode(["never"], "query", given.signal));
    const kept = queue.encode(["kept"], "query", never);
    given.abort(new CspladeError("deadline_exceeded", "too late"));
    assert.equal(await abandoned, "deadline_exceeded");
    assert.equal((await kept).length, 1);
    await running;
    assert.deepEqual(batches, [1, 1]);
  });

  it("puts one listener on a signal that many requests share, and tells all of them", async () => {
    const queue = createEncodeQueue(encoder, { ...limits, queue_texts: 30 });
    const shared = new AbortController();
    const requests = Array.from({ length: 20 }, (_, i) =>
      codeOf(queue.encode([`question ${i}`], "query", shared.signal)),
    );
    assert.equal(getEventListeners(shared.signal, "abort").length, 1);
    shared.abort(new CspladeError("deadline_exceeded", "too late"));
    assert.deepEqual(new Set(await Promise.all(requests)), new Set(["deadline_exceeded"]));
    assert.equal(getEventListeners(shared.signal, "abort").length, 0);
  });
});
