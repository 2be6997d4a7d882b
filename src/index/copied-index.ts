/** A copy of an index: its settings and mapping, changed, and its documents, rewritten. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { JsonObject } from "../json/json-object.js";
import { JsonText } from "../cluster/bulk-operation.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import { refreshIndex } from "./csplade-index.js";
import { GUARD_PREFIX } from "./index-template.js";
import { scanIndex } from "../cluster/scan-index.js";

const indexSchema = z.object({
  mappings: z.looseObject({
    _meta: z.looseObject({ csplade: z.looseObject({}) }),
    properties: z.record(z.string(), z.unknown()),
  }),
  settings: z.object({ index: z.record(z.string(), z.unknown()) }),
});

/** What an index is created with. */
export interface IndexDefinition {
  readonly mappings: z.infer<typeof indexSchema>["mappings"];
  /** Below `index`. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** What is copied where. */
export interface IndexCopy {
  /** An index of csplade's, no alias. */
  readonly from: string;
  /** Must not exist. */
  readonly into: string;
  /** Changes what the copy is created with. */
  readonly define?: (old: IndexDefinition) => IndexDefinition;
  /** Changes the text of a document (`_source`). */
  readonly rewrite: (source: string) => string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((documents: number) => void) | undefined;
}

/**
 * The text of a stored document, read.
 * @throws CspladeError `index_invalid` for one that no cluster would take now.
 */
export function storedObject(source: string, index: string): JsonObject {
  const read = JsonObject.read(source);
  if ("object" in read) return read.object;
  throw new CspladeError("index_invalid", `A document of ${index} ${read.problem}.`);
}

/** Settings that the cluster gave the old index itself. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  "creation_date",
  "history_uuid",
  "provided_name",
  "replication",
  "uuid",
  "version",
]);

/**
 * Makes the copy and refreshes it. A failure leaves no half-made index behind.
 * @returns the number of documents.
 * @throws CspladeError `cluster_rejected` if `into` exists or a document is refused, and what
 * reading and writing throw.
 */
export async function copyIndex(
  cluster: Cluster,
  writer: BulkWriter,
  copy: IndexCopy,
): Promise<number> {
  const { from, into } = copy;
  const old = await readDefinition(cluster, from);
  const { mappings, settings } = copy.define?.(old) ?? old;
  await cluster.demand(
    { method: "PUT", path: pathOf(into), body: { settings: { index: settings }, mappings } },
    `Creating the index ${into}`,
  );
  try {
    const documents = await copyDocuments(cluster, writer, copy);
    await refreshIndex(cluster, into);
    return documents;
  } catch (thrown) {
    await cluster.send({ method: "DELETE", path: pathOf(into) });
    throw thrown;
  }
}

async function readDefinition(cluster: Cluster, index: string): Promise<IndexDefinition> {
  const answer = z
    .record(z.string(), indexSchema)
    .parse(
      await cluster.demand(
        { method: "GET", path: pathOf(index) },
        `Reading the mapping of ${index}`,
      ),
    );
  const { mappings, settings } = answer[index] as z.infer<typeof indexSchema>;
  const kept = Object.entries(settings.index).filter(([name]) => !LEFT_OUT.has(name));
  return withMovedGuard({ mappings, settings: Object.fromEntries(kept) });
}

/** The guard of an index of an older version is its final pipeline, which no write can leave out. */
function withMovedGuard({ mappings, settings }: IndexDefinition): IndexDefinition {
  const { final_pipeline: guard, ...others } = settings;
  const isGuard = typeof guard === "string" && guard.startsWith(GUARD_PREFIX);
  if (!isGuard || settings.default_pipeline !== undefined) return { mappings, settings };
  const csplade = { ...mappings._meta.csplade, guard: "default_pipeline" };
  return {
    mappings: { ...mappings, _meta: { ...mappings._meta, csplade } },
    settings: { ...others, default_pipeline: guard },
  };
}

async function copyDocuments(
  cluster: Cluster,
  writer: BulkWriter,
  { from, into, rewrite, signal, onProgress }: IndexCopy,
): Promise<number> {
  let documents = 0;
  for await (const page of scanIndex(cluster, from, { signal })) {
    const results = await writer.write(
      page.map(({ id, routing, source }) => ({
        index: into,
        id,
        action: "index" as const,
        document: new JsonText(rewrite(source)),
        // A pipeline would build the document anew; what is copied has passed it.
        pipeline: "_none",
        ...(routing === undefined ? {} : { routing }),
      })),
      signal,
    );
    const failed = results.find((result) => result.status !== "written");
    if (failed?.status === "failed" || failed?.status === "skipped") {
      throw new CspladeError(
        "cluster_rejected",
        `A document of ${from} could not be copied into ${into}: ${failed.reason}`,
      );
    }
    documents += page.length;
    onProgress?.(documents);
  }
  return documents;
}
