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
    "worker.runtimeClassName=nvidia",
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

function portsOf(containers: readonly Container[]): Set<string> {
  return new Set(containers.flatMap(({ ports }) => ports.map(({ name }) => name)));
}

function probesOf({ startupProbe, livenessProbe, readinessProbe }: Container) {
  return [startupProbe, livenessProbe, readinessProbe].filter((probe) => probe !== undefined);
}
