/** Empty indices that are made csplade's own, or given other settings than they were made with. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { packageVersion } from "../config/package-root.js";
import { CspladeError } from "../errors/csplade-error.js";
import { contradictions, demandNoContradiction } from "./index-identity.js";
import { demandDenseIndex, type DenseField } from "./dense-field.js";
import {
  demandSameModel,
  metaOf,
  SEALED_PART,
  VECTOR_FIELD,
  type IndexPlan,
} from "./index-meta.js";
import {
  demandVersion,
  denseFieldOf,
  guardedPlan,
  infoOf,
  signalOf,
  type IndexInfo,
  type IndexRequest,
  type Mappings,
} from "./index-request.js";
import { guardName, indexBody, LEFT_OUT, type IndexBody } from "./index-template.js";
import { putGuard } from "./model-guard.js";

/** The index as it is; or, if it is empty, as it is asked for. @throws CspladeError `index_invalid`. */
export async function takenAnew(
  cluster: Cluster,
  request: IndexRequest,
  found: Mappings,
  info: IndexInfo,
): Promise<IndexInfo> {
  const { given = {} } = request;
  const different = contradictions(info, given);
  const [index] = info.indices;
  if (different.length === 0 || index === undefined) return info;
  demandSameModel(info.model, request.model, request.name);
  if ((await countDocuments(cluster, index, request.signal)) > 0) {
    demandNoContradiction(request.name, different);
  }
  const plan = { ...info, ...given, model: request.model };
  const dense = await addedDense(cluster, request, plan, index, found);
  const { mappings } = indexBody(metaOf(plan, packageVersion), {}, { dense });
  const present = found[index]?.mappings?.properties ?? {};
  const missing = Object.entries(mappings.properties).filter(
    ([name]) => !Object.hasOwn(present, name),
  );
  // Nested passages are mapped when an index is made, or never.
  if ((plan.passages === "nested") !== (info.passages === "nested")) return info;
  await cluster.demand(
    {
      method: "PUT",
      path: `${pathOf(index)}/_mapping`,
      body: {
        _meta: { ...found[index]?.mappings?._meta, ...mappings._meta },
        properties: Object.fromEntries(missing),
      },
      ...signalOf(request),
    },
    `Giving the empty index ${index} new settings`,
  );
  return plan;
}

/** Documents that an index holds now. */
export async function countDocuments(
  cluster: Cluster,
  index: string,
  signal?: AbortSignal,
): Promise<number> {
  const asked = signal === undefined ? {} : { signal };
  const doing = `Counting the documents of ${index}`;
  await cluster.demand({ method: "POST", path: pathOf(index, "_refresh"), ...asked }, doing);
  const answer = await cluster.demand(
    { method: "GET", path: pathOf(index, "_count"), ...asked },
    doing,
  );
  return z.object({ count: z.number() }).parse(answer).count;
}

export async function adoptEmpty(
  cluster: Cluster,
  request: IndexRequest,
  index: string,
  found: Mappings,
): Promise<IndexInfo> {
  const count = await countDocuments(cluster, index, request.signal);
  if (count > 0) {
    throw new CspladeError(
      "index_invalid",
      `The index ${request.name} has ${count} documents but no CSPLADE model: csplade did not create it.`,
      {
        hint: `Ingest into an index of another name; csplade reindex copies the documents of ${request.name} into one with vectors.`,
      },
    );
  }
  await demandVersion(cluster, request.name);
  const dense = await addedDense(cluster, request, request, index, found);
  // What the index says of `_source` cannot be changed any more.
  const theirs = found[index]?.settings?.["index.default_pipeline"];
  const isFree = theirs === undefined || theirs === "_none";
  // A default pipeline that somebody chose runs on; then the guard comes after it.
  const adopted = {
    ...(isFree ? guardedPlan(request) : request),
    store_vectors: storesVectors(index, found),
  };
  const guarded = request.guarded !== false;
  const place = isFree ? "default_pipeline" : "final_pipeline";
  if (guarded) await putGuard(cluster, request, place);
  const body = indexBody(metaOf(adopted, packageVersion), {}, { dense });
  const present = found[index]?.mappings?.properties ?? {};
  const missing = Object.entries(body.mappings.properties).filter(
    ([name]) => !Object.hasOwn(present, name),
  );
  for (const [name, field] of Object.entries(present)) demandOurType(index, name, field, body);
  await cluster.demand(
    {
      method: "PUT",
      path: `${pathOf(index)}/_mapping`,
      body: {
        _meta: { ...found[index]?.mappings?._meta, ...body.mappings._meta },
        properties: Object.fromEntries(missing),
      },
      ...signalOf(request),
    },
    `Adding the CSPLADE fields to the empty index ${index}`,
  );
  if (guarded) {
    await cluster.demand(
      {
        method: "PUT",
        path: `${pathOf(index)}/_settings`,
        body: { index: { [place]: guardName(request.model, place) } },
        ...signalOf(request),
      },
      `Installing the model guard on the index ${index}`,
    );
  }
  return infoOf(adopted, [index], true);
}

/** The field of dense vectors, where an index that is there is to have it and can be given it. */
async function addedDense(
  cluster: Cluster,
  { name }: IndexRequest,
  plan: IndexPlan,
  index: string,
  found: Mappings,
): Promise<DenseField | undefined> {
  const dense = denseFieldOf({ ...plan, name }, await cluster.capabilities());
  if (dense !== undefined) demandDenseIndex(index, dense, found[index]?.settings ?? {});
  return dense;
}

/**
 * Whether `_source` of an index that csplade did not create holds vectors.
 * @throws CspladeError `index_invalid` if it lacks them and updates could not be refused.
 */
function storesVectors(index: string, found: Mappings): boolean {
  const { excludes = [] } = found[index]?.mappings?._source ?? {};
  const leftOut = excludes.some((pattern) => [VECTOR_FIELD, `${VECTOR_FIELD}*`].includes(pattern));
  if (!leftOut) return true;
  if (excludes.includes(SEALED_PART)) return false;
  throw new CspladeError(
    "index_invalid",
    `The mapping of the empty index ${index} leaves vectors out of _source, and an update would lose them unnoticed.`,
    {
      hint: `Leave out ${LEFT_OUT.join(", ")}; or delete the index and let csplade create it with document.store_vectors false.`,
    },
  );
}

/** A field that was mapped before must be what csplade would have made of it. */
function demandOurType(index: string, name: string, field: unknown, body: IndexBody): void {
  if (!name.startsWith(VECTOR_FIELD)) return;
  const type = z.object({ type: z.string() }).safeParse(field).data?.type ?? "object";
  const ours = body.mappings.properties[name];
  const wanted = z.object({ type: z.string() }).safeParse(ours).data?.type;
  if (wanted === undefined || type === wanted) return;
  throw new CspladeError(
    "index_invalid",
    `The field ${name} of the empty index ${index} is mapped as ${type}, not as ${wanted}.`,
    { hint: `Delete the index, or create it from mappings/index.json.` },
  );
}
