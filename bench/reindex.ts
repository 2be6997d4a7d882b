/**
 * What a reindexing keeps of its encoder and of its cluster, as ratios within one run:
 *
 * - `encoder`: the whole pipeline against the encoder alone, same model and same texts;
 * - `workers`: two worker processes on two cores against one on one core;
 * - `overhead`: the pipeline with a stub for the encoder against a bare loop over the bulk API
 *   that sends the same documents, made beforehand; and an ingest of a file of them likewise.
 *
 *   npm run bench:reindex -- [--only encoder,workers,overhead] [--rounds 5] [--json FILE]
 *     --documents N        documents of `encoder` and `workers` (1500)
 *     --stub-documents N   documents of `overhead` (20000)
 *     --model DIR          the checkpoint (the default one)
 *
 * Ways alternate in rounds and are compared round by round. The servers are its own. Rates are
 * those of the copying, from the first claim of a slice to the end of the last one: planning,
 * verification and the swap take seconds, however large the source is.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { connectCluster, type Cluster } from "../src/cluster/cluster.js";
import { pathOf } from "../src/cluster/request.js";
import { loadConfig } from "../src/config/load-config.js";
import type { Config, SettingName } from "../src/config/settings.js";
import { openEncoder, type Encoder } from "../src/encoder/encoder.js";
import { linesOf, type BulkOperation } from "../src/cluster/bulk-operation.js";
import { JsonObject } from "../src/json/json-object.js";
import { contentHash, textHash } from "../src/index/content-hash.js";
import { deleteIndex, ensureIndex } from "../src/index/csplade-index.js";
import { documentSteps, vectorShape } from "../src/index/index-document.js";
import { NOTHING_STORED } from "../src/index/stored-state.js";
import { createWorkerMetrics } from "../src/observe/worker-metrics.js";
import { reindex } from "../src/reindex/reindex.js";
import { openRunStore } from "../src/reindex/run-store.js";
import { findIndexSource } from "../src/sources/index-source.js";
import { startWorkerProcess } from "../test/support/worker-process.js";
import { benchFlags } from "./bench-flags.js";
import { describeMachine, packageVersion, writeReport, type BenchTable } from "./bench-report.js";
import { withBenchServers } from "./bench-server.js";
import { countCpu, type CpuTime } from "./cpu-time.js";
import { ingestOf } from "./ingest-rate.js";
import { mixedTexts } from "./mixed-texts.js";
import { inRounds, median, pairedRatio, type PairedRatio } from "../src/encoder/paired-rounds.js";
import { stubEncoder } from "./stub-encoder.js";

const flags = benchFlags(import.meta.url, {
  only: { type: "string", default: "encoder,workers,overhead" },
  rounds: { type: "string", default: "5" },
  documents: { type: "string", default: "1500" },
  "stub-documents": { type: "string", default: "20000" },
  model: { type: "string" },
  json: { type: "string" },
});
const parts = flags.only.split(",");
const rounds = Number(flags.rounds);

/** Documents the encoder alone is given at once: as many as a window of a slice has at most. */
const WINDOW = 512;

/** Stands in prepared bodies for the name of the index of a round. */
const BARE_INDEX = "@bench-bare@";

/** Workers that log nothing. */
const QUIET = { CSPLADE_LOG_LEVEL: "silent" };

/** One document of a source. */
interface Text {
  readonly id: string;
  readonly title: string;
  readonly text: string;
}

/** What one part found. */
interface Found {
  readonly figures: object;
  readonly row: string[];
  readonly notes: string[];
}

/** What one copying came to. */
interface Copied {
  /** Documents per second. */
  readonly rate: number;
  readonly cpu: CpuTime;
}

function ratesOf(copied: readonly Copied[]): number[] {
  return copied.map(({ rate }) => rate);
}

interface Bench {
  readonly config: Config;
  readonly cluster: Cluster;
}

const say = (message: string) => process.stderr.write(`${message}\n`);

