/**
 * The very commands of the manifests, with the very environment and probes of the manifests,
 * against the real Redis and OpenSearch of the tests. Only what must differ on this machine
 * differs: where Redis, OpenSearch and the model are, free ports, and no GPU.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { packageRoot } from "../../src/config/package-root.js";
import { findFreePort } from "../../src/servers/port.js";
import { csplade } from "../support/csplade-command.js";
import {
  at,
  plainManifests,
  workloadsOf,
  type Container,
  type PodSpec,
} from "../support/manifests.js";
import { testServers } from "../support/servers.js";
import { tinyCheckpoint } from "../support/tiny-checkpoints.js";

const manifests = plainManifests();

const triggerSchema = z.looseObject({
  metadata: z.looseObject({ valueLocation: z.string(), url: z.string() }),
});

/** A container's program, running here. */
interface Running {
  readonly child: ChildProcess;
  readonly port: number;
  readonly container: Container;
  readonly pod: PodSpec;
  readonly output: () => string;
}

describe("the commands of the manifests", function () {
  this.timeout(180_000);
  let folder: string;
  const started: Running[] = [];

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "csplade-manifests-"));
    await chmod(folder, 0o755);
  });

  afterEach(async () => {
    for (const { child } of started.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGKILL");
        await once(child, "exit");
      }
    }
  });

  after(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const start = async (
    component: string,
    more: Readonly<Record<string, string>> = {},
    names: Readonly<Record<string, string>> = {},
  ) => {
    const running = await startContainer(component, more, names);
    started.push(running);
    return running;
  };

  it("csplade worker takes jobs of coordinators without a model, answers its probes and drains in time", async () => {
    const worker = await start("worker", { CSPLADE_REDIS_PREFIX: "manifest-worker" });
    const file = path.join(folder, "docs.ndjson");
    const lines = Array.from({ length: 40 }, (_, id) =>
      JSON.stringify({ _id: `${id}`, text: `text ${id}` }),
    );
    await writeFile(file, lines.join("\n") + "\n");
    const ingest = await csplade(
      [
        ...["ingest", file, "--index", "manifest-docs", "--no-workers", "--json"],
        ...["--opensearch-url", testServers().opensearchUrl],
        ...["--redis-url", testServers().redisUrl, "--model", await withoutGraph(folder)],
        ...["--config", await configFile(folder, "redis.prefix: manifest-worker")],
      ],
      { deadlineMs: 90_000 },
    );
    assert.equal(ingest.status, 0, `${ingest.output}\n${worker.output()}`);
    assert.match(ingest.output, /"written":40/);
    const reindex = await start(
      "reindex",
      { CSPLADE_REDIS_PREFIX: "manifest-worker", CSPLADE_MODEL: await withoutGraph(folder) },
      { docs: "manifest-docs", "docs-csplade": "manifest-docs-search" },
    );
    const [status] = (await once(reindex.child, "exit")) as [number | null];
    assert.equal(status, 0, `${reindex.output()}\n${worker.output()}`);
    assert.match(reindex.output(), /Verification passed/);
    assert.match(reindex.output(), /None was encoded again/);
    await answersProbes(worker);
    await drains(worker);
  });

  it("csplade serve answers its probes, encodes and drains in time", async () => {
    const gateway = await start("gateway");
    await answersProbes(gateway);
    const answer = await fetch(`http://127.0.0.1:${gateway.port}/encode`, {
      method: "POST",
      headers: { authorization: "Bearer key-of-the-test" },
      body: JSON.stringify({ text: "fear of closed spaces" }),
    });
    assert.equal(answer.status, 200, await answer.text());
    const unknown = await fetch(`http://127.0.0.1:${gateway.port}/encode`, {
      method: "POST",
      body: JSON.stringify({ text: "fear of closed spaces" }),
    });
    assert.equal(unknown.status, 401, "the key of the Secret is not demanded");
    await drains(gateway);
  });

  it("csplade exporter answers its probes and KEDA's question", async () => {
    const exporter = await start("exporter");
    await answersProbes(exporter);
    const answer = await fetch(`http://127.0.0.1:${exporter.port}/backlog`);
    const backlog = (await answer.json()) as Record<string, unknown>;
    const scaled = manifests.find(({ kind }) => kind === "ScaledObject");
    for (const trigger of z.array(triggerSchema).parse(at(scaled, "spec", "triggers"))) {
      const { valueLocation, url } = trigger.metadata;
      assert.equal(new URL(url).pathname, "/backlog");
      assert.equal(typeof backlog[valueLocation], "number", JSON.stringify(backlog));
    }
    const metrics = await (await fetch(`http://127.0.0.1:${exporter.port}/metrics`)).text();
    assert.match(metrics, /^csplade_backlog_tokens \d/m);
    await drains(exporter);
  });

  it("csplade exporter reports an ingest that no worker has taken, so that KEDA starts one", async () => {
    const exporter = await start("exporter", { CSPLADE_REDIS_PREFIX: "manifest-backlog" });
    await answersProbes(exporter);
    const file = path.join(folder, "queued.ndjson");
    await writeFile(file, JSON.stringify({ _id: "1", text: "waits" }) + "\n");
    const { opensearchUrl, redisUrl } = testServers();
    const main = path.join(packageRoot, "dist", "src", "cli", "main.js");
    const ingest = spawn(
      process.execPath,
      [main, "ingest", file, "--index", "manifest-backlog", "--no-workers", "--quiet"],
      {
        cwd: folder,
        stdio: "ignore",
        env: {
          PATH: process.env.PATH,
          HOME: folder,
          OPENSEARCH_URL: opensearchUrl,
          REDIS_URL: redisUrl,
          CSPLADE_REDIS_PREFIX: "manifest-backlog",
          CSPLADE_MODEL: tinyCheckpoint("bi"),
        },
      },
    );
    try {
      const deadline = Date.now() + 60_000;
      let jobs: unknown = 0;
      while (jobs !== 1) {
        await sleep(500);
        assert.ok(Date.now() < deadline, `ingest_jobs is ${String(jobs)}`);
        const answer = await fetch(`http://127.0.0.1:${exporter.port}/backlog`);
        jobs = ((await answer.json()) as Record<string, unknown>).ingest_jobs;
      }
    } finally {
      ingest.kill("SIGKILL");
    }
  });

  it("csplade reindex knows every flag of the Job", async () => {
    const { output } = await csplade(["reindex", "--help"]);
    const { args } = containerOf("reindex").container;
    for (const flag of (args ?? []).filter((each) => each.startsWith("--"))) {
      assert.ok(output.includes(flag), `csplade reindex has no ${flag}`);
    }
  });
});

