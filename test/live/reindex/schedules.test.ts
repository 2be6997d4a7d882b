import assert from "node:assert/strict";
import { runFollow, runSchedule } from "../../support/fidelity.js";
import { inWords, isClean, sumOf, type FidelityReport } from "../../support/fidelity-report.js";
import { reindexConfig } from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

/** Schedules that run side by side. */
const AT_ONCE = 7;

describe("documents, while applications write to source, alias and target", function () {
  this.timeout(900_000);
  let suite: ReindexSuite;
  const own = {
    "ingest.id_field": "sku",
    "ingest.text_fields": ["text"],
    "reindex.slice_documents": 100,
  };
  before(async () => {
    suite = await openReindexSuite("sc-", own);
  });
  after(() => suite.close());

  const partsOf = () => ({ ...suite, config: reindexConfig(own) });
  const assertClean = (report: FidelityReport) => assert.ok(isClean(report), inWords(report));

  it("come out of an ingest, a followed reindexing and its rollback as they went in", async () => {
    const plan = {
      inPlace: true,
      follow: true,
      back: "after",
      shards: 2,
      targetShards: 3,
    } as const;
    const schedule = { prefix: "sc-in-", seed: 7, documents: 300, ingested: true, plan };
    assertClean(await runSchedule(partsOf(), schedule));
  });

  it("keep their text when they get a vector in place", async () => {
    assertClean(await runFollow(partsOf(), { prefix: "sc-", seed: 8, documents: 300 }));
  });

  it("are lost, doubled and altered in none of 20 random schedules of writes, swaps and rollbacks", async () => {
    const seeds = Array.from({ length: 20 }, (_, i) => i + 1);
    const reports: FidelityReport[] = [];
    const work = async () => {
      for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
        reports.push(await runSchedule(partsOf(), { prefix: "sc-", seed, documents: 80 }));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    assertClean(sumOf(reports));
    assert.equal(reports.length, 20);
  });
});
