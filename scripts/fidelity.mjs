/**
 * `npm run fidelity`: hostile documents are ingested, reindexed, followed and rolled back while
 * applications write, on servers of their own, and every document's text is compared byte for byte
 * (`test/support/fidelity.ts`). Exits with 1 unless nothing was lost, doubled or altered.
 *
 *   --documents N           documents of the large run (20000)
 *   --schedules N           random schedules of writers besides (20)
 *   --schedule-documents N  documents of each (5000)
 *   --seed N                first seed (1)
 */
import { parseArgs } from "node:util";
import { connectCluster } from "../dist/src/cluster/cluster.js";
import { openEncoder } from "../dist/src/encoder/encoder.js";
import { runFollow, runSchedule } from "../dist/test/support/fidelity.js";
import { isClean, sumOf } from "../dist/test/support/fidelity-report.js";
import { discardIndices, reindexConfig } from "../dist/test/support/reindexing.js";
import { mochaGlobalSetup, mochaGlobalTeardown } from "../dist/test/support/servers.js";

const { values } = parseArgs({
  options: {
    documents: { type: "string", default: "20000" },
    schedules: { type: "string", default: "20" },
    "schedule-documents": { type: "string", default: "5000" },
    seed: { type: "string", default: "1" },
  },
});
const documents = Number(values.documents);
const schedules = Number(values.schedules);
const seed = Number(values.seed);
const prefix = "fidelity-";
const say = (message) => process.stderr.write(`${new Date().toISOString()} ${message}\n`);
const config = () =>
  reindexConfig({
    "ingest.id_field": "sku",
    "ingest.text_fields": ["text"],
    "reindex.slice_documents": 2_000,
    "queue.lock_ms": 30_000,
  });

const reports = [];

/** Runs a part, prints its counts, and lets go of its indices. */
async function part(name, run) {
  const cluster = connectCluster(config());
  const encoder = await openEncoder(config());
  try {
    const report = await run({ config: config(), cluster, encoder, say });
    reports.push(report);
    const { compared, writes, lost, doubled, altered, examples } = report;
    const counts = `${lost} lost, ${doubled} doubled, ${altered} altered`;
    process.stdout.write(`${name}: ${compared} compared, ${writes} written; ${counts}\n`);
    for (const example of examples) process.stdout.write(`  ${example}\n`);
  } finally {
    await discardIndices(cluster, prefix);
    await encoder.close();
    await cluster.close();
  }
}

await mochaGlobalSetup();
let failed = false;
try {
  const plan = { inPlace: true, follow: true, back: "after", shards: 2, targetShards: 3 };
  await part(`ingest, reindex --follow and rollback of ${documents}`, (parts) =>
    runSchedule(parts, { prefix, seed, documents, ingested: true, plan }),
  );
  await part(`follow of ${documents}`, (parts) => runFollow(parts, { prefix, seed, documents }));
  for (let n = 0; n < schedules; n++) {
    const options = { prefix, seed: seed + n, documents: Number(values["schedule-documents"]) };
    await part(`schedule ${seed + n}`, (parts) => runSchedule(parts, options));
  }
} catch (thrown) {
  failed = true;
  say(thrown.stack);
} finally {
  await mochaGlobalTeardown();
}
const { lost, doubled, altered } = sumOf(reports);
process.stdout.write(`${lost} lost, ${doubled} doubled, ${altered} altered\n`);
process.exit(failed || !reports.every(isClean) ? 1 : 0);