function containerOf(component: string) {
  const found = workloadsOf(manifests).find(
    ({ labels }) => labels["app.kubernetes.io/component"] === component,
  );
  const container = found?.pod.containers[0];
  assert.ok(found !== undefined && container !== undefined, component);
  return { container, pod: found.pod };
}

/** What a cluster would put into the container's environment, with this machine's addresses. */
function environmentOf(container: Container, port: number): Record<string, string> {
  const secret: Record<string, string> = {
    REDIS_URL: testServers().redisUrl,
    CSPLADE_GATEWAY_API_KEY: "key-of-the-test",
  };
  const config = manifests.find(({ kind, data }) => kind === "ConfigMap" && data?.CSPLADE_MODEL);
  const environment: Record<string, string> = { ...config?.data };
  for (const { name, value, valueFrom } of container.env) {
    const key = valueFrom?.secretKeyRef?.key;
    if (value !== undefined) environment[name] = value;
    else if (key !== undefined && secret[key] !== undefined) environment[name] = secret[key];
    else if (key !== undefined) assert.equal(valueFrom?.secretKeyRef?.optional, true, name);
    else if (valueFrom?.resourceFieldRef?.resource === "requests.cpu") environment[name] = "1";
    else assert.fail(`${name}: a source that this test does not know`);
  }
  const here: Record<string, string> = {
    OPENSEARCH_URL: testServers().opensearchUrl,
    CSPLADE_MODEL: tinyCheckpoint("bi"),
    CSPLADE_METRICS_HOST: "127.0.0.1",
    CSPLADE_METRICS_PORT: String(port),
    CSPLADE_GATEWAY_HOST: "127.0.0.1",
    CSPLADE_GATEWAY_PORT: String(port),
  };
  for (const [name, value] of Object.entries(here)) {
    assert.ok(environment[name] !== undefined, `the manifests no longer set ${name}`);
    environment[name] = value;
  }
  if (environment.CSPLADE_PROVIDER === "cuda") environment.CSPLADE_PROVIDER = "cpu";
  return environment;
}

