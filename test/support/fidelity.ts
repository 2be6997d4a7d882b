/**
 * Whether documents come out as they went in: hostile ones are ingested, reindexed, followed and
 * rolled back while applications write, and then every document's own text is compared, byte for byte,
 * with what was acknowledged. The tests do it small, `npm run fidelity` at full size.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../../src/cluster/cluster.js";
import { pathOf } from "../../src/cluster/request.js";
import type { Config } from "../../src/config/settings.js";
import type { Encoder } from "../../src/encoder/encoder.js";
import { createWorkerMetrics } from "../../src/observe/worker-metrics.js";
import { ingestFiles } from "../../src/pipeline/ingest-files.js";
import { followIndex } from "../../src/pipeline/followed-documents.js";
import { reindex } from "../../src/reindex/reindex.js";
import { rollBack } from "../../src/reindex/rollback.js";
import { openRunStore } from "../../src/reindex/run-store.js";
import { compare, inWords, isClean, sumOf, type FidelityReport } from "./fidelity-report.js";
import { hostileDocuments, type HostileDocuments } from "./hostile-documents.js";
import { randomNumbers } from "./random-numbers.js";
import { Ledger, textsOf, write, type Write } from "./writers.js";

/** What an experiment runs on. */
export interface FidelityParts {
  /** On servers, with a Redis prefix of its own and `sku` for the id. */
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  readonly say?: (message: string) => void;
}

/** One reindexing with writers: everything besides the numbers of documents comes from the seed. */
export interface ScheduleOptions {
  /** Begins the names of the indices. */
  readonly prefix: string;
  readonly seed: number;
  readonly documents: number;
  /** The source is filled by an ingest, and is an index of csplade's; else by an application. */
  readonly ingested?: boolean;
  /** What the seed would decide. */
  readonly plan?: Partial<SchedulePlan>;
}

/** What happens in a schedule. */
interface SchedulePlan {
  /** The alias leads to the source at first; else to an index of its own. */
  readonly inPlace: boolean;
  readonly follow: boolean;
  /** When the swap is taken back. */
  readonly back: "never" | "during" | "after";
  readonly shards: number;
  readonly targetShards: number;
}

/** How long copies of a following run may take to come, milliseconds. */
const CONVERGE_MS = 60_000;

/** Lines of a bulk request of an application. */
const PER_BULK = 1_000;

