/**
 * What the gateway's proxy adds to a search, against asking the cluster directly in the same
 * run: 200 requests a second, sent on schedule whether the ones before are answered or not.
 * Blocks of both alternate, so that what else the machine does meets both alike. Questions are
 * in the gateway's cache of vectors: encoding is excluded.
 *
 *   node dist/bench/gateway.js [--seconds 20] [--rate 200] [--json]
 *
 * Needs a cluster (`OPENSEARCH_URL`, or `csplade up`); its index is made and deleted here.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Pool } from "undici";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import { loadConfig } from "../src/config/load-config.js";
import { packageRoot } from "../src/config/package-root.js";
import { openCheckpoint } from "../src/encoder/checkpoint-directory.js";
import { ensureIndex } from "../src/index/csplade-index.js";
import { translateQuery } from "../src/query/query-translator.js";
import { chooseDialect } from "../src/query/query-dialect.js";
import { fromFeatures, toFeatures, type Features } from "../src/sparse/features.js";
import { randomVectors } from "../test/support/random-vectors.js";

const DOCUMENTS = 1_000;
const BLOCK_SECONDS = 2;
const QUESTIONS = ["fear of closed spaces", "a person who studies stars", "to sleep", "the sea"];

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "20" },
    rate: { type: "string", default: "200" },
    json: { type: "boolean", default: false },
  },
});
const rate = Number(options.rate);
const blocks = Math.ceil(Number(options.seconds) / BLOCK_SECONDS);
const model = path.join(packageRoot, "test", "fixtures", "checkpoints", "tiny-bi");
const config = loadConfig({ flags: { "model.path": model } }).values;
const index = `bench-gateway-${randomBytes(4).toString("hex")}`;

/** One way to ask, and the milliseconds each request took. */
interface Way {
  readonly name: string;
  readonly pool: Pool;
  /** Bodies, sent in turn. */
  readonly bodies: readonly string[];
  readonly took: number[];
}

const cluster = connectCluster(config);
try {
  await fill(cluster);
  const gateway = await startGateway();
  try {
    const results = await measure(gateway.url);
    if (options.json) process.stdout.write(`${JSON.stringify(results)}\n`);
    else print(results);
  } finally {
    gateway.stop();
  }
} finally {
  await cluster.send({ method: "DELETE", path: `/${index}` });
  await cluster.close();
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
        csplade: toFeatures(draw(60, manifest.vocabulary_size)),
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
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(readline.createInterface(child.stdout), "line")) as [string];
  return {
    url: (JSON.parse(line) as { url: string }).url,
    stop: () => child.kill("SIGTERM"),
  };
}

async function measure(url: string): Promise<object[]> {
  const direct = new Pool(new URL(config["opensearch.url"]).origin, { connections: 64 });
  const proxied = new Pool(url, { connections: 64 });
  const found = { size: 10, _source: ["title"] };
  const match = QUESTIONS.map((query) =>
    JSON.stringify({ ...found, query: { match: { text: query } } }),
  );
  const clause = QUESTIONS.map((csplade) => JSON.stringify({ ...found, query: { csplade } }));
  const weighted = await weightedBodies(proxied, found);
  const pairs: [what: string, direct: Way, gateway: Way][] = [
    ["match, forwarded", way("direct", direct, match), way("gateway", proxied, match)],
    ["csplade clause, rewritten", way("direct", direct, weighted), way("gateway", proxied, clause)],
  ];
  const results: object[] = [];
  for (const [what, one, other] of pairs) {
    // The first blocks warm the cluster's and Node's compilers.
    for (let block = 0; block < blocks + 2; block++) {
      if (block === 2) for (const each of [one, other]) each.took.length = 0;
      for (const each of block % 2 === 0 ? [one, other] : [other, one]) await sendBlock(each);
    }
    const [a, b] = [summary(one.took), summary(other.took)];
    results.push({
      what,
      rate,
      requests: one.took.length,
      direct: a,
      gateway: b,
      overhead: { p50: b.p50 - a.p50, p99: b.p99 - a.p99 },
    });
  }
  await Promise.all([direct.close(), proxied.close()]);
  return results;
}

function way(name: string, pool: Pool, bodies: readonly string[]): Way {
  return { name, pool, bodies, took: [] };
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

async function sendBlock({ pool, bodies, took }: Way): Promise<void> {
  const open: Promise<void>[] = [];
  const begun = performance.now();
  for (let i = 0; i < rate * BLOCK_SECONDS; i++) {
    const due = begun + (i * 1_000) / rate;
    while (performance.now() < due) await sleep(Math.max(0, due - performance.now() - 0.2));
    open.push(sendOne(pool, bodies[i % bodies.length] ?? "", took));
  }
  await Promise.all(open);
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

function summary(took: readonly number[]): { p50: number; p99: number } {
  const sorted = [...took].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
  return { p50: at(0.5), p99: at(0.99) };
}

function print(results: readonly object[]): void {
  const lines = results as readonly {
    what: string;
    requests: number;
    direct: { p50: number; p99: number };
    gateway: { p50: number; p99: number };
    overhead: { p50: number; p99: number };
  }[];
  const [cpu] = os.cpus();
  process.stdout.write(
    `${rate} requests/s, ${os.availableParallelism()} cores (${cpu?.model ?? "?"}), load ${os.loadavg()[0]?.toFixed(1) ?? "?"}\n`,
  );
  for (const { what, requests, direct, gateway, overhead } of lines) {
    const ms = (value: number) => `${value.toFixed(2)} ms`.padStart(9);
    process.stdout.write(
      `${what.padEnd(26)} ${requests} each   p50 direct ${ms(direct.p50)}  gateway ${ms(gateway.p50)}  adds ${ms(overhead.p50)}` +
        `   p99 direct ${ms(direct.p99)}  gateway ${ms(gateway.p99)}  adds ${ms(overhead.p99)}\n`,
    );
  }
}
