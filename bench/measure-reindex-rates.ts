/**
 * Measures what docs/scale.md computes with: what queued slices take of Redis's memory, and what one node's
 * bulk API takes, on servers that it starts itself.
 *
 *   node dist/bench/measure-reindex-rates.js
 */
import os from "node:os";
import { Redis } from "ioredis";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import { loadConfig } from "../src/config/load-config.js";
import type { Config } from "../src/config/settings.js";
import { deleteIndex, ensureIndex } from "../src/index/csplade-index.js";
import { VECTOR_FIELD } from "../src/index/index-meta.js";
import { openSliceQueue } from "../src/queue/slice-queue.js";
import { benchFlags } from "./bench-flags.js";
import { withBenchServers } from "./bench-server.js";

const SLICES = 20_000;
const DOCUMENTS = 20_000;
const TERMS = 150;
const VOCABULARY = 49_152;
const BULK_DOCUMENTS = 500;
const BULKS_IN_FLIGHT = 4;

/** Bytes of Redis's memory before any slice, and per queued slice. */
async function measureRedis(config: Config): Promise<{ base: number; perSlice: number }> {
  const redis = new Redis(config["redis.url"], { maxRetriesPerRequest: null });
  const used = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info("memory"))?.[1]);
  const queue = await openSliceQueue(config, "0123456789abcdef");
  const base = await used();
  const run = "docs-csplade-20260101t1200-1a2b3c";
  await queue.add(
    Array.from({ length: SLICES }, (_, slice) => ({ format: 1 as const, run, slice })),
  );
  const perSlice = ((await used()) - base) / SLICES;
  await queue.close();
  redis.disconnect();
  return { base, perSlice };
}

/** Documents per second that one node's bulk API takes from a bare loop, and bytes of each. */
async function measureCluster(cluster: Cluster): Promise<{ perSecond: number; bytes: number }> {
  const name = "reindex-rates";
  await ensureIndex(cluster, {
    name,
    model: {
      fingerprint: "0123456789abcdef",
      name: "bench",
      variant: "bi",
      vocabulary_size: VOCABULARY,
    },
    passages: "merged",
    text_fields: ["text"],
    title_field: "title",
    replicas: 0,
    guarded: false,
  });
  const bodies: string[] = [];
  for (let from = 0; from < DOCUMENTS; from += BULK_DOCUMENTS) {
    bodies.push(
      Array.from({ length: BULK_DOCUMENTS }, (_, number) => bulkLines(name, from + number)).join(
        "",
      ),
    );
  }
  const bytes = bodies.reduce((sum, body) => sum + Buffer.byteLength(body), 0) / DOCUMENTS;
  const started = performance.now();
  const senders = Array.from({ length: BULKS_IN_FLIGHT }, async () => {
    for (let body = bodies.pop(); body !== undefined; body = bodies.pop()) {
      const answer = await cluster.demand({ method: "POST", path: "/_bulk", body }, "Writing");
      if ((answer as { errors?: boolean }).errors !== false) throw new Error("a bulk item failed");
    }
  });
  await Promise.all(senders);
  const perSecond = DOCUMENTS / ((performance.now() - started) / 1_000);
  await deleteIndex(cluster, name);
  return { perSecond, bytes };
}

/** An action and a document of {@link TERMS} terms, frequent ones more often, and 600 bytes of text. */
function bulkLines(index: string, number: number): string {
  const vector: Record<string, number> = {};
  for (let term = 0; term < TERMS; term++) {
    const skewed = Math.floor(VOCABULARY * Math.random() ** 4);
    vector[skewed] = Math.round(1 + Math.random() * 400) / 128;
  }
  const text = Array.from({ length: 90 }, () => Math.random().toString(36).slice(2, 8)).join(" ");
  return (
    JSON.stringify({ index: { _index: index, _id: String(number) } }) +
    "\n" +
    JSON.stringify({ title: `document ${number}`, text, [VECTOR_FIELD]: vector }) +
    "\n"
  );
}

benchFlags(import.meta.url, {});
const say = (message: string) => process.stderr.write(`${message}\n`);
await withBenchServers({ name: "rates", onProgress: say }, async ({ opensearchUrl, redisUrl }) => {
  const config = loadConfig({
    flags: { "opensearch.url": opensearchUrl, "redis.url": redisUrl },
  }).values;
  const { base, perSlice } = await measureRedis(config);
  const cluster = connectCluster(config);
  const { perSecond, bytes } = await measureCluster(cluster);
  await cluster.close();

  const load = os.loadavg()[0] ?? 0;
  const rates = {
    machine: `${os.cpus().length} cores, load ${load.toFixed(0)}`,
    redis_base_bytes: Math.round(base),
    redis_bytes_per_slice: Math.round(perSlice),
    bulk_bytes_per_document: Math.round(bytes),
    bulk_documents_per_second: Math.round(perSecond),
  };
  process.stdout.write(JSON.stringify(rates, undefined, 2) + "\n");
});
