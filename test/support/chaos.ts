/**
 * Reindexes while something goes wrong again and again, then counts: every document once, none
 * lost, none stale. The tests do it small, `npm run chaos` at full size.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCluster, type Cluster } from "../../src/cluster/cluster.js";
import { pathOf } from "../../src/cluster/request.js";
import type { Config } from "../../src/config/settings.js";
import { openEncoder } from "../../src/encoder/encoder.js";
import { readStamp } from "../../src/index/write-stamp.js";
import { JsonObject } from "../../src/json/json-object.js";
import { contentHash } from "../../src/index/content-hash.js";
import { createWorkerMetrics } from "../../src/observe/worker-metrics.js";
import { reindex } from "../../src/reindex/reindex.js";
import { openRunStore } from "../../src/reindex/run-store.js";
import { faultyDevice, type FaultyDevice } from "./faulty-device.js";
import { startHttpFaultProxy, startPartitionProxy } from "./fault-proxy.js";
import { contentOf, deadLettersOf, fill, testDocuments, type TestDocument } from "./reindexing.js";
import { startWorkerProcess } from "./worker-process.js";

/** What goes wrong. */
export const faultKinds = [
  "kill-worker",
  "kill-redis",
  "kill-opensearch",
  "storm",
  "read-only",
  "partition",
  "session-throws",
  "thread-killed",
  "run-hangs",
  "memory-exhausted",
] as const;

/** What goes wrong. */
export type FaultKind = (typeof faultKinds)[number];

/** Servers that can be killed. */
export interface KillableServers {
  readonly opensearchUrl: string;
  readonly redisUrl: string;
  killOpenSearch(): Promise<void>;
  restartOpenSearch(): Promise<void>;
  killRedis(): Promise<void>;
  restartRedis(): Promise<void>;
}

/** One experiment. */
export interface ChaosOptions {
  readonly kind: FaultKind;
  readonly documents: number;
  /** How often it goes wrong. */
  readonly rounds: number;
  readonly servers: KillableServers;
  /** Configuration on the servers, with a Redis prefix of its own. */
  readonly config: Config;
  /** Told what happens. */
  readonly say?: (message: string) => void;
}

/** What came of it. */
export interface ChaosReport {
  readonly kind: FaultKind;
  readonly documents: number;
  /** How often it went wrong while documents were in flight. */
  readonly injected: number;
  /** Documents changed and deleted in the source meanwhile. */
  readonly changed: number;
  readonly deleted: number;
  /** Claims of slices beyond the first: work that was taken up again. */
  readonly taken_up_again: number;
  readonly source: number;
  readonly target: number;
  readonly lost: number;
  readonly extra: number;
  readonly stale: number;
  readonly doubled: number;
  /** In the target with a vector that was made of another content, by its hash. */
  readonly wrong_vector: number;
  readonly dead_letters: number;
  /** Documents without text that have no dead letter, and documents with text that have one. */
  readonly unaccounted: number;
  readonly seconds: number;
}

/** One document in so many has no text: it must end as a dead letter, whatever happens around it. */
const TEXTLESS_EVERY = 500;

/** Documents of the experiments' source; some cannot be encoded. */
function chaosDocuments(count: number, round = 0, from = 0): TestDocument[] {
  return testDocuments(count, round, from).map((document, i) =>
    isTextless(from + i) ? { id: document.id, title: " ", text: "", round } : document,
  );
}

function isTextless(number: number): boolean {
  return number % TEXTLESS_EVERY === TEXTLESS_EVERY - 1;
}

/** Seconds between two faults. */
const SPACING_S = [1, 4] as const;

