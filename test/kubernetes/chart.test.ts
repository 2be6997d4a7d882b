/** The Helm chart and the manifests it renders: what a cluster would be told. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";
import { packageRoot, packageVersion } from "../../src/config/package-root.js";
import { settings } from "../../src/config/settings.js";
import { demandTool, renderChart, runTool } from "../support/kubernetes-tools.js";
import {
  at,
  objectsIn,
  workloadsOf,
  type Container,
  type KubernetesObject,
} from "../support/manifests.js";

/** Names the role of a service account on EKS. */
const ROLE = "eks.amazonaws.com/role-arn";

/** Renderings that together go through every branch of the templates. */
const variants: Readonly<Record<string, readonly string[]>> = {
  defaults: ["reindex.enabled=true"],
  "CPU workers, fixed sizes": [
    "worker.provider=cpu",
    "worker.autoscaling.enabled=false",
    "gateway.autoscaling.enabled=false",
    "exporter.enabled=false",
  ],
  "model as an image volume, TLS": [
    "model.source=imageVolume",
    "model.image.digest=sha256:" + "0".repeat(64),
    "tls.caSecret=search-ca",
    "reindex.enabled=true",
    "gpu.runtimeClassName=nvidia",
    "worker.autoscaling.prometheusUrl=http://prometheus.monitoring:9090",
  ],
  "model on a claim, closed network": [
    "model.source=claim",
    "model.claim=models",
    "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring",
    "networkPolicy.gatewayFrom[0].podSelector.matchLabels.app=dashboards",
    "networkPolicy.opensearch.to[0].ipBlock.cidr=10.0.0.0/8",
    "worker.extraVolumes[0].name=corpus",
    "worker.extraVolumes[0].persistentVolumeClaim.claimName=corpus",
    "worker.extraVolumeMounts[0].name=corpus",
    "worker.extraVolumeMounts[0].mountPath=/corpus",
    "settings.CSPLADE_TOKEN_BUDGET=8192",
  ],
  "everything extra": [
    "gateway.provider=cuda",
    "gateway.model.source=initContainer",
    "gateway.model.image.repository=csplade-model-int8",
    "gateway.ingress.enabled=true",
    "gateway.ingress.className=nginx",
    "gateway.ingress.hosts[0]=search.example.com",
    "gateway.ingress.tls[0].secretName=search-tls",
    "gateway.ingress.tls[0].hosts[0]=search.example.com",
    "model.source=claim",
    "model.claim=models",
    "reindex.enabled=true",
    "reindex.verifyVectors=true",
    String.raw`reindex.annotations.argocd\.argoproj\.io/hook=PostSync`,
    "commonLabels.team=search",
    ...["worker", "gateway", "exporter", "reindex"].flatMap((component) => [
      `${component}.extraEnv[0].name=CSPLADE_LOG_LEVEL`,
      `${component}.extraEnv[0].value=debug`,
      `${component}.podLabels.cost=search`,
      `${component}.extraVolumes[0].name=corpus`,
      `${component}.extraVolumes[0].emptyDir.sizeLimit=1Gi`,
      `${component}.extraVolumeMounts[0].name=corpus`,
      `${component}.extraVolumeMounts[0].mountPath=/corpus`,
      `${component}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=pool`,
      `${component}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists`,
    ]),
  ],
  "questions by table": ["gateway.queryEncoder=table"],
  "signed requests": [
    `serviceAccountAnnotations.${ROLE.replaceAll(".", String.raw`\.`)}=arn:aws:iam::123456789012:role/csplade`,
    "settings.OPENSEARCH_AWS_REGION=eu-central-1",
    "networkPolicy.extraEgress[0].ports[0].port=443",
    "reindex.enabled=true",
  ],
};

/** Read by Node itself, not by us. */
const nodeVariables: ReadonlySet<string> = new Set(["NODE_EXTRA_CA_CERTS"]);

