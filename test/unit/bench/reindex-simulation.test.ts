/** The simulator of a reindex keeps the books that it is asked about. */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  calm,
  simulateReindex,
  type Failures,
  type ReindexRates,
} from "../../../bench/reindex-simulation.js";

const rates: ReindexRates = {
  documents: 200_000,
  tokens_per_document: 100,
  worker_tokens_per_second: 10_000,
  slice_documents: 5_000,
  slices_per_worker: 2,
  checkpoint_seconds: 10,
  lock_seconds: 60,
  patience_seconds: 600,
  redis_bytes_per_slice: 500,
  redis_base_bytes: 1_000_000,
  bulk_bytes_per_document: 2_000,
  cluster_documents_per_second_per_node: 10_000,
  cluster_nodes: 3,
  worker_start_seconds: 30,
  node_start_seconds: 120,
  source_changes_per_second: 0,
  gpu_node_price_per_hour: 2,
};

const failures = fc.record<Failures>({
  worker_crashes_per_day: fc.double({ min: 0, max: 50, noNaN: true }),
  node_losses_per_day: fc.double({ min: 0, max: 50, noNaN: true }),
  redis_outages_per_day: fc.double({ min: 0, max: 50, noNaN: true }),
  redis_outage_seconds: fc.integer({ min: 1, max: 900 }),
  cluster_outages_per_day: fc.double({ min: 0, max: 20, noNaN: true }),
  cluster_outage_seconds: fc.integer({ min: 1, max: 1_800 }),
  busy_storms_per_day: fc.double({ min: 0, max: 50, noNaN: true }),
  busy_storm_seconds: fc.integer({ min: 1, max: 900 }),
});

describe("the simulated reindex", () => {
  it("takes as long as the arithmetic says where nothing fails", () => {
    const workers = 4;
    const { seconds } = simulateReindex(rates, { workers, failures: calm, seed: 1 });
    const work = (rates.documents * rates.tokens_per_document) / (workers * 10_000);
    const start = rates.node_start_seconds + rates.worker_start_seconds;
    assert.ok(Math.abs(seconds - (work + start)) <= 0.05 * work, `${seconds} s`);
  });

  it("takes as long as the cluster needs where the cluster is the slower one", () => {
    const slow = { ...rates, cluster_documents_per_second_per_node: 20 };
    const outcome = simulateReindex(slow, { workers: 8, failures: calm, seed: 1 });
    const expected = rates.documents / 60 + 150;
    assert.ok(Math.abs(outcome.seconds - expected) < 0.05 * expected, `${outcome.seconds} s`);
    assert.ok(outcome.cluster_bound_share > 0.9);
    assert.ok(outcome.peak_documents_per_second <= 60.001);
  });

  it("settles every document once, whatever fails, and is never faster for it", () => {
    const undisturbed = simulateReindex(rates, { workers: 4, failures: calm, seed: 1 });
    fc.assert(
      fc.property(failures, fc.nat(), (wrong, seed) => {
        const outcome = simulateReindex(rates, { workers: 4, failures: wrong, seed });
        assert.equal(outcome.settled, rates.documents);
        assert.ok(outcome.seconds >= undisturbed.seconds);
        assert.ok(outcome.repeated >= 0);
      }),
      { numRuns: 40 },
    );
  });

  it("repeats no more than a checkpoint's worth of work per loss", () => {
    const crashing = { ...calm, worker_crashes_per_day: 200 };
    const { crashes, repeated } = simulateReindex(rates, {
      workers: 4,
      failures: crashing,
      seed: 3,
    });
    assert.ok(crashes > 0);
    assert.ok(repeated <= crashes * rates.checkpoint_seconds * 100 + 1, `${repeated}`);
  });

  it("copies what changed meanwhile, until it is less than a minute behind", () => {
    const changing = { ...rates, source_changes_per_second: 5 };
    const outcome = simulateReindex(changing, { workers: 4, failures: calm, seed: 1 });
    assert.ok(outcome.changed > 0);
    assert.equal(outcome.settled, rates.documents + outcome.changed);
  });

  it("gives the same outcome for the same seed, another for another", () => {
    const scenario = { workers: 4, failures: { ...calm, worker_crashes_per_day: 100 } };
    const one = simulateReindex(rates, { ...scenario, seed: 1 });
    assert.deepEqual(simulateReindex(rates, { ...scenario, seed: 1 }), one);
    assert.notDeepEqual(simulateReindex(rates, { ...scenario, seed: 2 }), one);
  });
});
