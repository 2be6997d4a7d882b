import assert from "node:assert/strict";
import { tuneEncoder } from "../../../src/encoder/tune.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

describe("tuning the encoder", function () {
  this.timeout(120_000);

  it("measures batches and splits of the cores, and names one of them the best", async () => {
    const heard: [what: string, share: number][] = [];
    const tuning = await tuneEncoder(testConfig({ "model.token_budget": 64 }), {
      seconds: 1,
      onProgress: (what, share) => heard.push([what, share]),
    });
    assert.deepEqual(tuning.configured, { sessions: 1, threads: 1, token_budget: 64 });
    const [first, ...others] = tuning.rows;
    assert.deepEqual(first?.against, { ratio: 1, low: 1, high: 1 });
    assert.ok(new Set(others.map((row) => row.token_budget)).size >= 4);
    if (tuning.cores > 1) assert.ok(others.some((row) => row.sessions * row.threads > 1));
    const { best } = tuning;
    assert.ok(
      tuning.rows.some(
        (row) =>
          row.sessions === best.sessions &&
          row.threads === best.threads &&
          row.token_budget === best.token_budget,
      ),
    );
    for (const row of tuning.rows) assert.ok(row.tokens_per_second > 0);
    // Nothing is changed for less than is worth it.
    if (best.token_budget !== 64 || best.sessions * best.threads !== 1) {
      assert.ok(tuning.gain >= 1.03);
    } else assert.equal(tuning.gain, 1);
    const shares = heard.map(([, share]) => share);
    assert.deepEqual(
      shares,
      [...shares].sort((a, b) => a - b),
    );
  });

  it("stops when its signal aborts", async () => {
    const stop = new AbortController();
    const tuning = tuneEncoder(testConfig(), {
      seconds: 60,
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    await assert.rejects(tuning, (error: Error) => /abort|cancel/i.test(error.message));
  });
});