async function startContainer(
  component: string,
  more: Readonly<Record<string, string>>,
  names: Readonly<Record<string, string>> = {},
): Promise<Running> {
  const { container, pod } = containerOf(component);
  const args = (container.args ?? []).map((each) => names[each] ?? each);
  const port = await findFreePort();
  const user = process.getuid?.() === 0 ? { uid: 65532, gid: 65532 } : {};
  let output = "";
  const child = spawn(
    process.execPath,
    [path.join(packageRoot, "dist", "src", "cli", "main.js"), ...args],
    {
      // A user who may write nowhere here stands for the read-only file system.
      cwd: packageRoot,
      env: { PATH: process.env.PATH, ...environmentOf(container, port), ...more },
      stdio: ["ignore", "pipe", "pipe"],
      ...user,
    },
  );
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
  }
  await once(child, "spawn");
  return { child, port, container, pod, output: () => output };
}

/** Asks each probe as the kubelet would, for as long as its startup probe allows. */
async function answersProbes({ child, port, container, output }: Running): Promise<void> {
  const { startupProbe, livenessProbe, readinessProbe } = container;
  assert.ok(startupProbe && livenessProbe && readinessProbe, container.name);
  const patienceMs = startupProbe.periodSeconds * startupProbe.failureThreshold * 1_000;
  const deadline = Date.now() + Math.min(patienceMs, 120_000);
  for (const { httpGet } of [startupProbe, livenessProbe, readinessProbe]) {
    const url = `http://127.0.0.1:${port}${httpGet.path}`;
    let status = "no answer";
    while (status !== "200") {
      assert.equal(child.exitCode, null, `${container.name} ended:\n${output()}`);
      assert.ok(Date.now() < deadline, `${url}: ${status}\n${output()}`);
      status = await fetch(url).then(
        (answer) => String(answer.status),
        () => "no answer",
      );
      if (status !== "200") await sleep(200);
    }
  }
}

/** SIGTERM ends it with status 0 within the pod's grace period. */
async function drains({ child, pod, container, output }: Running): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const late = sleep(pod.terminationGracePeriodSeconds * 1_000, "late", { ref: false });
  assert.notEqual(await Promise.race([exited, late]), "late", `${container.name}: killed late`);
  assert.equal(child.exitCode, 0, output());
  // ONNX Runtime tells its maker about models unless it is switched off, and complains here, where
  // it may write nothing, that it cannot keep the machine's id.
  assert.doesNotMatch(output(), /telemetry/i);
}

/** The tiny checkpoint without its graph: what a coordinator's pod is given. */
async function withoutGraph(folder: string): Promise<string> {
  const slim = path.join(folder, "slim");
  const filter = (source: string) => path.basename(source) !== "model.onnx";
  await cp(tinyCheckpoint("bi"), slim, { recursive: true, filter });
  return slim;
}

async function configFile(folder: string, yaml: string): Promise<string> {
  const file = path.join(folder, "csplade.yaml");
  await writeFile(file, yaml + "\n");
  return file;
}
