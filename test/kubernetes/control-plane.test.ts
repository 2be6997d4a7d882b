/**
 * The manifests before a real API server, scheduler and controllers. Runs where the control plane
 * has been built (node scripts/kubernetes-tools.mjs control-plane crds kwok-stages), or with
 * CSPLADE_TEST_KUBERNETES=1, which builds it.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { packageRoot } from "../../src/config/package-root.js";
import { startControlPlane, type ControlPlane } from "../support/control-plane.js";
import { demandTool, renderChart } from "../support/kubernetes-tools.js";
import { plainManifests, workloadsOf } from "../support/manifests.js";

const manifests = path.join(packageRoot, "k8s", "manifests");
const gpuNodes = 16;

describe("the manifests on a real Kubernetes control plane", function () {
  this.timeout(180_000);
  let cluster: ControlPlane | undefined;

  const kubernetes = (): ControlPlane => {
    assert.ok(cluster !== undefined);
    return cluster;
  };

  before(async function () {
    const tools = demandTool(this, "control-plane");
    const crds = demandTool(this, "crds");
    cluster = await startControlPlane(tools, demandTool(this, "kwok-stages"));
    for (const file of readdirSync(crds).filter((name) => name.endsWith(".yaml"))) {
      // Their schemas are longer than the annotation that plain apply would write.
      cluster.demand(["apply", "--server-side", "-f", path.join(crds, file)]);
    }
    cluster.demand(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
    for (let number = 0; number < gpuNodes; number++) {
      cluster.addNode(`gpu-${number}`, `zone-${number % 3}`, 1);
    }
    for (let number = 0; number < 3; number++)
      cluster.addNode(`cpu-${number}`, `zone-${number}`, 0);
    cluster.demand(["apply", "-f", path.join(manifests, "namespace.yaml")]);
  });

  after(async () => {
    await cluster?.stop();
  });

  it("are all taken by the API server, as they are and as one kustomization", () => {
    kubernetes().demand(["apply", "--dry-run=server", "--validate=strict", "-f", manifestsOnly()]);
    const applied = kubernetes().demand(["apply", "--validate=strict", "-k", manifests]);
    assert.match(applied, /deployment\.apps\/csplade-worker created/);
    assert.match(applied, /scaledobject\.keda\.sh\/csplade-worker created/);
  });

  it("are pods that the namespace's restricted security standard admits", () => {
    kubernetes().demand(["apply", "-f", path.join(manifests, "reindex.yaml")]);
    for (const { object, pod, labels } of workloadsOf(plainManifests())) {
      const name = `probe-${object.metadata.name ?? ""}`;
      kubernetes().demand(
        ["apply", "--dry-run=server", "-f", "-"],
        JSON.stringify({
          apiVersion: "v1",
          kind: "Pod",
          metadata: { name, namespace: "csplade", labels },
          // Only a Deployment's controller knows the pod template's hash.
          spec: { ...pod, topologySpreadConstraints: [] },
        }),
      );
    }
    const { status, output } = kubernetes().kubectl(
      ["apply", "--dry-run=server", "-f", "-"],
      JSON.stringify({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "careless", namespace: "csplade" },
        spec: { containers: [{ name: "careless", image: "csplade" }] },
      }),
    );
    assert.notEqual(status, 0, "the namespace enforces nothing");
    assert.match(output, /violates PodSecurity "restricted/);
  });

  it("takes every way to render the chart", () => {
    const helm = demandTool({ timeout: () => 0, skip: () => {} } as never, "helm");
    for (const values of [
      ["worker.provider=cpu", "worker.autoscaling.enabled=false"],
      ["model.source=imageVolume", "tls.caSecret=search-ca"],
      ["model.source=claim", "model.claim=models"],
      ["worker.autoscaling.prometheusUrl=http://prometheus.monitoring:9090"],
    ]) {
      const { output } = renderChart(helm, [...values, "monitoring.podMonitor=true"]);
      kubernetes().demand(["apply", "--dry-run=server", "--validate=strict", "-f", "-"], output);
    }
  });

  it("scheduled: 16 workers take 16 GPU nodes over all zones, a 17th waits", async () => {
    kubernetes().demand([...inNamespace, "scale", "deployment/csplade-worker", "--replicas=16"]);
    const pods = await podsOnceReady(kubernetes(), "worker", 16);
    const nodes = new Set(pods.map(({ spec }) => spec.nodeName ?? ""));
    assert.equal(nodes.size, 16, "two workers share a GPU node");
    assert.ok([...nodes].every((name) => name.startsWith("gpu-")));

    kubernetes().demand([...inNamespace, "scale", "deployment/csplade-worker", "--replicas=17"]);
    await sleep(5_000);
    const waiting = podsOf(kubernetes(), "worker").filter(
      ({ spec }) => spec.nodeName === undefined,
    );
    assert.equal(waiting.length, 1);
    kubernetes().demand([...inNamespace, "scale", "deployment/csplade-worker", "--replicas=16"]);
    await podsOnceReady(kubernetes(), "worker", 16);
  });

  it("scheduled: the two gateways are on different nodes, and not on those with GPUs", async () => {
    const pods = await podsOnceReady(kubernetes(), "gateway", 2);
    const nodes = new Set(pods.map(({ spec }) => spec.nodeName ?? ""));
    assert.equal(nodes.size, 2);
    assert.ok([...nodes].every((name) => name.startsWith("cpu-")));
  });

  it("drained: half of the workers may be evicted, the next eviction is refused", async () => {
    const pods = podsOf(kubernetes(), "worker");
    await untilTrue(() => disruptionsAllowed(kubernetes()) === 8, "the budget counts 16 workers");
    // A worker without a node to go to stays away, as on a cluster whose nodes are being drained.
    kubernetes().demand(["cordon", ...gpuNodeNames()]);
    const answers = pods.slice(0, 9).map(({ metadata }) =>
      kubernetes().kubectl(
        ["create", "--raw", `/api/v1/namespaces/csplade/pods/${metadata.name}/eviction`, "-f", "-"],
        JSON.stringify({
          apiVersion: "policy/v1",
          kind: "Eviction",
          metadata: { name: metadata.name, namespace: "csplade" },
        }),
      ),
    );
    kubernetes().demand(["uncordon", ...gpuNodeNames()]);
    assert.equal(answers.filter(({ status }) => status === 0).length, 8);
    assert.match(answers.at(-1)?.output ?? "", /disruption budget/);
  });
});

const inNamespace = ["--namespace=csplade"] as const;

const podList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string(), deletionTimestamp: z.string().optional() }),
      spec: z.object({ nodeName: z.string().optional() }),
      status: z.object({
        phase: z.string(),
        conditions: z.array(z.object({ type: z.string(), status: z.string() })).default([]),
      }),
    }),
  ),
});

type Pod = z.infer<typeof podList>["items"][number];

function podsOf(cluster: ControlPlane, component: string): Pod[] {
  const listed = cluster.demand([
    ...inNamespace,
    "get",
    "pods",
    "--output=json",
    `--selector=app.kubernetes.io/component=${component}`,
  ]);
  return podList
    .parse(JSON.parse(listed))
    .items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

/** The pods of a component once exactly `count` are ready. */
async function podsOnceReady(cluster: ControlPlane, component: string, count: number) {
  let ready: Pod[] = [];
  await untilTrue(() => {
    ready = podsOf(cluster, component).filter(({ status }) =>
      status.conditions.some((each) => each.type === "Ready" && each.status === "True"),
    );
    return ready.length === count;
  }, `${count} pods of ${component} are ready`);
  return ready;
}

function disruptionsAllowed(cluster: ControlPlane): number {
  const budget = cluster.demand([
    ...inNamespace,
    "get",
    "poddisruptionbudget/csplade-worker",
    "--output=jsonpath={.status.disruptionsAllowed}",
  ]);
  return Number(budget);
}

function gpuNodeNames(): string[] {
  return Array.from({ length: gpuNodes }, (_, number) => `gpu-${number}`);
}

async function untilTrue(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 90_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `not within 90 s: ${what}`);
    await sleep(1_000);
  }
}

/** kubectl's file list without the kustomization, which is no object of the API. */
function manifestsOnly(): string {
  return readdirSync(manifests)
    .filter((file) => file !== "kustomization.yaml")
    .map((file) => path.join(manifests, file))
    .join(",");
}
