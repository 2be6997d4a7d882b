/**
 * What the gateway's proxy adds to a search, against asking the cluster directly.
 *
 * Both are asked on one schedule, in pairs: a search directly and the same search through the
 * gateway half a period later, or the other way round, so that whatever else the machine does
 * meets both alike. Each of them gets `--rate` searches a second, sent when they are due
 * whether the ones before are answered or not, over the same number of connections. Questions
 * are in the gateway's cache of vectors: encoding is excluded.
 *
 *   node dist/bench/gateway.js [--seconds 30] [--rate 200] [--json FILE]
 *   node dist/bench/gateway.js --opensearch URL    a running server instead of one of its own
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "undici";
import type { Cluster } from "../src/cluster/cluster.js";
import { packageRoot } from "../src/config/package-root.js";
import { openCheckpoint } from "../src/encoder/checkpoint-directory.js";
import { ensureIndex } from "../src/index/csplade-index.js";
import { translateQuery } from "../src/query/query-translator.js";
import { chooseDialect } from "../src/query/query-dialect.js";
import { fromFeatures, toFeatures, type Features } from "../src/sparse/features.js";
import { endWithProcess } from "../test/support/process-end.js";
import { randomVectors } from "../test/support/random-vectors.js";
import { benchFlags } from "./bench-flags.js";
import { describeMachine, writeReport, type BenchReport } from "./bench-report.js";
import { openBench } from "./bench-server.js";

const DOCUMENTS = 1_000;
/** Few, so that the cluster is far from its limits and what is measured is the way to it. */
const DOCUMENT_TERMS = 20;
const CONNECTIONS = 64;
/** Searches that warm the compilers of the cluster, the gateway and this process. */
const WARM_UP_SECONDS = 8;
const QUESTIONS = ["fear of closed spaces", "a person who studies stars", "to sleep", "the sea"];

const options = benchFlags(import.meta.url, {
  seconds: { type: "string", default: "30" },
  rate: { type: "string", default: "200" },
  opensearch: { type: "string" },
  folder: { type: "string" },
  json: { type: "string" },
});
const rate = Number(options.rate);
const seconds = Number(options.seconds);
const model = path.join(packageRoot, "test", "fixtures", "checkpoints", "tiny-bi");
const index = `bench-gateway-${randomBytes(4).toString("hex")}`;

/** One way to ask: where, and the bodies, sent in turn. */
interface Way {
  readonly pool: Pool;
  readonly bodies: readonly string[];
}

/** Milliseconds. */
interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** One kind of search, both ways. */
interface Comparison {
  readonly what: string;
  /** Searches of each way. */
  readonly searches: number;
  readonly direct: Percentiles;
  readonly gateway: Percentiles;
  /** What the gateway's percentiles are above the direct ones. */
  readonly adds: Percentiles;
  /** Processor time of the gateway's process for one search, milliseconds. */
  readonly gateway_cpu: number;
}

const description = describeMachine();
const { config, cluster, close } = await openBench({ ...options, model, heap: "1g" });
try {
  await fill(cluster);
  const gateway = await startGateway();
  try {
    const report = { machine: machine(), rate, seconds, results: await measure(gateway.url) };
    print(report);
    if (options.json !== undefined) await writeReport(options.json, reportOf(report));
  } finally {
    gateway.stop();
  }
} finally {
  await cluster.send({ method: "DELETE", path: `/${index}` });
  await close();
}

async function fill(into: Cluster): Promise<void> {
  const { manifest } = await openCheckpoint(model);
  const plan = { model: manifest, text_fields: ["text"], title_field: "title" };
  await ensureIndex(into, { name: index, passages: "merged", ...plan });
  const draw = randomVectors(5);
  for (let from = 0; from < DOCUMENTS; from += 1_000) {
    const lines = Array.from({ length: 1_000 }, (_, i) => [
      { index: { _id: String(from + i) } },
      {
        title: `document ${from + i}`,
        text: `the text of document ${from + i}`,
        csplade: toFeatures(draw(DOCUMENT_TERMS, manifest.vocabulary_size)),
        csplade_model: manifest.fingerprint,
      },
    ]).flat();
    const body = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    await into.demand({ method: "POST", path: `/${index}/_bulk`, body }, "Filling the index");
  }
  await into.demand(
    { method: "POST", path: `/${index}/_forcemerge`, query: { max_num_segments: 1 } },
    "Merging the index",
  );
  await into.demand({ method: "POST", path: `/${index}/_refresh` }, "Refreshing the index");
}

/** The gateway as people run it: a process of its own. */
async function startGateway(): Promise<{ url: string; stop: () => void }> {
  const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
  const args = [main, "serve", "--json", "--port", "0", "--model", model];
  args.push("--opensearch-url", config["opensearch.url"]);
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  endWithProcess(child);
  const [line] = (await once(readline.createInterface(child.stdout), "line")) as [string];
  return {
    url: (JSON.parse(line) as { url: string }).url,
    stop: () => child.kill("SIGTERM"),
  };
}

async function measure(url: string): Promise<Comparison[]> {
  const direct = new Pool(new URL(config["opensearch.url"]).origin, { connections: CONNECTIONS });
  const proxied = new Pool(url, { connections: CONNECTIONS });
  const found = { size: 10, _source: ["title"] };
  const match = QUESTIONS.map((query) =>
    JSON.stringify({ ...found, query: { match: { text: query } } }),
  );
  const clause = QUESTIONS.map((csplade) => JSON.stringify({ ...found, query: { csplade } }));
  const weighted = await weightedBodies(proxied, found);
  const results = [
    await compare("match, forwarded", [direct, match], [proxied, match]),
    await compare("csplade clause, rewritten", [direct, weighted], [proxied, clause]),
  ];
  await Promise.all([direct.close(), proxied.close()]);
  return results;
}