/** Runs one experiment. The source, the target and the alias are left behind under `prefix`. */
export async function runChaos(options: ChaosOptions, prefix: string): Promise<ChaosReport> {
  const { kind, documents, rounds, servers, config } = options;
  const say = options.say ?? (() => {});
  const name = `${prefix}${kind}-${randomBytes(3).toString("hex")}`;
  const started = performance.now();
  // Straight to the servers, whatever stands between them and the workers.
  const cluster = connectCluster(config);
  const storm = await startHttpFaultProxy(servers.opensearchUrl);
  const redis = new URL(servers.redisUrl);
  const partition = await startPartitionProxy(Number(redis.port));
  const device = faultyDevice();
  const workerEnv = {
    ...device.env,
    CSPLADE_RUN_TIMEOUT_MS: "2000",
    OPENSEARCH_URL: kind === "storm" ? storm.url : servers.opensearchUrl,
    REDIS_URL: kind === "partition" ? `redis://127.0.0.1:${partition.port}` : servers.redisUrl,
  };
  const crew = new Crew(config, say);
  const stop = new AbortController();
  const encoder = await openEncoder(config);
  try {
    await fill(cluster, name, chaosDocuments(documents));
    await crew.hire(workerEnv);
    // In a partition somebody on the other side takes the work over.
    await crew.hire({ OPENSEARCH_URL: servers.opensearchUrl, REDIS_URL: servers.redisUrl });
    const store = openRunStore(cluster, { config, signal: stop.signal });
    const rate = Math.max(20, documents / (rounds * (kind === "partition" ? 30 : 8)));
    const now = { run: "", copied: false };
    const running = reindex({
      config,
      cluster,
      encoder,
      // Slow enough that all faults hit documents in flight.
      what: { from: [name], alias: `${name}-search`, documents_per_second: rate },
      work: false,
      maxLagSeconds: 30,
      metrics: createWorkerMetrics(),
      onProgress({ run }) {
        now.run = run.run;
        now.copied = run.state !== "copying" && run.state !== "catching_up";
      },
      onStep: say,
      signal: stop.signal,
    });
    running.catch(() => (now.copied = true));
    while (now.run === "" && !now.copied) await sleep(100);
    const meanwhile = changeMeanwhile(cluster, name, documents);
    let injected = 0;
    while (injected < rounds && !now.copied) {
      await sleep(1_000 * (SPACING_S[0] + Math.random() * (SPACING_S[1] - SPACING_S[0])));
      say(`${kind} ${injected + 1} of ${rounds}`);
      await inject(kind, {
        servers,
        cluster,
        storm,
        partition,
        crew,
        device,
        workerEnv,
        target: `${name}-search-v1`,
        lockMs: config["queue.lock_ms"],
      });
      injected += 1;
    }
    const { changed, deleted } = await meanwhile.stop();
    if (now.copied) {
      await running;
      throw new Error("The run ended before the faults did: nothing is known about them.");
    }
    await store.updateRun(now.run, (run) => ({
      ...run,
      control: { ...run.control, documents_per_second: null },
    }));
    const summary = await running;
    const slices = await store.listSlices(summary.run, ["done"]);
    const [there, here] = await Promise.all([
      contentOf(cluster, name),
      contentOf(cluster, summary.target, { hash: true }),
    ]);
    const { record: done } = await store.readRun(summary.run);
    let wrong_vector = 0;
    for (const body of here.values()) {
      const { csplade_hash: hash } = body;
      delete body.csplade_hash;
      const { hash: noted } = readStamp(String(hash));
      if (contentHash(JsonObject.of(body), done, done.encoding) !== noted) wrong_vector += 1;
    }
    const letters = await deadLettersOf(cluster, summary.run);
    const textless = new Set(
      Array.from({ length: documents + 5 }, (_, i) => i)
        .filter(isTextless)
        .map((i) => `d${i}`),
    );
    const lost = [...there.keys()].filter((id) => !here.has(id) && !letters.has(id)).length;
    const extra = [...here.keys()].filter((id) => !there.has(id)).length;
    const stale = [...here].filter(
      ([id, body]) => there.has(id) && JSON.stringify(there.get(id)) !== JSON.stringify(body),
    ).length;
    return {
      kind,
      documents,
      injected,
      changed,
      deleted,
      taken_up_again: slices.reduce((sum, { claims }) => sum + claims - 1, 0),
      source: there.size,
      target: here.size,
      lost,
      extra,
      stale,
      // `contentOf` would have thrown.
      doubled: 0,
      wrong_vector,
      dead_letters: letters.size,
      unaccounted:
        [...letters.keys()].filter((id) => !textless.has(id)).length +
        [...textless].filter((id) => there.has(id) && !letters.has(id)).length,
      seconds: (performance.now() - started) / 1_000,
    };
  } finally {
    stop.abort();
    await crew.dismiss();
    await encoder.close();
    await storm.close();
    await partition.close();
    await cluster.close();
    device.remove();
  }
}

interface Scene {
  readonly servers: KillableServers;
  readonly cluster: Cluster;
  readonly storm: Awaited<ReturnType<typeof startHttpFaultProxy>>;
  readonly partition: Awaited<ReturnType<typeof startPartitionProxy>>;
  readonly crew: Crew;
  readonly device: FaultyDevice;
  readonly workerEnv: Record<string, string>;
  readonly target: string;
  readonly lockMs: number;
}