const machine = describeMachine({
  "onnxruntime-node": packageVersion("onnxruntime-node"),
  bullmq: packageVersion("bullmq"),
});
const options = { name: "bench", healthyWithinMs: 600_000, onProgress: say };
await withBenchServers(options, async ({ opensearchUrl, redisUrl }) => {
  const given = flags.model === undefined ? {} : { "model.path": path.resolve(flags.model) };
  const settings: Partial<Record<SettingName, unknown>> = {
    ...given,
    "opensearch.url": opensearchUrl,
    "redis.url": redisUrl,
    // One thread, so that the encoder takes one core and the servers have another one.
    "model.threads": 1,
    "reindex.slice_documents": Math.max(100, Math.ceil(Number(flags.documents) / 12)),
    // On a machine that has other work to do, what is slow must not count as lost.
    "opensearch.request_timeout_ms": 600_000,
    "queue.lock_ms": 600_000,
    "write.max_bytes": 1_000_000,
    "log.level": "silent",
  };
  const { values: config } = loadConfig({ flags: settings });
  const cluster = connectCluster(config);
  const bench = { config, cluster };
  const { version } = await cluster.capabilities();
  const found: Record<string, Found> = {};
  try {
    if (parts.includes("encoder")) found.encoder = await againstEncoder(bench);
    if (parts.includes("workers")) found.workers = await twoWorkers(bench);
    if (parts.includes("overhead")) Object.assign(found, await againstBareLoop(bench));
  } finally {
    await cluster.close();
  }
  const tables: BenchTable[] = [
    {
      title: "Reindexing against its parts",
      columns: [
        ...["measured", "against", "documents/s:", "against:", "ratio:"],
        // Fewer rounds cannot give 95 %.
        rounds < 6 ? "seen:" : "95 %:",
        "goal:",
      ],
      rows: Object.values(found).map(({ row }) => row),
      notes: Object.values(found).flatMap(({ notes }) => notes),
    },
  ];
  print(tables);
  if (flags.json !== undefined) {
    await writeReport(flags.json, {
      format: 1,
      bench: "reindex",
      title: "Batch reindexing",
      command: `npm run bench:reindex -- --rounds ${rounds}`,
      machine: { ...machine, versions: { ...machine.versions, OpenSearch: version } },
      tables,
      figures: Object.fromEntries(
        Object.entries(found).map(([name, { figures }]) => [name, figures]),
      ),
    });
  }
});

/** The whole pipeline, and the encoder alone on the same texts. */
async function againstEncoder({ config, cluster }: Bench): Promise<Found> {
  const texts = await sourceTexts(Number(flags.documents));
  await fill(cluster, "bench-encoder", texts);
  const encoder = await openEncoder(config);
  try {
    const inputs = inputsOf(texts);
    const alone = async (): Promise<Copied> => {
      const cpuOf = await countCpu(cluster);
      const started = performance.now();
      for (let from = 0; from < inputs.length; from += WINDOW) {
        await encoder.encodeDocuments(inputs.slice(from, from + WINDOW));
      }
      const rate = inputs.length / ((performance.now() - started) / 1_000);
      return { rate, cpu: await cpuOf(inputs.length) };
    };
    const pipeline = () => copy({ config, cluster }, encoder, "bench-encoder", true);
    await encoder.encodeDocuments(inputs.slice(0, 64));
    const [whole = [], only = []] = await inRounds(rounds, [pipeline, alone], progress("encoder"));
    return ratioRow("whole pipeline", "the encoder alone", whole, only, 0.9);
  } finally {
    await encoder.close();
  }
}

/** Two worker processes, each on a core of its own, and one on one core. */
async function twoWorkers({ config, cluster }: Bench): Promise<Found> {
  const cores = allowedCores();
  if (cores.length < 2) throw new Error("Two workers on two cores need two cores.");
  const texts = await sourceTexts(Number(flags.documents));
  await fill(cluster, "bench-workers", texts);
  const encoder = await openEncoder(config);
  try {
    const withWorkers = (count: number) => async () => {
      const own = { ...config, "redis.prefix": `bench-${randomBytes(3).toString("hex")}` };
      const crew = await Promise.all(
        cores.slice(0, count).map((core) => startWorkerProcess(own, { core, env: QUIET })),
      );
      try {
        return await copy({ config: own, cluster }, encoder, "bench-workers", false);
      } finally {
        for (const worker of crew) worker.kill("SIGKILL");
      }
    };
    const [two = [], one = []] = await inRounds(
      rounds,
      [withWorkers(2), withWorkers(1)],
      progress("workers"),
    );
    const row = ratioRow("2 workers on 2 cores", "1 worker on 1 core", two, one, 1.8);
    const shared = cores.length < 3;
    return {
      ...row,
      notes: [
        ...row.notes,
        ...(shared
          ? ["OpenSearch, Redis and the coordinator ran on the two workers' cores as well."]
          : []),
      ],
    };
  } finally {
    await encoder.close();
  }
}