/** Runs one schedule. Its indices stay, under the prefix. */
export async function runSchedule(
  parts: FidelityParts,
  options: ScheduleOptions,
): Promise<FidelityReport> {
  const { config, cluster, encoder, say = () => {} } = parts;
  const { seed, documents: count } = options;
  const random = randomNumbers(seed);
  const plan = { ...planOf(random), ...options.plan };
  const name = `${options.prefix}${seed}-${randomBytes(2).toString("hex")}`;
  const [source, alias, before] = [`${name}-source`, `${name}-alias`, `${name}-before`];
  const target = `${alias}-v1`;
  const url = config["opensearch.url"];
  const documents = hostileDocuments(seed);
  const ledger = new Ledger();
  const filling = { url, documents, ledger };
  say(`${name}: ${count} documents, ${JSON.stringify(plan)}`);
  await createIndex(cluster, source, plan.shards);
  if (options.ingested === true) await ingest(parts, { ...filling, index: source, count });
  else await fill({ ...filling, index: source, count });
  if (!plan.inPlace) {
    await createIndex(cluster, before, 1);
    await fill({ ...filling, index: before, count: Math.ceil(count / 10) });
  }
  const holder = plan.inPlace ? source : before;
  const add = { add: { index: holder, alias, is_write_index: true } };
  await cluster.demand(
    { method: "POST", path: "/_aliases", body: { actions: [add] } },
    `Making ${alias}`,
  );

  const happened = { low: Infinity, high: Infinity, swapped: false, following: false };
  const quarter = Math.floor(count / 4);
  const startWriters = (): { stop(): Promise<void> } => {
    const stop = new AbortController();
    const lanes = [
      () => source,
      () => alias,
      // Before the swap nobody but the run writes to the new index.
      () => (happened.swapped ? target : undefined),
    ].map((of, lane) => {
      const place = { name: of, from: lane * quarter, count: quarter };
      const more = { random: randomNumbers(seed * 10 + lane), pauseMs: 30, stop: stop.signal };
      return write({ ...filling, ...place, ...more });
    });
    const all = Promise.all(lanes);
    all.catch(() => {});
    return {
      async stop() {
        stop.abort();
        await all;
      },
    };
  };
  let writers = startWriters();
  await sleep(1_000 * random());
  const stopRun = new AbortController();
  const running = reindex({
    config,
    cluster,
    encoder,
    what: {
      from: [source],
      alias,
      shards: plan.targetShards,
      documents_per_second: Math.max(100, Math.ceil(count / 4)),
    },
    follow: plan.follow,
    metrics: createWorkerMetrics(),
    onProgress: ({ run }) => (happened.following ||= run.state === "following"),
    onStep(step) {
      say(`${name}: ${step}`);
      // What was acknowledged before the last pass is copied, and nothing that came after the swap.
      if (!plan.inPlace && step.startsWith("Verification passed")) happened.low = performance.now();
      if (step.startsWith("Writes to")) {
        happened.low = performance.now();
        happened.high = happened.low;
      }
      if (!step.startsWith(`The alias ${alias} now leads to`)) return;
      happened.high = Math.min(happened.high, performance.now());
      happened.swapped = true;
    },
    signal: stopRun.signal,
  });
  // Failures are looked at when the run is waited for.
  const ended = running.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  const store = openRunStore(cluster, { config, signal: new AbortController().signal });
  try {
    // A run that fails ends before it gets there, and is thrown.
    const isThere = () => (plan.follow ? happened.following : happened.swapped);
    while (!isThere()) await Promise.race([running, sleep(50)]);
    if (!plan.follow) await running;
    await sleep(1_000 + 2_000 * random());
    if (plan.back === "during") {
      await rollBack(cluster, store, alias);
      await sleep(1_000);
    }
    await writers.stop();
    const isFollowed = plan.follow && plan.back !== "during";
    const isLate = plan.follow && plan.back === "during";
    const follows = plan.follow ? "followed run" : "run";
    const phase = `after a ${follows}${plan.back === "during" ? " that was rolled back" : ""}`;
    const look = async (): Promise<FidelityReport> => {
      const own = (index: string) =>
        compare(url, { index, phase }, ledger.ids(index), (id) => [
          ledger.of(index, id).at(-1)?.text ?? null,
        ]);
      const ids = [...new Set([...ledger.ids(source), ...ledger.ids(target)])];
      const copied = await compare(url, { index: target, phase }, ids, (id) => {
        const theirs = ledger.of(target, id).at(-1);
        const copies = statesOf(ledger.of(source, id), {
          low: isFollowed ? Infinity : happened.low,
          high: isFollowed || isLate ? Infinity : happened.high,
        });
        // A following run that is taken back may have copied a last change.
        if (theirs === undefined) {
          // What was copied after the swap stays when the source deletes it.
          const stays = isFollowed && copies.includes(null);
          const { low } = happened;
          return stays ? statesOf(ledger.of(source, id), { low, high: Infinity }) : copies;
        }
        return isLate ? [theirs.text, ...copies] : [theirs.text];
      });
      return sumOf([await own(source), ...(plan.inPlace ? [] : [await own(before)]), copied]);
    };
    let report = await look();
    const until = performance.now() + CONVERGE_MS;
    while (isFollowed && !isClean(report) && performance.now() < until) {
      await sleep(1_000);
      report = await look();
    }
    if (plan.follow && plan.back !== "during") stopRun.abort();
    await ended;
    if (plan.back === "after") {
      const sofar = await textsOf(url, target);
      const since = performance.now();
      writers = startWriters();
      await sleep(500);
      await rollBack(cluster, store, alias);
      await sleep(1_000);
      await writers.stop();
      // The run is over: what is written to the source now is copied nowhere.
      const changed = new Set(
        ledger.ids(source).filter((id) => (ledger.of(source, id).at(-1)?.begun ?? 0) > since),
      );
      const phase = "after the rollback";
      const again = await compare(url, { index: source, phase }, ledger.ids(source), (id) => [
        ledger.of(source, id).at(-1)?.text ?? null,
      ]);
      const ids = [...sofar.keys(), ...ledger.ids(target)];
      const theirs = await compare(url, { index: target, phase }, ids, (id) => {
        const last = ledger.of(target, id).at(-1);
        return last === undefined ? (sofar.get(id) ?? [null]) : [last.text];
      });
      assert.ok(!plan.inPlace || changed.size > 0, "applications wrote after the rollback");
      report = sumOf([report, again, theirs]);
    }
    say(`${name}: ${JSON.stringify(report)}`);
    return { ...report, writes: ledger.size };
  } finally {
    stopRun.abort();
    await writers.stop();
    await ended;
  }
}

