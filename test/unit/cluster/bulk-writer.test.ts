import assert from "node:assert/strict";
import fc from "fast-check";
import type { BulkOperation, WriteResult } from "../../../src/cluster/bulk-operation.js";
import {
  createBulkWriter,
  type BulkRetry,
  type BulkWriterOptions,
} from "../../../src/cluster/bulk-writer.js";
import { UnacknowledgedError } from "../../../src/cluster/write-failure.js";
import { startBulkServer, type BulkServer, type Fault } from "../../support/bulk-server.js";

const options: BulkWriterOptions = {
  max_bytes: 100_000,
  concurrency: 4,
  max_wait_ms: 20_000,
  first_pause_ms: 4,
};

function put(id: string, document: object = { n: id }): BulkOperation {
  return { index: "i", id, action: "index", document };
}

function many(count: number, bytes = 100): BulkOperation[] {
  return Array.from({ length: count }, (_, n) => put(String(n), { text: "x".repeat(bytes) }));
}

const rejected = { type: "opensearch_rejected_execution_exception", reason: "queue is full" };

async function failureOf(written: Promise<WriteResult[]>): Promise<UnacknowledgedError> {
  try {
    await written;
  } catch (thrown) {
    assert(thrown instanceof UnacknowledgedError, String(thrown));
    return thrown;
  }
  throw new Error("the write should have failed");
}

