/**
 * Reindexes for half an hour without a pause and watches whether memory grows: of a worker
 * process, of a coordinator that follows a changing index, and of Redis.
 *
 *   npm run soak -- [--minutes 30] [--documents 20000] [--json FILE]
 *
 * Two things go on all the time: `csplade reindex --follow` copies what a writer changes and
 * deletes, and one reindexing of all documents into a new index follows another. The servers are
 * its own; the model is the tiny one of the tests, so that as much as possible passes through.
 * Writes docs/reindexing-soak.md and its plot, and the samples where --json says; the exit status
 * is 1 if anything grew by more than 5 %.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";
import { loadConfig } from "../src/config/load-config.js";
import { packageRoot } from "../src/config/package-root.js";
import type { Config } from "../src/config/settings.js";
import { openEncoder, type Encoder } from "../src/encoder/encoder.js";
import { deleteIndex } from "../src/index/csplade-index.js";
import { createWorkerMetrics } from "../src/observe/worker-metrics.js";
import { reindex } from "../src/reindex/reindex.js";
import { environmentOf } from "../test/support/csplade-command.js";
import { endWithProcess } from "../test/support/process-end.js";
import { startWorkerProcess } from "../test/support/worker-process.js";
import { benchFlags } from "./bench-flags.js";
import { withBenchServers } from "./bench-server.js";
import {
  megabytes,
  memoryPlot,
  memoryTrends,
  type MemorySample,
  type MemoryTrend,
} from "./memory-report.js";

const flags = benchFlags(import.meta.url, {
  minutes: { type: "string", default: "30" },
  documents: { type: "string", default: "20000" },
  json: { type: "string" },
});
const minutes = Number(flags.minutes);
const documents = Number(flags.documents);

/** Caches fill and V8 finds its size in the beginning. */
const WARM_UP_S = Math.min(300, 10 * minutes);

const SAMPLE_MS = 5_000;

/** Documents that are changed every second; one is deleted. */
const CHANGED = 10;

const say = (message: string) =>
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${message}\n`);

interface Soak {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly signal: AbortSignal;
}

/** What went through meanwhile. */
const totals = { runs: 0, copied: 0, changed: 0, deleted: 0 };

const load_before = os.loadavg()[0] ?? 0;
const options = { name: "soak", healthyWithinMs: 600_000, onProgress: say };
await withBenchServers(options, async ({ opensearchUrl, redisUrl }) => {
  const config = loadConfig({
    flags: {
      "opensearch.url": opensearchUrl,
      "redis.url": redisUrl,
      "model.path": path.join(packageRoot, "test", "fixtures", "checkpoints", "tiny-bi"),
      "model.threads": 1,
      "reindex.slice_documents": Math.ceil(documents / 20),
    },
  }).values;
  const cluster = connectCluster(config);
  const over = new AbortController();
  const soak = { config, cluster, signal: over.signal };
  const encoder = await openEncoder(config);
  await write(cluster, "soak", 0, documents);
  const worker = await startWorkerProcess(config, { env: { CSPLADE_LOG_LEVEL: "silent" } });
  const coordinator = follow(config);
  try {
    const work = [changeSource(soak), reindexAgainAndAgain(soak, encoder)];
    const samples = await watch(config, {
      worker: worker.pid ?? 0,
      coordinator: coordinator.pid ?? 0,
    });
    if (worker.exitCode !== null || coordinator.exitCode !== null) {
      throw new Error("A process ended before the soak did.");
    }
    over.abort();
    await Promise.all(work);
    const trends = memoryTrends(samples, WARM_UP_S);
    process.exitCode = trends.every(({ flat }) => flat) ? 0 : 1;
    await report(samples, trends, await recordCounts(soak));
  } finally {
    over.abort();
    for (const child of [coordinator, worker]) await end(child);
    await encoder.close();
    await cluster.close();
  }
});

/** `csplade reindex --follow` as a process of its own. */
function follow(config: Config): ChildProcess {
  const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
  const args = [main, "reindex", "--from", "soak", "--to", "soak-search", "--follow"];
  const child = spawn(process.execPath, [...args, "--no-workers", "--quiet"], {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      ...environmentOf(config),
      CSPLADE_THREADS: "1",
      CSPLADE_SLICE_DOCUMENTS: String(config["reindex.slice_documents"]),
    },
  });
  endWithProcess(child);
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await Promise.race([ended, sleep(30_000)]);
  child.kill("SIGKILL");
}

async function changeSource({ cluster, signal }: Soak): Promise<void> {
  for (let round = 1; !signal.aborted; round++) {
    const at = Math.floor(Math.random() * documents);
    await write(cluster, "soak", at, CHANGED, round);
    totals.changed += CHANGED;
    const gone = pathOf("soak", "_doc", `d${Math.floor(Math.random() * documents)}`);
    await cluster.send({ method: "DELETE", path: gone });
    totals.deleted += 1;
    await sleep(1_000, undefined, { signal }).catch(() => {});
  }
}

async function reindexAgainAndAgain(soak: Soak, encoder: Encoder): Promise<void> {
  const { config, cluster, signal } = soak;
  while (!signal.aborted) {
    // An alias of its own: else vectors would be taken over and nothing encoded.
    const alias = `soak-again-${randomBytes(3).toString("hex")}`;
    try {
      const summary = await reindex({
        config,
        cluster,
        encoder,
        what: { from: ["soak"], alias },
        work: false,
        metrics: createWorkerMetrics(),
        signal,
      });
      totals.runs += 1;
      totals.copied += summary.written;
      say(`run ${totals.runs}: ${summary.written} documents in ${summary.seconds.toFixed(0)} s`);
    } catch (thrown) {
      if (!isOver(signal)) throw thrown;
    }
    await deleteIndex(cluster, `${alias}-v1`);
  }
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** Writes documents of about a hundred words; `round` changes their text. */
async function write(
  cluster: Cluster,
  index: string,
  from: number,
  count: number,
  round = 0,
): Promise<void> {
  for (let at = from; at < from + count; at += 2_000) {
    const body = Array.from({ length: Math.min(2_000, from + count - at) }, (_, i) => {
      const words = `word${(at + i) % 97} subject${(at + i) % 17} round${round} `.repeat(30);
      return (
        `{"index":{"_id":"d${at + i}"}}\n` +
        `${JSON.stringify({ title: `Document ${at + i}`, text: words, round })}\n`
      );
    }).join("");
    await cluster.demand({ method: "POST", path: pathOf(index, "_bulk"), body }, "Writing");
  }
}

/** Samples until the time is over. */
async function watch(
  config: Config,
  pids: Readonly<Record<string, number>>,
): Promise<MemorySample[]> {
  const redis = new Redis(config["redis.url"], { maxRetriesPerRequest: null });
  const samples: MemorySample[] = [];
  const started = performance.now();
  try {
    for (;;) {
      const at = (performance.now() - started) / 1_000;
      if (at >= minutes * 60) return samples;
      const bytes: Record<string, number> = {};
      for (const [name, pid] of Object.entries(pids)) bytes[`${name} (RSS)`] = await rssOf(pid);
      const info = await redis.info("memory");
      bytes["Redis (used_memory)"] = Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
      samples.push({ at, bytes });
      await sleep(SAMPLE_MS);
    }
  } finally {
    redis.disconnect();
  }
}

async function rssOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return 1_024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

/** Passes of the run that followed, and records of it that are kept. */
async function recordCounts({ cluster }: Soak): Promise<{ passes: number; slices: number }> {
  await cluster.demand({ method: "POST", path: "/csplade-runs/_refresh" }, "Refreshing");
  const search = async (body: object) =>
    (await cluster.demand(
      { method: "POST", path: "/csplade-runs/_search", body },
      "Counting records",
    )) as { hits: { total: { value: number }; hits: { _source: Record<string, unknown> }[] } };
  const runs = await search({
    query: { bool: { filter: [{ term: { kind: "run" } }, { term: { alias: "soak-search" } }] } },
  });
  const run = runs.hits.hits[0]?._source as
    { run: string; passes: { number: number }[] } | undefined;
  const slices = await search({
    size: 0,
    track_total_hits: true,
    query: {
      bool: { filter: [{ term: { kind: "slice" } }, { term: { run: run?.run ?? "" } }] },
    },
  });
  return { passes: (run?.passes.at(-1)?.number ?? -1) + 1, slices: slices.hits.total.value };
}

async function report(
  samples: readonly MemorySample[],
  trends: readonly MemoryTrend[],
  records: { readonly passes: number; readonly slices: number },
): Promise<void> {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const rows = trends.map(
    ({ name, first, last, highest, slope, growth, flat }) =>
      `| ${name} | ${megabytes(first)} | ${megabytes(last)} | ${megabytes(highest)} | ` +
      `${megabytes(slope)} | ${percent(growth)} | ${flat ? "flat" : "**grows**"} |`,
  );
  const count = (value: number) => value.toLocaleString("en");
  const text = `# Memory of reindexing over ${minutes} minutes