/** Gives the documents of an application's own index their vectors in place, while it writes. */
export async function runFollow(
  parts: FidelityParts,
  options: Pick<ScheduleOptions, "prefix" | "seed" | "documents">,
): Promise<FidelityReport> {
  const { config, cluster, encoder, say = () => {} } = parts;
  const index = `${options.prefix}own-${randomBytes(2).toString("hex")}`;
  const documents = hostileDocuments(options.seed);
  const ledger = new Ledger();
  const filling = { url: config["opensearch.url"], documents, ledger };
  await createIndex(cluster, index, 2);
  await fill({ ...filling, index, count: options.documents });
  const stop = new AbortController();
  const writing = write({
    ...filling,
    name: () => index,
    from: 0,
    count: options.documents,
    random: randomNumbers(options.seed),
    isKept: true,
    pauseMs: 20,
    stop: stop.signal,
  });
  writing.catch(() => {});
  const following = { config, cluster, encoder, index, once: true };
  const { signal } = new AbortController();
  const first = await followIndex({ ...following, signal });
  await sleep(1_000);
  stop.abort();
  await writing;
  const last = await followIndex({ ...following, signal });
  say(`${index}: ${first.encoded} and ${last.encoded} documents got a vector in place`);
  const place = { index, phase: "after csplade follow" };
  const report = await compare(config["opensearch.url"], place, ledger.ids(index), (id) => [
    ledger.of(index, id).at(-1)?.text ?? null,
  ]);
  return { ...report, writes: ledger.size };
}

function planOf(random: () => number): SchedulePlan {
  const [inPlace, follow, back] = [random() < 0.6, random() < 0.5, random()];
  return {
    inPlace,
    follow,
    back: back < 0.3 ? "never" : back < 0.65 ? "during" : "after",
    shards: 1 + Math.floor(3 * random()),
    targetShards: 1 + Math.floor(3 * random()),
  };
}

/** What a document of the source was from the last write before `low` up to those begun before `high`. */
function statesOf(
  writes: readonly Write[],
  { low, high }: { readonly low: number; readonly high: number },
): (string | null)[] {
  const first = writes.findLastIndex(({ ended }) => ended < low);
  const states = writes.filter(({ begun }, i) => i >= first && begun < high);
  const texts = states.map(({ text }) => text);
  // Before its first write a document was not there.
  return first === -1 ? [null, ...texts] : texts;
}

async function createIndex(cluster: Cluster, index: string, shards: number): Promise<void> {
  const settings = { index: { number_of_shards: shards, number_of_replicas: 0 } };
  const mappings = { dynamic: false, properties: { text: { type: "text" } } };
  const body = { settings, mappings };
  await cluster.demand({ method: "PUT", path: pathOf(index), body }, `Creating ${index}`);
}

interface Filling {
  readonly url: string;
  readonly index: string;
  readonly documents: HostileDocuments;
  readonly count: number;
  readonly ledger: Ledger;
}

function noteAll({ index, documents, count, ledger }: Filling): void {
  for (let n = 0; n < count; n++) {
    ledger.note(index, documents.id(n), { text: documents.text(n, 0), begun: 0, ended: 0 });
  }
}

/** Writes documents as an application does. */
async function fill(filling: Filling): Promise<void> {
  const { url, index, documents, count } = filling;
  for (let from = 0; from < count; from += PER_BULK) {
    const lines: string[] = [];
    for (let n = from; n < Math.min(count, from + PER_BULK); n++) {
      lines.push(JSON.stringify({ index: { _id: documents.id(n) } }), documents.text(n, 0));
    }
    const answer = await fetch(`${url}${pathOf(index, "_bulk")}`, {
      method: "POST",
      body: `${lines.join("\n")}\n`,
      headers: { "content-type": "application/x-ndjson" },
    });
    const { errors } = (await answer.json()) as { errors: boolean };
    assert.equal(errors, false);
  }
  noteAll(filling);
}

/** Writes documents with `csplade ingest`, and compares them. */
async function ingest(parts: FidelityParts, filling: Filling): Promise<void> {
  const { config, cluster, encoder } = parts;
  const { url, index, documents, count, ledger } = filling;
  const folder = await mkdtemp(path.join(os.tmpdir(), "csplade-fidelity-"));
  try {
    const file = path.join(folder, "hostile.ndjson");
    const lines = Array.from({ length: count }, (_, n) => documents.text(n, 0));
    await writeFile(file, `${lines.join("\n")}\n`);
    const summary = await ingestFiles({
      config: { ...config, home: folder },
      cluster,
      encoder,
      inputs: [file],
      index,
      deadLetters: path.join(folder, "dead-letters.ndjson"),
      signal: new AbortController().signal,
    });
    parts.say?.(`${index}: ${summary.written} ingested, ${summary.failed} refused`);
  } finally {
    await rm(folder, { recursive: true });
  }
  noteAll(filling);
  const place = { index, phase: "after the ingest" };
  const report = await compare(url, place, ledger.ids(index), (id) => [
    ledger.of(index, id).at(-1)?.text ?? null,
  ]);
  assert.ok(isClean(report), inWords(report));
}
