/**
 * `npm run chaos -- --documents 50000 --rounds 10`: the reliability experiments of
 * `test/support/chaos.ts` at full size, on servers of their own, with a report.
 *
 *   --documents N   documents of the source (50000)
 *   --rounds N      how often each thing goes wrong (10)
 *   --only KINDS    comma-separated: kill-worker, kill-redis, kill-opensearch, storm, read-only, partition
 *   --report FILE   where the report goes (docs/reindexing-chaos.md)
 */
import { writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { faultKinds, runChaos } from "../dist/test/support/chaos.js";
import { discardIndices, reindexConfig } from "../dist/test/support/reindexing.js";
import {
  mochaGlobalSetup,
  mochaGlobalTeardown,
  testServers,
} from "../dist/test/support/servers.js";
import { connectCluster } from "../dist/src/cluster/cluster.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({
  options: {
    documents: { type: "string", default: "50000" },
    rounds: { type: "string", default: "10" },
    only: { type: "string", default: faultKinds.join(",") },
    report: { type: "string", default: path.join(root, "docs", "reindexing-chaos.md") },
  },
});
const documents = Number(values.documents);
const rounds = Number(values.rounds);
const kinds = faultKinds.filter((kind) => values.only.split(",").includes(kind));
const say = (message) => process.stderr.write(`${new Date().toISOString()} ${message}\n`);

const columns = [
  "kind",
  "injected",
  "changed",
  "deleted",
  "taken_up_again",
  "source",
  "target",
  "lost",
  "extra",
  "stale",
  "doubled",
  "dead_letters",
];

function reportOf(reports) {
  const bad = reports.filter(({ lost, extra, stale, doubled }) => lost + extra + stale + doubled);
  const rows = reports.map(
    (report) =>
      `| ${columns.map((column) => report[column]).join(" | ")} | ${report.seconds.toFixed(0)} |`,
  );
  return `# Reliability of reindexing: a run of the experiments

\`npm run chaos -- --documents ${documents} --rounds ${rounds}\` on ${os.availableParallelism()} cores, ${new Date().toISOString().slice(0, 10)}:
each line is one reindexing of ${documents} documents by two worker processes, on a real OpenSearch and a real Redis,
while the thing in the first column went wrong \`injected\` times at random moments and a writer changed and deleted
documents of the source. Afterwards every document of source and target was read and compared.

| ${columns.join(" | ")} | seconds |
| ${columns.map(() => "---").join(" | ")} | --- |
${rows.join("\n")}

- \`taken_up_again\`: claims of slices beyond the first one, after a worker died or was cut off.
- \`lost\`: in the source, neither in the target nor among the dead letters. \`extra\`: in the target, not in the source.
  \`stale\`: in the target with an older content. \`doubled\`: twice in the target.

${bad.length === 0 ? "Nothing was lost, doubled or stale." : `**Not clean: ${bad.map(({ kind }) => kind).join(", ")}.**`}
`;
}

let failed = false;
await mochaGlobalSetup();
try {
  const reports = [];
  for (const kind of kinds) {
    say(`${kind}: ${documents} documents, ${rounds} times`);
    const config = reindexConfig({
      "reindex.slice_documents": Math.ceil(documents / 20),
      "queue.lock_ms": 5_000,
    });
    const report = await runChaos(
      { kind, documents, rounds, servers: testServers(), config, say },
      "chaos-",
    );
    reports.push(report);
    say(JSON.stringify(report));
    failed ||= report.lost + report.extra + report.stale + report.doubled > 0;
    await writeFile(values.report, reportOf(reports));
    const cluster = connectCluster(config);
    await discardIndices(cluster, "chaos-");
    await cluster.close();
  }
} finally {
  await mochaGlobalTeardown();
}
process.exit(failed ? 1 : 0);