/** Makes it go wrong once, and right again. */
async function inject(kind: FaultKind, scene: Scene): Promise<void> {
  const { servers, cluster, storm, partition, crew, device, workerEnv, target } = scene;
  const awhile = () => sleep(500 + Math.random() * 1_500);
  switch (kind) {
    case "kill-worker":
      await crew.killOne();
      await crew.hire(workerEnv);
      return;
    case "kill-redis":
      await servers.killRedis();
      await awhile();
      return servers.restartRedis();
    case "kill-opensearch":
      await servers.killOpenSearch();
      await awhile();
      return servers.restartOpenSearch();
    case "storm": {
      const faults = [{ status: 429, retryAfter: 0 }, { status: 503 }, { delayMs: 1_000 }] as const;
      storm.fault = () => (Math.random() < 0.7 ? faults[Math.floor(Math.random() * 3)] : undefined);
      await awhile();
      storm.fault = () => undefined;
      return;
    }
    case "read-only":
      // What a disk over its flood-stage watermark does to an index.
      await block(cluster, target, true);
      await awhile();
      return block(cluster, target, null);
    case "partition":
      partition.cut();
      // Longer than the lock and the search for stalled jobs together: the job runs twice.
      await sleep(3 * scene.lockMs);
      partition.heal();
      return;
    case "session-throws":
      device.break("throw");
      await awhile();
      device.mend("throw");
      // A worker whose rebuilt session failed too has ended.
      return crew.replaceEnded(workerEnv);
    case "thread-killed":
      device.break("kill");
      return awhile();
    case "run-hangs":
      device.break("hang");
      return awhile();
    case "memory-exhausted":
      device.break("memory", 60);
      await awhile();
      device.mend("memory");
      return crew.replaceEnded(workerEnv);
  }
}

async function block(cluster: Cluster, index: string, on: true | null): Promise<void> {
  await cluster.demand(
    {
      method: "PUT",
      path: pathOf(index, "_settings"),
      body: { index: { blocks: { read_only_allow_delete: on } } },
    },
    "Blocking the target",
  );
}

/** Changes and deletes documents in the source while they are copied. */
function changeMeanwhile(
  cluster: Cluster,
  index: string,
  documents: number,
): { stop(): Promise<{ changed: number; deleted: number }> } {
  const stopping = new AbortController();
  const counts = { changed: 0, deleted: 0 };
  const work = (async () => {
    for (let round = 1; !stopping.signal.aborted; round++) {
      await sleep(300);
      const at = Math.floor(Math.random() * documents);
      try {
        const some = chaosDocuments(5, round, at);
        await fill(cluster, index, some);
        counts.changed += some.length;
        const gone = pathOf(index, "_doc", `d${Math.floor(Math.random() * documents)}`);
        await cluster.send({ method: "DELETE", path: gone });
        counts.deleted += 1;
      } catch {
        // The cluster is down, as the experiment wants it.
      }
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await work;
      return counts;
    },
  };
}

/** Worker processes. */
class Crew {
  readonly #workers: ChildProcess[] = [];

  constructor(
    private readonly config: Config,
    private readonly say: (message: string) => void,
  ) {}

  /** Starts `csplade worker` and waits until it works. */
  async hire(env: Readonly<Record<string, string>>): Promise<void> {
    const worker = await startWorkerProcess(this.config, { env });
    this.#workers.push(worker);
    this.say(`worker ${worker.pid} works`);
  }

  /** Puts new workers in the place of those that ended by themselves. */
  async replaceEnded(env: Readonly<Record<string, string>>): Promise<void> {
    await sleep(500);
    const ended = this.#workers.filter(({ exitCode }) => exitCode !== null);
    for (const worker of ended) {
      this.#workers.splice(this.#workers.indexOf(worker), 1);
      await this.hire(env);
    }
  }

  /** `kill -9` of one at random. */
  async killOne(): Promise<void> {
    const [worker] = this.#workers.splice(Math.floor(Math.random() * this.#workers.length), 1);
    if (worker === undefined) return;
    if (worker.exitCode !== null) return;
    const ended = once(worker, "exit");
    worker.kill("SIGKILL");
    await ended;
  }

  async dismiss(): Promise<void> {
    while (this.#workers.length > 0) await this.killOne();
  }
}