type PoolAndBodies = readonly [pool: Pool, bodies: readonly string[]];

async function compare(
  what: string,
  direct: PoolAndBodies,
  proxied: PoolAndBodies,
): Promise<Comparison> {
  const ways = [direct, proxied].map(([pool, bodies]): Way => ({ pool, bodies }));
  await sendPairs(ways, WARM_UP_SECONDS);
  const before = await cpuSeconds(proxied[0]);
  const [a = [], b = []] = await sendPairs(ways, seconds);
  const cpu = (await cpuSeconds(proxied[0])) - before;
  const [one, other] = [percentiles(a), percentiles(b)];
  return {
    what,
    searches: a.length,
    direct: one,
    gateway: other,
    adds: { p50: other.p50 - one.p50, p90: other.p90 - one.p90, p99: other.p99 - one.p99 },
    gateway_cpu: (cpu * 1_000) / b.length,
  };
}

async function cpuSeconds(gateway: Pool): Promise<number> {
  const { body } = await gateway.request({ method: "GET", path: "/metrics" });
  return Number(/^process_cpu_seconds_total (\S+)/m.exec(await body.text())?.[1]);
}

/** What the gateway makes of the questions, to be sent without it. */
async function weightedBodies(proxied: Pool, found: object): Promise<string[]> {
  const capabilities = await cluster.capabilities();
  const body = JSON.stringify({ texts: QUESTIONS, role: "query" });
  const answer = await proxied.request({ method: "POST", path: "/encode", body });
  const { results } = (await answer.body.json()) as { results: { vector: Features }[] };
  return results.map(({ vector }) => {
    const { query } = translateQuery({
      vector: fromFeatures(vector),
      dialect: chooseDialect(capabilities),
      fields: [{ name: "csplade" }],
      max_clause_count: capabilities.max_clause_count,
    });
    return JSON.stringify({ ...found, query });
  });
}

/** Sends pairs on schedule; the milliseconds that each way's searches took. */
async function sendPairs(ways: readonly Way[], forSeconds: number): Promise<number[][]> {
  const took: number[][] = ways.map(() => []);
  const open: Promise<void>[] = [];
  const begun = performance.now();
  for (let i = 0; i < rate * forSeconds * ways.length; i++) {
    const due = begun + (i * 1_000) / (rate * ways.length);
    while (performance.now() < due) await sleep(Math.max(0, due - performance.now() - 0.2));
    const pair = Math.floor(i / ways.length);
    // Every other pair starts with the other way.
    const which = (i + (pair % 2)) % ways.length;
    const { pool, bodies } = ways[which] as Way;
    open.push(sendOne(pool, bodies[pair % bodies.length] ?? "", took[which] ?? []));
  }
  await Promise.all(open);
  return took;
}

async function sendOne(pool: Pool, body: string, took: number[]): Promise<void> {
  const sent = performance.now();
  const answer = await pool.request({
    method: "POST",
    path: `/${index}/_search`,
    headers: { "content-type": "application/json" },
    body,
  });
  await answer.body.dump();
  if (answer.statusCode !== 200) throw new Error(`A search was answered ${answer.statusCode}.`);
  took.push(performance.now() - sent);
}

function percentiles(took: readonly number[]): Percentiles {
  const sorted = [...took].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

function machine(): string {
  const [cpu] = os.cpus();
  return `${os.availableParallelism()} cores (${cpu?.model.trim() ?? "?"}), load ${os.loadavg()[0]?.toFixed(1) ?? "?"}`;
}

function reportOf(report: { results: readonly Comparison[] }): BenchReport {
  return {
    format: 1,
    bench: "gateway",
    title: "What the gateway adds to a search",
    command: `node dist/bench/gateway.js --seconds ${seconds} --rate ${rate}`,
    machine: description,
    tables: [
      {
        title: `${rate} searches a second each way, ${CONNECTIONS} connections each`,
        columns: ["search", "ms", "direct:", "gateway:", "adds:"],
        rows: report.results.flatMap(({ what, direct, gateway, adds, gateway_cpu }) => [
          ...(["p50", "p90", "p99"] as const).map((name) => [
            what,
            name,
            direct[name].toFixed(2),
            gateway[name].toFixed(2),
            adds[name].toFixed(2),
          ]),
          [what, "cpu", "", gateway_cpu.toFixed(2), ""],
        ]),
      },
    ],
    figures: { rate, seconds, results: report.results },
  };
}

function print(report: { machine: string; results: readonly Comparison[] }): void {
  process.stdout.write(
    `${rate} searches a second each way, ${seconds} s, ${CONNECTIONS} connections each; ${report.machine}\n` +
      "| search                    | ms     | direct | gateway |  adds |\n" +
      "| ------------------------- | ------ | ------ | ------- | ----- |\n",
  );
  for (const { what, direct, gateway, adds, gateway_cpu } of report.results) {
    for (const name of ["p50", "p90", "p99"] as const) {
      const cell = (value: number, width: number) => value.toFixed(2).padStart(width);
      process.stdout.write(
        `| ${what.padEnd(25)} | ${name.padEnd(6)} | ${cell(direct[name], 6)} | ${cell(gateway[name], 7)} | ${cell(adds[name], 5)} |\n`,
      );
    }
    process.stdout.write(
      `| ${what.padEnd(25)} | cpu    |        | ${gateway_cpu.toFixed(2).padStart(7)} |       |\n`,
    );
  }
}
