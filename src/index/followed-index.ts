/**
 * Encoding in place: an index that applications write to as ever, and whose documents get their vectors
 * where they are. It has no ingest pipeline of ours: through one, the cluster would build each document of
 * the applications anew, and digits would be lost. Sequence numbers say what was written.
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { lookUpName } from "../cluster/alias.js";
import { demandVectorsTold } from "../cluster/whole-source.js";
import type { IndexInfo } from "./csplade-index.js";
import { demandDenseIndex } from "./dense-field.js";
import { contradictions, demandNoContradiction } from "./index-identity.js";
import { demandSamePlan, metaOf, parseMeta, planOf, type IndexPlan } from "./index-meta.js";
import { demandHtmlTexts, vectorRecord, htmlRecord } from "../config/document-identity.js";
import { packageVersion } from "../config/package-root.js";
import { denseFieldOf } from "./index-request.js";
import { vectorFields } from "./index-template.js";
import { demandOwnTexts, demandWholeSource } from "./whole-source.js";

/** The default pipeline that earlier versions gave the index. */
const OLD_PIPELINE = "csplade-mark";

/** Field of the reason why a document cannot be encoded. */
export const REFUSED_FIELD = "csplade_refused";

/** How far an index was read, per shard: noted in its own `_meta`, with the uuid that it holds for. */
const FOLLOWED_META = "csplade_follow";

const followedSchema = z.object({ uuid: z.string(), next: z.array(z.number().int().min(0)) });

const mappingsSchema = z.record(
  z.string(),
  z.object({ mappings: z.looseObject({ _meta: z.record(z.string(), z.unknown()).optional() }) }),
);

/**
 * Makes an existing index ready: fields for vectors and the model in `_meta`. Doing it again changes
 * nothing.
 * @param name an index, or an alias of one.
 * @throws CspladeError `index_not_found`; `index_invalid` for an alias of several indices, or
 *   passages as documents, or other fields of HTML or another expansion than it has; `config_invalid` for HTML in fields that
 *   are no text fields; `model_mismatch`.
 */
export async function prepareFollowedIndex(
  cluster: Cluster,
  name: string,
  plan: IndexPlan,
): Promise<IndexInfo> {
  if (plan.passages === "documents") {
    throw new CspladeError(
      "index_invalid",
      "Documents that are encoded in place cannot be cut into documents of their own.",
      { hint: "Use --passages merged or nested, or csplade reindex into an index of its own." },
    );
  }
  const index = await concreteIndex(cluster, name);
  const mappings = mappingsSchema.parse(
    await cluster.demand(
      { method: "GET", path: pathOf(index, "_mapping") },
      `Looking at the mapping of ${index}`,
    ),
  );
  const { _meta = {}, _source, properties: fields } = mappings[index]?.mappings ?? {};
  const settings = await flatSettings(cluster, index);
  demandWholeSource(index, _source, settings);
  await demandVectorsTold(cluster, index, fields);
  const info = { name: index, indices: [index], created: false };
  if (_meta.csplade === undefined) {
    demandHtmlTexts(plan);
    await demandOwnTexts(cluster, index, fields, plan.text_fields);
    await leaveOldPipeline(cluster, index, settings["index.default_pipeline"]);
    const meta = metaOf(plan, packageVersion);
    const dense = denseFieldOf({ ...plan, name: index }, await cluster.capabilities());
    if (dense !== undefined) demandDenseIndex(index, dense, settings);
    const properties = { ...vectorFields(meta, dense), [REFUSED_FIELD]: { type: "keyword" } };
    const body = { _meta: { ..._meta, csplade: meta }, properties };
    const doing = `Adding the fields of vectors to ${index}`;
    await cluster.demand({ method: "PUT", path: pathOf(index, "_mapping"), body }, doing);
    return { ...info, ...plan };
  }
  const found = planOf(parseMeta(_meta.csplade, index));
  demandSamePlan(found, plan, index);
  demandNoContradiction(
    index,
    contradictions(found, { ...htmlRecord(plan), ...vectorRecord(plan) }),
  );
  await demandOwnTexts(cluster, index, fields, found.text_fields);
  await leaveOldPipeline(cluster, index, settings["index.default_pipeline"]);
  const body = { properties: { [REFUSED_FIELD]: { type: "keyword" } } };
  const doing = `Adding the field ${REFUSED_FIELD} to ${index}`;
  await cluster.demand({ method: "PUT", path: pathOf(index, "_mapping"), body }, doing);
  return { ...info, ...found };
}

async function concreteIndex(cluster: Cluster, name: string): Promise<string> {
  const use = await lookUpName(cluster, name);
  if (use.kind === "index") return name;
  if (use.kind === "free") {
    throw new CspladeError("index_not_found", `There is no index and no alias ${name}.`, {
      hint: "Create it, or let the application write to it first.",
    });
  }
  const [only, ...others] = use.indices;
  if (only !== undefined && others.length === 0) return only;
  throw new CspladeError(
    "index_invalid",
    `${name} leads to several indices (${use.indices.join(", ")}): follow each by itself.`,
  );
}

const settingsSchema = z.record(
  z.string(),
  z.object({
    settings: z.looseObject({ "index.default_pipeline": z.string().optional() }),
  }),
);

async function flatSettings(cluster: Cluster, index: string) {
  const answer = await cluster.demand(
    { method: "GET", path: pathOf(index, "_settings"), query: { flat_settings: true } },
    `Looking at the settings of ${index}`,
  );
  return settingsSchema.parse(answer)[index]?.settings ?? {};
}

async function leaveOldPipeline(cluster: Cluster, index: string, current: string | undefined) {
  if (current !== OLD_PIPELINE) return;
  const body = { index: { default_pipeline: null } };
  await cluster.demand(
    { method: "PUT", path: pathOf(index, "_settings"), body },
    `Taking the pipeline ${OLD_PIPELINE} off ${index}`,
  );
}

/** Where to go on, per shard: sequence numbers before are dealt with. */
export async function followedUpTo(
  cluster: Cluster,
  {
    index,
    uuid,
    shards,
  }: { readonly index: string; readonly uuid: string; readonly shards: number },
): Promise<number[]> {
  const noted = followedSchema.safeParse((await metaOfIndex(cluster, index))[FOLLOWED_META]).data;
  // Another index of this name, restored or made again, has numbers of its own.
  if (noted?.uuid === uuid && noted.next.length === shards) return [...noted.next];
  return Array.from({ length: shards }, () => 0);
}

/** Notes where to go on. */
export async function noteFollowed(
  cluster: Cluster,
  { index, uuid }: { readonly index: string; readonly uuid: string },
  next: readonly number[],
): Promise<void> {
  const _meta = { ...(await metaOfIndex(cluster, index)), [FOLLOWED_META]: { uuid, next } };
  await cluster.demand(
    { method: "PUT", path: pathOf(index, "_mapping"), body: { _meta } },
    `Noting how far ${index} was read`,
  );
}

async function metaOfIndex(cluster: Cluster, index: string): Promise<Record<string, unknown>> {
  const answer = await cluster.demand(
    { method: "GET", path: pathOf(index, "_mapping") },
    `Looking at the mapping of ${index}`,
  );
  return mappingsSchema.parse(answer)[index]?.mappings._meta ?? {};
}