describe("the Helm chart", () => {
  let helm: string;
  let rendered: Map<string, string>;

  before(function () {
    helm = demandTool(this, "helm");
    rendered = new Map(
      Object.entries(variants).map(([name, values]) => {
        const end = renderChart(helm, values);
        assert.equal(end.status, 0, `${name}: ${end.output}`);
        return [name, end.output];
      }),
    );
  });

  const everyVariant = (): [string, KubernetesObject[]][] =>
    [...rendered].map(([name, text]) => [name, objectsIn(text)]);

  it("is in order for helm itself", () => {
    const end = runTool(path.join(helm, "helm"), ["lint", "--strict", "k8s/helm/csplade"]);
    assert.equal(end.status, 0, end.output);
  });

  it("renders exactly the manifests that are in the repository", () => {
    const end = runTool(process.execPath, ["scripts/render-manifests.mjs", "--check"]);
    assert.equal(end.status, 0, end.output);
  });

  it("has the version of the program it installs", () => {
    const file = path.join(packageRoot, "k8s", "helm", "csplade", "Chart.yaml");
    assert.equal(at(parse(readFileSync(file, "utf8")), "appVersion"), packageVersion);
  });

  const refused = {
    "a misspelt value": "worker.autoscalin.enabled=false",
    "a password in plain settings": "settings.OPENSEARCH_PASSWORD=secret",
    "a password in an address": "opensearch.url=https://user:secret@search:9200",
    "a grace period shorter than the drain": "worker.terminationGracePeriodSeconds=10",
    "scaling to zero with nobody to report the backlog": "exporter.enabled=false",
    "a claim without its name": "model.source=claim",
    "a label that selects": String.raw`worker.podLabels.app\.kubernetes\.io/name=other`,
    "an ingress without a host": "gateway.ingress.enabled=true",
  };
  for (const [mistake, value] of Object.entries(refused)) {
    it(`refuses ${mistake}`, () => {
      assert.notEqual(renderChart(helm, [value]).status, 0, `helm took ${value}`);
    });
  }

  it("confines every container: no root, no writes but /tmp, no rights, no service links", () => {
    for (const [variant, objects] of everyVariant()) {
      for (const { object, pod } of workloadsOf(objects)) {
        const where = `${variant}, ${object.metadata.name ?? ""}`;
        assert.equal(pod.automountServiceAccountToken, false, where);
        // A Service named csplade-gateway would otherwise set CSPLADE_GATEWAY_PORT=tcp://….
        assert.equal(pod.enableServiceLinks, false, where);
        assert.equal(at(pod.securityContext, "runAsNonRoot"), true, where);
        assert.equal(at(pod.securityContext, "seccompProfile", "type"), "RuntimeDefault", where);
        for (const container of [...pod.containers, ...pod.initContainers]) {
          const confined = container.securityContext;
          assert.equal(confined.readOnlyRootFilesystem, true, where);
          assert.equal(confined.allowPrivilegeEscalation, false, where);
          assert.deepEqual(at(confined, "capabilities", "drop"), ["ALL"], where);
          assert.ok(container.resources.limits.memory, `${where}: no memory limit`);
        }
      }
    }
  });

  it("gives every part what is asked for it: environment, labels, volumes, affinity, annotations", () => {
    const objects = objectsIn(rendered.get("everything extra") ?? "");
    for (const { object, labels, pod } of workloadsOf(objects)) {
      const where = object.metadata.name;
      assert.equal(labels.cost, "search", where);
      assert.ok(at(pod, "affinity", "nodeAffinity"), where);
      const [container] = pod.containers;
      const extra = container?.env.find(({ name }) => name === "CSPLADE_LOG_LEVEL");
      assert.equal(extra?.value, "debug", where);
      assert.ok(
        container?.volumeMounts.some(({ mountPath }) => mountPath === "/corpus"),
        where,
      );
    }
    for (const { kind, metadata } of objects) assert.equal(metadata.labels?.team, "search", kind);
    const job = objects.find(({ kind }) => kind === "Job");
    assert.equal(at(job, "metadata", "annotations", "argocd.argoproj.io/hook"), "PostSync");
    const ingress = objects.find(({ kind }) => kind === "Ingress");
    const backend = at(ingress, "spec", "rules", 0, "http", "paths", 0, "backend", "service");
    assert.deepEqual(backend, { name: "csplade-gateway", port: { name: "http" } });
  });

  const podOf = (variant: string, component: string) =>
    workloadsOf(objectsIn(rendered.get(variant) ?? "")).find(
      ({ labels }) => labels["app.kubernetes.io/component"] === component,
    )?.pod;

  it("gives a gateway a model and a provider of its own", () => {
    const asWorkers = podOf("defaults", "gateway");
    assert.equal(providerOf(asWorkers?.containers[0]), "cpu");
    assert.equal(asWorkers?.containers[0]?.resources.limits["nvidia.com/gpu"], undefined);
    const own = podOf("everything extra", "gateway");
    const [container] = own?.containers ?? [];
    assert.equal(providerOf(container), "cuda");
    assert.equal(container?.resources.limits["nvidia.com/gpu"], "1");
    assert.match(container.image, /-cuda$/);
    assert.match(own?.initContainers[0]?.image ?? "", /^csplade-model-int8:/);
    const worker = podOf("everything extra", "worker");
    assert.equal(at(worker?.volumes, 1, "persistentVolumeClaim", "claimName"), "models");
  });

  it("carries no graph into pods that compute nothing", () => {
    const copies = (variant: string, component: string) =>
      podOf(variant, component)?.initContainers[0]?.command?.[0];
    assert.equal(copies("defaults", "worker"), "cp");
    assert.equal(copies("defaults", "gateway"), "cp");
    assert.equal(copies("defaults", "reindex"), "sh");
    assert.equal(copies("questions by table", "gateway"), "sh");
    const verifies = podOf("everything extra", "reindex")?.containers[0];
    assert.ok(verifies?.args?.includes("--verify-vectors"));
  });

  it("asks for a GPU, and for no label that only a running GPU node has", () => {
    const worker = podOf("defaults", "worker");
    assert.equal(worker?.containers[0]?.resources.limits["nvidia.com/gpu"], "1");
    assert.equal(at(worker, "nodeSelector"), undefined);
    assert.deepEqual(at(worker, "tolerations", 0, "key"), "nvidia.com/gpu");
  });

  it("renders a second run without any object of the first one or of the release", () => {
    const namesOf = (values: readonly string[], ...more: string[]) => {
      const end = renderChart(helm, ["reindex.enabled=true", ...values], more);
      assert.equal(end.status, 0, end.output);
      return objectsIn(end.output).map(({ kind, metadata }) => `${kind} ${metadata.name ?? ""}`);
    };
    const only = "--show-only=templates/reindex.yaml";
    assert.deepEqual(namesOf(["reindex.run=one"], only), ["Job csplade-reindex-one"]);
    assert.deepEqual(namesOf(["reindex.run=two"], only), ["Job csplade-reindex-two"]);
    assert.ok(namesOf(["reindex.enabled=false"]).includes("ServiceAccount csplade-reindex"));
  });

  it("has no name over 63 characters, and two long names that begin alike stay two", () => {
    const run = "a".repeat(32);
    const namesOf = (release: string) => {
      const values = ["reindex.enabled=true", `reindex.run=${run}`, "monitoring.podMonitor=true"];
      const end = renderChart(helm, values, [], release);
      assert.equal(end.status, 0, end.output);
      return objectsIn(end.output).map(({ kind, metadata }) => `${kind}/${metadata.name ?? ""}`);
    };
    const [one, two] = [namesOf("r".repeat(52) + "1"), namesOf("r".repeat(52) + "2")];
    for (const name of [...one, ...two]) {
      assert.ok(name.replace(/^.*\//, "").length <= 63, name);
      assert.match(name, /[a-z0-9]$/);
    }
    assert.equal(new Set([...one, ...two]).size, one.length + two.length);
  });

  it("gives no service account any right", () => {
    for (const [variant, objects] of everyVariant()) {
      const roles = objects.filter(({ kind }) => /Role(Binding)?$/.test(kind));
      assert.deepEqual(roles, [], variant);
      const accounts = objects.filter(({ kind }) => kind === "ServiceAccount");
      for (const { pod } of workloadsOf(objects)) {
        const own = accounts.find(({ metadata }) => metadata.name === pod.serviceAccountName);
        assert.equal(own?.automountServiceAccountToken, false, pod.serviceAccountName);
      }
    }
  });

  it("gives AWS's role to what asks the cluster in its own name, and never to the gateway", () => {
    const objects = objectsIn(rendered.get("signed requests") ?? "");
    const roles = objects
      .filter(({ kind }) => kind === "ServiceAccount")
      .map((account) => [account.metadata.name, at(account, "metadata", "annotations", ROLE)]);
    const role = "arn:aws:iam::123456789012:role/csplade";
    assert.deepEqual(Object.fromEntries(roles), {
      "csplade-worker": role,
      "csplade-reindex": role,
      "csplade-exporter": role,
      "csplade-gateway": undefined,
    });
    const policies = objects.filter(({ kind }) => kind === "NetworkPolicy");
    const out = policies.flatMap((policy) => at(policy, "spec", "egress") ?? []);
    assert.ok(
      out.some((rule) => JSON.stringify(rule) === '{"ports":[{"port":443}]}'),
      "AWS's token service is out of reach",
    );
  });

  it("sets only environment variables that csplade reads", () => {
    const known = new Set<string>(Object.values(settings).map(({ env }) => env));
    for (const [, objects] of everyVariant()) {
      const config = objects.find(({ kind }) => kind === "ConfigMap")?.data ?? {};
      const inPods = workloadsOf(objects).flatMap(({ pod }) =>
        pod.containers.flatMap(({ env }) => env.map(({ name }) => name)),
      );
      const unknown = [...Object.keys(config), ...inPods].filter(
        (name) => !known.has(name) && !nodeVariables.has(name),
      );
      assert.deepEqual(new Set(unknown), new Set());
    }
  });

  it("holds no secret: passwords come by name from a Secret that it does not make", () => {
    const secrets = new Set<string>(
      Object.values(settings).flatMap((setting) => ("secret" in setting ? [setting.env] : [])),
    );
    for (const [variant, objects] of everyVariant()) {
      assert.ok(!objects.some(({ kind }) => kind === "Secret"), variant);
      for (const { data } of objects) {
        for (const name of Object.keys(data ?? {})) assert.ok(!secrets.has(name), name);
      }
      for (const { pod } of workloadsOf(objects)) {
        for (const { name, value } of pod.containers.flatMap(({ env }) => env)) {
          if (secrets.has(name)) assert.equal(value, undefined, `${variant}: ${name}`);
        }
      }
    }
  });

  it("points every selector, port and scale target at something that is there", () => {
    for (const [variant, objects] of everyVariant()) {
      const workloads = workloadsOf(objects);
      const matching = (selector: unknown) =>
        workloads.filter(({ labels }) =>
          Object.entries((selector ?? {}) as Record<string, string>).every(
            ([key, value]) => labels[key] === value,
          ),
        );
      for (const object of objects) {
        const where = `${variant}, ${object.kind} ${object.metadata.name ?? ""}`;
        if (object.kind === "Service") {
          const [only, ...others] = matching(at(object, "spec", "selector"));
          assert.ok(only !== undefined && others.length === 0, where);
          const target = at(object, "spec", "ports", 0, "targetPort");
          assert.ok(portsOf(only.pod.containers).has(String(target)), where);
        } else if (object.kind === "PodDisruptionBudget") {
          assert.equal(matching(at(object, "spec", "selector", "matchLabels")).length, 1, where);
        } else if (object.kind === "NetworkPolicy") {
          const selector = at(object, "spec", "podSelector", "matchLabels");
          assert.ok(matching(selector).length > 0, where);
        } else if (object.kind === "ScaledObject" || object.kind === "HorizontalPodAutoscaler") {
          const target = at(object, "spec", "scaleTargetRef", "name");
          const scaled = workloads.find((each) => each.object.metadata.name === target);
          assert.ok(scaled !== undefined, where);
          // Two owners of one number would fight over it.
          assert.equal(at(scaled.object, "spec", "replicas"), undefined, where);
        }
      }
      for (const { pod } of workloads) {
        for (const container of pod.containers) {
          for (const probe of probesOf(container)) {
            assert.ok(portsOf(pod.containers).has(String(probe.httpGet.port)), variant);
          }
          const volumes = new Set(pod.volumes.map(({ name }) => name));
          for (const { name } of container.volumeMounts) assert.ok(volumes.has(name), name);
        }
      }
    }
  });

  it("asks the exporter's Service for the backlog that KEDA scales on", () => {
    const objects = objectsIn(rendered.get("defaults") ?? "");
    const scaled = objects.find(({ kind }) => kind === "ScaledObject");
    const asked = [0, 1, 2].map((n) =>
      at(scaled, "spec", "triggers", n, "metadata", "valueLocation"),
    );
    // An ingest has no tokens in the backlog, and a sweep for deleted documents has only slices.
    assert.deepEqual(asked, ["tokens", "ingest_jobs", "slices"]);
    const url = new URL(String(at(scaled, "spec", "triggers", 0, "metadata", "url")));
    const [service, namespace] = url.hostname.split(".");
    const target = objects.find(
      ({ kind, metadata }) => kind === "Service" && metadata.name === service,
    );
    assert.equal(target?.metadata.namespace, namespace);
    assert.equal(String(at(target, "spec", "ports", 0, "port")), url.port);
    assert.equal(at(scaled, "spec", "minReplicaCount"), 0);
  });

  it("gives a worker time to drain before it is killed", () => {
    const drainSeconds = 25;
    for (const { object, pod } of workloadsOf(objectsIn(rendered.get("defaults") ?? ""))) {
      if (object.metadata.name?.endsWith("exporter")) continue;
      assert.ok(pod.terminationGracePeriodSeconds > drainSeconds, object.metadata.name);
    }
  });

  it("satisfies the API schemas of Kubernetes, unknown fields forbidden", function () {
    const schemas = demandTool(this, "schemas");
    for (const [variant, text] of rendered) {
      const end = runTool(path.join(schemas, "kubernetes-validate"), ["--strict", "-"], {
        input: text,
      });
      assert.equal(end.status, 0, `${variant}: ${end.output}`);
      const passed = end.output.split("\n").filter((line) => line.includes(" passed for ")).length;
      const others = end.output.split("\n").filter((line) => line.includes("find schema"));
      assert.equal(passed + others.length, objectsIn(text).length, end.output);
      assert.ok(
        others.every((line) => line.includes("ScaledObject")),
        others.join("\n"),
      );
    }
  });
});

function providerOf(container: Container | undefined): string | undefined {
  return container?.env.find(({ name }) => name === "CSPLADE_PROVIDER")?.value;
}

function portsOf(containers: readonly Container[]): Set<string> {
  return new Set(containers.flatMap(({ ports }) => ports.map(({ name }) => name)));
}

function probesOf({ startupProbe, livenessProbe, readinessProbe }: Container) {
  return [startupProbe, livenessProbe, readinessProbe].filter((probe) => probe !== undefined);
}
