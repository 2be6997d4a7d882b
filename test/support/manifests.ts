/** Kubernetes objects as far as the tests look at them. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { packageRoot } from "../../src/config/package-root.js";

const named = z.object({ name: z.string() });

const probeSchema = z.looseObject({
  httpGet: z.object({ path: z.string(), port: z.union([z.string(), z.number()]) }),
  periodSeconds: z.number(),
  failureThreshold: z.number().default(3),
});

const containerSchema = z.looseObject({
  name: z.string(),
  image: z.string(),
  args: z.array(z.string()).optional(),
  command: z.array(z.string()).optional(),
  envFrom: z.array(z.looseObject({ configMapRef: named })).default([]),
  env: z
    .array(
      z.looseObject({
        name: z.string(),
        value: z.string().optional(),
        valueFrom: z
          .looseObject({
            secretKeyRef: z
              .object({ name: z.string(), key: z.string(), optional: z.boolean().optional() })
              .optional(),
            resourceFieldRef: z.looseObject({ resource: z.string() }).optional(),
          })
          .optional(),
      }),
    )
    .default([]),
  ports: z.array(z.looseObject({ name: z.string(), containerPort: z.number() })).default([]),
  startupProbe: probeSchema.optional(),
  livenessProbe: probeSchema.optional(),
  readinessProbe: probeSchema.optional(),
  resources: z.object({
    requests: z.record(z.string(), z.string()),
    limits: z.record(z.string(), z.string()),
  }),
  securityContext: z.looseObject({}),
  volumeMounts: z.array(z.looseObject({ name: z.string(), mountPath: z.string() })).default([]),
});

const podSchema = z.looseObject({
  serviceAccountName: z.string(),
  terminationGracePeriodSeconds: z.number(),
  containers: z.array(containerSchema),
  initContainers: z.array(containerSchema).default([]),
  volumes: z.array(z.looseObject({ name: z.string() })).default([]),
});

/** A container of a pod. */
export type Container = z.infer<typeof containerSchema>;
/** A pod's specification. */
export type PodSpec = z.infer<typeof podSchema>;

const objectSchema = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.looseObject({}).optional(),
  data: z.record(z.string(), z.string()).optional(),
});

/** Any object. */
export type KubernetesObject = z.infer<typeof objectSchema>;

/** The objects in a text of YAML documents. */
export function objectsIn(text: string): KubernetesObject[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as unknown)
    .filter((object) => object !== null)
    .map((object) => objectSchema.parse(object));
}

/** The plain manifests of k8s/manifests, all files together. */
export function plainManifests(): KubernetesObject[] {
  const folder = path.join(packageRoot, "k8s", "manifests");
  return readdirSync(folder)
    .filter((file) => file !== "kustomization.yaml")
    .flatMap((file) => objectsIn(readFileSync(path.join(folder, file), "utf8")));
}

const workloadSpec = z.looseObject({
  template: z.looseObject({
    metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
    spec: podSchema,
  }),
});

/** A Deployment or Job with its pod. */
export interface Workload {
  readonly object: KubernetesObject;
  readonly labels: Readonly<Record<string, string>>;
  readonly pod: PodSpec;
}

/** The Deployments and Jobs among `objects`. */
export function workloadsOf(objects: readonly KubernetesObject[]): Workload[] {
  return objects
    .filter(({ kind }) => kind === "Deployment" || kind === "Job")
    .map((object) => {
      const { template } = workloadSpec.parse(object.spec);
      return { object, labels: template.metadata.labels, pod: template.spec };
    });
}

/** The value at a path of keys, for looking into a specification. */
export function at(object: unknown, ...keys: readonly (string | number)[]): unknown {
  return keys.reduce<unknown>(
    (value, key) =>
      value === null || typeof value !== "object"
        ? undefined
        : (value as Record<string | number, unknown>)[key],
    object,
  );
}