/** The pipeline with vectors that cost nothing, and a loop that only sends bulk requests. */
async function againstBareLoop({ config: given, cluster }: Bench): Promise<Record<string, Found>> {
  const count = Number(flags["stub-documents"]);
  const config = {
    ...given,
    "reindex.slice_documents": Math.max(100, Math.ceil(count / 2)),
    // As many as the bare loop: where encoding costs nothing, the requests in flight decide.
    "write.concurrency": 4,
  };
  const texts = await sourceTexts(count);
  await fill(cluster, "bench-overhead", texts);
  const encoder = await stubEncoder(config);
  const bodies = bulkBodies(config, encoder, texts, await encoder.encodeDocuments(inputsOf(texts)));
  const bare = (inFlight: number) => async (): Promise<Copied> => {
    const index = `bench-bare-${randomBytes(3).toString("hex")}`;
    await createTarget(config, cluster, encoder, index, "bench-overhead");
    const mine = bodies.map((body) => body.replaceAll(BARE_INDEX, index));
    const cpuOf = await countCpu(cluster);
    const started = performance.now();
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        for (let body = mine.pop(); body !== undefined; body = mine.pop()) {
          const answer = (await cluster.demand(
            { method: "POST", path: "/_bulk", query: { filter_path: "errors" }, body },
            "Writing in a bare loop",
          )) as { errors: boolean };
          if (answer.errors) throw new Error("A bulk item failed.");
        }
      }),
    );
    const rate = count / ((performance.now() - started) / 1_000);
    const cpu = await cpuOf(count);
    await deleteIndex(cluster, index);
    return { rate, cpu };
  };
  const pipeline = () => copy({ config, cluster }, encoder, "bench-overhead", true);
  const ingest = await ingestOf({ config, cluster, encoder, onTrouble: say }, texts);
  const [whole = [], two = [], four = [], fromFile = []] = await inRounds(
    rounds,
    [pipeline, bare(2), bare(4), () => ingest.once()],
    progress("overhead"),
  );
  await ingest.end();
  const best = median(ratesOf(four)) > median(ratesOf(two)) ? four : two;
  const row = ratioRow("pipeline, stub encoder", "a bare bulk loop", whole, best, 0.8);
  const ingestRow = ratioRow("ingest, stub encoder", "a bare bulk loop", fromFile, best, 0.8);
  const at = (copied: readonly Copied[]) => median(ratesOf(copied)).toFixed(0);
  const cost = (copied: readonly Copied[], where: keyof CpuTime) =>
    median(copied.map(({ cpu }) => cpu[where])).toFixed(0);
  const overhead = {
    ...row,
    figures: {
      ...row.figures,
      bare_two_in_flight: ratesOf(two),
      bare_four_in_flight: ratesOf(four),
      pipeline_cpu: whole.map(({ cpu }) => cpu),
      bare_cpu: best.map(({ cpu }) => cpu),
    },
    notes: [
      ...row.notes,
      `The bare loop sent the same ${count} documents, made beforehand, with 2 ` +
        `(${at(two)} documents/s) and 4 (${at(four)}) requests in flight; the faster one counts.`,
      `CPU time per document, µs, pipeline against bare loop: this process ` +
        `${cost(whole, "process_us")} against ${cost(best, "process_us")}, OpenSearch ` +
        `${cost(whole, "cluster_us")} against ${cost(best, "cluster_us")}.`,
    ],
  };
  return { overhead, ingest: ingestRow };
}

/** Reindexes a source once, timing the copying. Its CPU time is that of the whole run. */
async function copy(
  { config, cluster }: Bench,
  encoder: Encoder,
  source: string,
  work: boolean,
): Promise<Copied> {
  const alias = `${source}-${randomBytes(3).toString("hex")}`;
  const { signal } = new AbortController();
  const cpuOf = await countCpu(cluster);
  const summary = await reindex({
    config,
    cluster,
    encoder,
    what: { from: [source], alias },
    work,
    verify: false,
    metrics: createWorkerMetrics(),
    onTrouble: say,
    signal,
  });
  const cpu = await cpuOf(summary.written);
  const slices = await openRunStore(cluster, { config, signal }).listSlices(summary.run, ["done"]);
  const copied = slices.filter(({ pass }) => pass === 0);
  const from = Math.min(...copied.map(({ started_at }) => Date.parse(started_at ?? "")));
  const to = Math.max(...copied.map(({ updated_at }) => Date.parse(updated_at ?? "")));
  if (summary.written !== summary.encoded) throw new Error("Not every document was encoded.");
  await deleteIndex(cluster, summary.target);
  return { rate: summary.written / ((to - from) / 1_000), cpu };
}

