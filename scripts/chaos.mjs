/**
 * `npm run chaos -- --documents 50000 --rounds 10`: the reliability experiments of
 * `test/support/chaos.ts` at full size, on servers of their own, with a report.
 *
 *   --documents N   documents of the source (50000)
 *   --rounds N      how often each thing goes wrong (10)
 *   --only KINDS    comma-separated: kill-worker, kill-redis, kill-opensearch, storm, read-only, partition,
 *                   session-throws, thread-killed, run-hangs, memory-exhausted
 *   --results FILE  JSON with the last result of each kind; this run's are put in (bench/reindex-chaos.json)
 *   --report FILE   where the table made of it goes (docs/reindexing-chaos.md)
 *   --table         only make the table again
 */
import { readFile, writeFile } from "node:fs/promises";
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
    results: { type: "string", default: path.join(root, "bench", "reindex-chaos.json") },
    table: { type: "boolean", default: false },
    report: { type: "string", default: path.join(root, "docs", "reindexing-chaos.md") },
  },
});
const documents = Number(values.documents);
const rounds = Number(values.rounds);
const kinds = faultKinds.filter((kind) => values.only.split(",").includes(kind));
const say = (message) => process.stderr.write(`${new Date().toISOString()} ${message}\n`);

/** Counts that must be 0. */
const faults = ["lost", "extra", "stale", "wrong_vector", "doubled", "unaccounted"];
const columns = [
  "documents",
  "injected",
  "changed",
  "deleted",
  "taken_up_again",
  "source",
  "target",
];

async function readResults() {
  try {
    return JSON.parse(await readFile(values.results, "utf8"));
  } catch (thrown) {
    if (thrown.code === "ENOENT") return {};
    throw thrown;
  }
}

const isClean = (result) => faults.every((fault) => result[fault] === 0);

function reportOf(results) {
  const rows = faultKinds
    .filter((kind) => results[kind] !== undefined)
    .map((kind) => results[kind]);
  const bad = rows.filter((result) => !isClean(result));
  const cells = [...columns, "dead_letters", ...faults];
  const line = (cells) => `| ${cells.join(" | ")} |`;
  const count = (value) => value.toLocaleString("en");
  return `# Reliability of reindexing: runs of the experiments

Each line is one reindexing by two worker processes, on a real OpenSearch and a real Redis, while the thing in the
first column went wrong \`injected\` times at random moments and a writer changed and deleted documents of the source.
Afterwards every document of source and target was read and compared. Each line comes from

\`\`\`sh
npm run chaos -- --documents N --rounds N --only KIND
\`\`\`

which puts its counts into \`bench/reindex-chaos.json\` and makes this page of them. The machine was shared with
other work: the seconds say nothing of speed.

${line(["kind", ...cells, "seconds", "on"])}
${line(["---", ...cells.map(() => "---:"), "---:", "---"])}
${rows
  .map((row) =>
    line([
      row.kind,
      ...cells.map((cell) => count(row[cell])),
      row.seconds.toFixed(0),
      `${row.date}, ${row.cores} cores`,
    ]),
  )
  .join("\n")}

- \`taken_up_again\`: claims of slices beyond the first one, after a worker died, was cut off or gave up.
- \`lost\`: in the source, neither in the target nor among the dead letters. \`extra\`: in the target, not in the source.
  \`stale\`: in the target with an older content. \`wrong_vector\`: with a vector of another content than it has (by its
  hash). \`doubled\`: twice in the target.
- \`dead_letters\`: every 500th document has no text. \`unaccounted\`: such documents without a letter, and letters of others.

${bad.length === 0 ? "Nothing was lost, doubled or stale." : `**Not clean: ${bad.map(({ kind }) => kind).join(", ")}.**`}
`;
}

async function experiment(kind) {
  say(`${kind}: ${documents} documents, ${rounds} times`);
  const config = reindexConfig({
    "reindex.slice_documents": Math.ceil(documents / 20),
    "queue.lock_ms": 5_000,
  });
  const options = { kind, documents, rounds, servers: testServers(), config, say };
  const report = await runChaos(options, "chaos-");
  say(JSON.stringify(report));
  const cluster = connectCluster(config);
  await discardIndices(cluster, "chaos-");
  await cluster.close();
  return {
    ...report,
    cores: os.availableParallelism(),
    date: new Date().toISOString().slice(0, 10),
  };
}

let failed = false;
if (!values.table) {
  await mochaGlobalSetup();
  try {
    for (const kind of kinds) {
      try {
        const result = await experiment(kind);
        failed ||= !isClean(result);
        const results = { ...(await readResults()), [kind]: result };
        await writeFile(values.results, `${JSON.stringify(results, null, 2)}\n`);
      } catch (thrown) {
        failed = true;
        say(`${kind} stopped: ${thrown.stack}`);
      }
    }
  } finally {
    await mochaGlobalTeardown();
  }
}
await writeFile(values.report, reportOf(await readResults()));
process.exit(failed ? 1 : 0);