\`npm run soak -- --minutes ${minutes} --documents ${documents}\` on ${os.availableParallelism()} of ${os.cpus().length} cores, load ${load_before.toFixed(1)} before it
began, Node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}. One \`csplade worker\` worked without a pause for two kinds of runs at once:
\`csplade reindex --follow\` copied what a writer changed (${count(totals.changed)} documents) and deleted (${count(totals.deleted)}) in an index of
${count(documents)}, and one reindexing of the whole index followed another (${totals.runs} ended, with ${count(totals.copied)} documents encoded and
written). The machine was shared with other work: it shows what becomes of memory, not how fast anything is.
The model is the tiny one of the tests.

![Memory over time](reindexing-soak.svg)

| memory of | first quarter, MB | last quarter, MB | highest, MB | slope, MB per hour | growth | verdict |
| --- | ---: | ---: | ---: | ---: | ---: | --- |
${rows.join("\n")}

The first ${(WARM_UP_S / 60).toFixed(0)} minutes do not count: caches fill and V8 finds its size. The slope is Theil and Sen's over the
medians of minutes; \`growth\` is what it adds up to in the time that counts, and up to 5 % is flat.

The run that followed made ${count(records.passes)} passes; of their slices ${count(records.slices)} records are kept, the others as sums in the run's
record, so records do not grow with the time a run follows its source either.
`;
  await writeFile(path.join(packageRoot, "docs", "reindexing-soak.md"), text);
  const plot = memoryPlot(samples, trends);
  await writeFile(path.join(packageRoot, "docs", "reindexing-soak.svg"), plot);
  if (flags.json !== undefined) {
    const figures = { minutes, documents, totals, records, trends, samples };
    await writeFile(flags.json, `${JSON.stringify(figures)}\n`);
  }
  for (const { name, slope, growth, flat } of trends) {
    process.stdout.write(
      `${name}: ${megabytes(slope)} MB per hour, ${percent(growth)}: ${flat ? "flat" : "GROWS"}\n`,
    );
  }
}