async function sourceTexts(count: number): Promise<Text[]> {
  const texts = await mixedTexts(count, 7);
  return texts.map((text, i) => ({ id: `t${i}`, title: `Text ${i}`, text }));
}

function inputsOf(texts: readonly Text[]): string[] {
  return texts.map(({ title, text }) => `${title} ${text}`);
}

async function fill(cluster: Cluster, index: string, texts: readonly Text[]): Promise<void> {
  for (let from = 0; from < texts.length; from += 2_000) {
    const body = texts
      .slice(from, from + 2_000)
      .map(({ id, ...rest }) => `{"index":{"_id":"${id}"}}\n${JSON.stringify(rest)}\n`)
      .join("");
    await cluster.demand({ method: "POST", path: pathOf(index, "_bulk"), body }, "Filling");
  }
  await cluster.demand({ method: "POST", path: pathOf(index, "_refresh") }, "Refreshing");
}

/** What the pipeline would send, in requests as large as it sends. */
function bulkBodies(
  config: Config,
  encoder: Encoder,
  texts: readonly Text[],
  encoded: Awaited<ReturnType<Encoder["encodeDocuments"]>>,
): string[] {
  const shape = { ...vectorShape(config), max_passages: config["ingest.max_passages"] };
  const info = { ...planOf(config, encoder), name: BARE_INDEX, indices: [], created: false };
  const bodies: string[] = [];
  let body = "";
  for (const [i, { id, ...own }] of texts.entries()) {
    const text = `${own.title} ${own.text}`;
    const source = JsonObject.of(own);
    const hash = contentHash(source, info, shape);
    const context = { shape, hash, text_hash: textHash(text, info, shape), stored: NOTHING_STORED };
    const document = { id, text, body: source, version: i + 1 };
    const steps = documentSteps(info, document, encoded[i]?.passages ?? [], context);
    body += steps.flat().map(lines).join("");
    if (body.length > config["write.max_bytes"]) {
      bodies.push(body);
      body = "";
    }
  }
  return body === "" ? bodies : [...bodies, body];
}

function lines(operation: BulkOperation): string {
  const made = linesOf(operation);
  if ("problem" in made) throw new Error(made.problem);
  return made.lines;
}

function planOf(config: Config, { manifest }: Encoder) {
  const { fingerprint, name, variant, vocabulary_size } = manifest;
  return {
    model: { fingerprint, name, variant, vocabulary_size },
    passages: config["ingest.passages"],
    text_fields: config["ingest.text_fields"],
    title_field: config["ingest.title_field"],
  };
}

/** An index as a run makes it: with the mapping of its source, and settings for the bulk of the writing. */
async function createTarget(
  config: Config,
  cluster: Cluster,
  encoder: Encoder,
  name: string,
  source: string,
): Promise<void> {
  const inherit = await findIndexSource(cluster, source);
  await ensureIndex(cluster, { name, ...planOf(config, encoder), inherit });
  const body = { index: { refresh_interval: "30s", gc_deletes: "1h" } };
  await cluster.demand({ method: "PUT", path: pathOf(name, "_settings"), body }, "Preparing");
}

/** Cores this process may use. */
function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return (list ?? "").split(",").flatMap((range) => {
    const [from = 0, to = from] = range.split("-").map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

function progress(part: string): (round: number) => void {
  return (round) => say(`${part}: round ${round} of ${rounds}`);
}

function ratioRow(
  what: string,
  against: string,
  copiedByUs: readonly Copied[],
  copiedByThem: readonly Copied[],
  goal: number,
): Found {
  const ours = ratesOf(copiedByUs);
  const theirs = ratesOf(copiedByThem);
  const paired: PairedRatio = pairedRatio(ours, theirs);
  const { ratio, low, high } = paired;
  return {
    figures: { ...paired, goal, ours, theirs },
    row: [
      what,
      against,
      median(ours).toFixed(1),
      median(theirs).toFixed(1),
      ratio.toFixed(2),
      `${low.toFixed(2)} to ${high.toFixed(2)}`,
      `≥ ${goal}`,
    ],
    notes: [],
  };
}

function print(tables: readonly BenchTable[]): void {
  for (const { rows, notes = [] } of tables) {
    for (const [what = "", against = "", ours = "", theirs = "", ratio = "", range = ""] of rows) {
      process.stdout.write(
        `${what}: ${ours} documents/s, ${ratio} (${range}) of ${against}: ${theirs}\n`,
      );
    }
    for (const note of notes) process.stdout.write(`${note}\n`);
  }
}