describe("bulk writer", function () {
  this.timeout(20_000);
  let server: BulkServer;
  beforeEach(async () => (server = await startBulkServer()));
  afterEach(() => server.close());

  it("answers every operation in the order it was given", async () => {
    const writer = createBulkWriter(server.cluster, options);
    server.store.set("b", {});
    const results = await writer.write([
      put("a"),
      put("b"),
      { index: "i", id: "c", action: "delete" },
      { index: "i", id: "b", action: "create", document: {} },
    ]);
    assert.deepEqual(results, [
      { status: "written", result: "created" },
      { status: "written", result: "updated" },
      { status: "written", result: "not_found" },
      { status: "skipped", reason: "version_conflict_engine_exception: document already exists" },
    ]);
    await writer.close();
  });

  it("puts concurrent calls into one request and keeps requests within the byte limit", async () => {
    const writer = createBulkWriter(server.cluster, { ...options, concurrency: 1 });
    await Promise.all(many(10).map((operation) => writer.write([operation])));
    assert.equal(server.requests.length, 1);
    await writer.write(many(5_000));
    for (const request of server.requests) {
      const bytes = request.reduce((sum, { bytes: each }) => sum + each + 2, 0);
      assert(bytes <= 100_000, `${bytes} bytes in one request`);
    }
    assert.equal(server.mostOpen, 1);
    await writer.close();
  });

  it("has no more requests in flight than allowed, and uses what is allowed", async () => {
    server.latency_ms = 20;
    const writer = createBulkWriter(server.cluster, { ...options, concurrency: 3 });
    await writer.write(many(6_000));
    assert.equal(server.mostOpen, 3);
    await writer.close();
  });

  it("sends only the items again that a full queue rejected", async () => {
    server.fault = (n) =>
      n === 0 ? { items: [1, 3], itemStatus: 429, type: rejected.type } : undefined;
    const writer = createBulkWriter(server.cluster, options);
    const results = await writer.write(many(5));
    assert(results.every((result) => result.status === "written"));
    assert.deepEqual(
      server.requests.map((request) => request.map(({ id }) => id)),
      [
        ["0", "1", "2", "3", "4"],
        ["1", "3"],
      ],
    );
    await writer.close();
  });

  it("fails a document the mapping refuses, alone and with the cluster's reason", async () => {
    const type = "mapper_parsing_exception";
    server.fault = () => ({ items: [1], itemStatus: 400, type, reason: "not a date" });
    const writer = createBulkWriter(server.cluster, options);
    const results = await writer.write(many(3));
    assert.deepEqual(results[1], { status: "failed", reason: `${type}: not a date` });
    assert.deepEqual([results[0]?.status, results[2]?.status], ["written", "written"]);
    assert.equal(server.requests.length, 1);
    await writer.close();
  });

  it("halves requests that are too large for the cluster, for good, and loses nothing", async () => {
    server.fault = (_, __, bytes) => (bytes > 30_000 ? { status: 413 } : undefined);
    const retries: BulkRetry[] = [];
    const writer = createBulkWriter(server.cluster, {
      ...options,
      onRetry: (r) => retries.push(r),
    });
    const results = await writer.write(many(3_000));
    assert(results.every((result) => result.status === "written"));
    assert.equal(server.store.size, 3_000);
    const refused = retries.filter(({ cause }) => cause === "too_large").length;
    assert(refused >= 2 && refused <= 8, `${refused} requests were too large`);
    await writer.close();
  });

  it("fails a document that is too large even alone, and writes the others", async () => {
    server.fault = (_, __, bytes) => (bytes > 50_000 ? { status: 413 } : undefined);
    const writer = createBulkWriter(server.cluster, options);
    const results = await writer.write([
      ...many(3),
      put("big", { text: "x".repeat(70_000) }),
      put("z"),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["written", "written", "written", "failed", "written"],
    );
    assert.match(
      (results[3] as { reason: string }).reason,
      /too large .*70\d\d\d bytes alone.*413/,
    );
    await writer.close();
  });

  it("makes requests smaller and slower when the cluster protects its memory, then grows back", async () => {
    const breaker = { error: { type: "circuit_breaking_exception", reason: "Data too large" } };
    server.fault = (n) => (n < 2 ? { status: 429, body: breaker } : undefined);
    const retries: BulkRetry[] = [];
    const writer = createBulkWriter(server.cluster, {
      ...options,
      onRetry: (r) => retries.push(r),
    });
    await writer.write(many(20_000));
    assert(retries.every((retry) => retry.max_bytes <= 50_000 && retry.concurrency < 4));
    const largest = Math.max(...server.requests.slice(10).map((request) => request.length));
    assert(largest > 500, `the largest late request has ${largest} operations`);
    await writer.close();
  });

  it("waits as long as Retry-After asks", async () => {
    server.fault = (n) =>
      n === 0 ? { status: 429, retryAfter: 1, body: { error: rejected } } : undefined;
    const writer = createBulkWriter(server.cluster, options);
    await writer.write([put("a")]);
    const waited = (server.times[1] ?? 0) - (server.times[0] ?? 0);
    assert(waited >= 990, `waited ${waited} ms`);
    await writer.close();
  });

  it("outlasts a cluster that resets connections, answers 503 or has a full disk", async () => {
    const blocked: Fault = {
      items: [0],
      itemStatus: 403,
      type: "cluster_block_exception",
      reason: "index [i] blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];",
    };
    const faults: (Fault | undefined)[] = ["reset", { status: 503 }, blocked, "reset", undefined];
    server.fault = (n) => faults[n];
    const writer = createBulkWriter(server.cluster, options);
    assert.deepEqual(await writer.write([put("a")]), [{ status: "written", result: "created" }]);
    assert.equal(server.requests.length, 5);
    await writer.close();
  });

  it("finds the operation that makes a whole request invalid, and fails it alone", async () => {
    const reason = "Validation Failed: 1: id [xx] is too long;";
    const error = { type: "action_request_validation_exception", reason };
    server.fault = (_, operations) =>
      operations.some(({ id }) => id === "7") ? { status: 400, body: { error } } : undefined;
    const writer = createBulkWriter(server.cluster, options);
    const results = await writer.write(many(20));
    assert.deepEqual(
      results.flatMap(({ status }, n) => (status === "written" ? [] : [[n, status]])),
      [[7, "failed"]],
    );
    assert.equal(server.store.size, 19);
    await writer.close();
  });

  it("takes no unknown refusal for a fault of the document", async () => {
    server.fault = () => ({ items: [0], itemStatus: 400, type: "never_heard_of_exception" });
    const writer = createBulkWriter(server.cluster, options);
    const error = await failureOf(writer.write(many(2)));
    assert.equal(error.code, "cluster_rejected");
    assert.deepEqual(
      error.results.map((result) => result?.status),
      [undefined, "written"],
    );
    await writer.close();
  });

  it("does not repeat what the guard refused", async () => {
    const type = "fail_processor_exception";
    server.fault = () => ({ items: [0], itemStatus: 500, type, reason: "other model" });
    const writer = createBulkWriter(server.cluster, options);
    const [result] = await writer.write([put("a")]);
    assert.equal(result?.status, "failed");
    assert.equal(server.requests.length, 1);
    await writer.close();
  });

  it("gives up after max_wait_ms and says which operations are not acknowledged", async () => {
    server.fault = (n) =>
      n === 0 ? { items: [1], itemStatus: 503, type: "unavailable_shards_exception" } : "reset";
    const writer = createBulkWriter(server.cluster, { ...options, max_wait_ms: 150 });
    const error = await failureOf(writer.write(many(3)));
    assert.equal(error.code, "cluster_unreachable");
    assert.deepEqual(
      error.results.map((result) => result?.status),
      ["written", undefined, "written"],
    );
    assert.match(error.message, /2 of 3 operations were acknowledged/);
    // And it is of use again when the cluster is back.
    server.fault = () => undefined;
    assert.equal((await writer.write([put("later")]))[0]?.status, "written");
    await writer.close();
  });

  it("never waits with max_wait_ms 0", async () => {
    server.fault = () => ({ status: 503 });
    const writer = createBulkWriter(server.cluster, { ...options, max_wait_ms: 0 });
    const error = await failureOf(writer.write(many(1)));
    assert.equal(error.code, "cluster_unreachable");
    assert.equal(server.requests.length, 1);
    await writer.close();
  });

  it("gives up at once where waiting cannot help", async () => {
    server.fault = () => ({
      status: 401,
      body: { error: { type: "security_exception", reason: "who are you" } },
    });
    const writer = createBulkWriter(server.cluster, options);
    const error = await failureOf(writer.write(many(2)));
    assert.equal(error.code, "cluster_rejected");
    assert.match(error.message, /who are you/);
    await writer.close();
  });

  for (const fault of ["one-item-less", "items-swapped"] as const) {
    it(`trusts no answer that is out of step (${fault})`, async () => {
      server.fault = () => fault;
      const writer = createBulkWriter(server.cluster, options);
      const error = await failureOf(writer.write(many(2)));
      assert.equal(error.code, "cluster_rejected");
      assert(error.results.every((result) => result === undefined));
      await writer.close();
    });
  }

  it("ends at once when cancelled, in the middle of a pause too", async () => {
    server.fault = () => ({ status: 429, retryAfter: 60 });
    const cancel = new AbortController();
    const writer = createBulkWriter(server.cluster, { ...options, signal: cancel.signal });
    const started = performance.now();
    setTimeout(() => cancel.abort(), 50);
    const error = await failureOf(writer.write(many(2)));
    assert.equal(error.code, "aborted");
    assert(performance.now() - started < 2_000);
    assert.equal((await failureOf(writer.write(many(1)))).code, "aborted");
    await writer.close();
  });

  it("cancels one call and leaves the others in the same requests alone", async () => {
    server.latency_ms = 100;
    const writer = createBulkWriter(server.cluster, { ...options, concurrency: 1 });
    const cancel = new AbortController();
    const kept = writer.write(many(1_000));
    const cancelled = writer.write([put("x", { text: "y".repeat(90_000) })], cancel.signal);
    setTimeout(() => cancel.abort(), 30);
    assert.equal((await failureOf(cancelled)).code, "aborted");
    assert((await kept).every(({ status }) => status === "written"));
    assert.equal(server.store.has("x"), false);
    await writer.close();
  });

  it("fails a document that is no JSON alone", async () => {
    const writer = createBulkWriter(server.cluster, options);
    const results = await writer.write([put("a", { n: 1n }), put("b")]);
    assert.match((results[0] as { reason: string }).reason, /cannot be written as JSON/);
    assert.equal(results[1]?.status, "written");
    await writer.close();
  });

  it("takes nothing after close, which waits for what is in progress", async () => {
    server.latency_ms = 30;
    const writer = createBulkWriter(server.cluster, options);
    const written = writer.write(many(3));
    await writer.close();
    assert.equal(server.store.size, 3);
    assert.equal((await written).length, 3);
    assert.equal((await failureOf(writer.write(many(1)))).code, "aborted");
  });

  it("ends with the last operation on every id, whatever goes wrong on the way", async () => {
    const fault = fc.constantFrom<Fault | undefined>(
      undefined,
      undefined,
      "reset",
      "lost-answer",
      { status: 503 },
      { status: 429 },
      { status: 413 },
      { items: [0, 2, 5], itemStatus: 429, type: rejected.type },
    );
    const operation = fc.record({
      id: fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h"),
      remove: fc.boolean(),
      n: fc.nat(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(operation, { minLength: 1, maxLength: 12 }), { maxLength: 6 }),
        fc.array(fault, { maxLength: 12 }),
        async (calls, faults) => {
          server.store.clear();
          const before = server.requests.length;
          server.fault = (n, sent) => {
            const next = faults[n - before];
            // A lone operation refused with 413 fails for good, which is another test.
            return typeof next === "object" &&
              "status" in next &&
              next.status === 413 &&
              sent.length < 2
              ? undefined
              : next;
          };
          const writer = createBulkWriter(server.cluster, { ...options, first_pause_ms: 1 });
          const results = await Promise.all(
            calls.map((call) =>
              writer.write(
                call.map(({ id, remove, n }): BulkOperation =>
                  remove ? { index: "i", id, action: "delete" } : put(id, { n }),
                ),
              ),
            ),
          );
          await writer.close();
          const expected = new Map<string, unknown>();
          for (const { id, remove, n } of calls.flat()) {
            if (remove) expected.delete(id);
            else expected.set(id, { n });
          }
          assert.deepEqual(new Map([...server.store].sort()), new Map([...expected].sort()));
          assert(results.flat().every(({ status }) => status === "written"));
          assert.deepEqual(
            results.map((r) => r.length),
            calls.map((c) => c.length),
          );
        },
      ),
      { numRuns: 150 },
    );
  });
});
