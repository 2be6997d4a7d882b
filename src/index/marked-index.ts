/**
 * Encoding in place: an index that applications write to through the pipeline `csplade-mark`
 * (`pipelines/csplade-mark.json`), which takes the vector off whatever is written. A document
 * without one is to be encoded.
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { lookUpName } from "./alias.js";
import type { IndexInfo } from "./csplade-index.js";
import { demandSamePlan, metaOf, parseMeta, planOf, type IndexPlan } from "./index-meta.js";
import { packageVersion } from "../config/package-root.js";
import { markPipeline, vectorFields } from "./index-template.js";
import { demandOwnTexts, demandWholeSource } from "./whole-source.js";

/** Name of the pipeline. */
const MARK_PIPELINE = "csplade-mark";

/** Field of the reason why a document cannot be encoded. */
export const REFUSED_FIELD = "csplade_refused";

/** Documents that have neither a vector nor a reason why not. */
export const UNENCODED = {
  bool: {
    must_not: [{ exists: { field: "csplade_model" } }, { exists: { field: REFUSED_FIELD } }],
  },
} as const;

const mappingsSchema = z.record(
  z.string(),
  z.object({ mappings: z.looseObject({ _meta: z.record(z.string(), z.unknown()).optional() }) }),
);

/**
 * Makes an existing index ready: fields for vectors, the model in `_meta`, and the pipeline as its
 * default one. Doing it again changes nothing.
 * @param name an index, or an alias of one.
 * @throws CspladeError `index_not_found`; `index_invalid` for an alias of several indices, another
 *   default pipeline, or passages as documents; `model_mismatch`.
 */
export async function prepareMarkedIndex(
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
  const info = { name: index, indices: [index], created: false };
  if (_meta.csplade === undefined) {
    await demandOwnTexts(cluster, index, fields, plan.text_fields);
    await demandPipeline(cluster, index, settings["index.default_pipeline"]);
    const meta = metaOf(plan, packageVersion);
    const properties = { ...vectorFields(meta), [REFUSED_FIELD]: { type: "keyword" } };
    const body = { _meta: { ..._meta, csplade: meta }, properties };
    const doing = `Adding the fields of vectors to ${index}`;
    await cluster.demand({ method: "PUT", path: pathOf(index, "_mapping"), body }, doing);
    return { ...info, ...plan };
  }
  const found = planOf(parseMeta(_meta.csplade, index));
  demandSamePlan(found, plan, index);
  await demandOwnTexts(cluster, index, fields, found.text_fields);
  await demandPipeline(cluster, index, settings["index.default_pipeline"]);
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

/** Installs the pipeline and makes it the default one of the index. */
async function demandPipeline(
  cluster: Cluster,
  index: string,
  current: string | undefined,
): Promise<void> {
  const taken = current !== undefined && current !== MARK_PIPELINE && current !== "_none";
  await cluster.demand(
    { method: "PUT", path: `/_ingest/pipeline/${MARK_PIPELINE}`, body: markPipeline() },
    `Installing the pipeline ${MARK_PIPELINE}`,
  );
  if (current === MARK_PIPELINE) return;
  if (taken) {
    if (await calls(cluster, current)) return;
    throw new CspladeError(
      "index_invalid",
      `The index ${index} has another default pipeline, ${current}: changed documents would keep the vectors of their old texts.`,
      {
        hint: `Add {"pipeline": {"name": "${MARK_PIPELINE}"}} to the processors of ${current}.`,
      },
    );
  }
  const body = { index: { default_pipeline: MARK_PIPELINE } };
  await cluster.demand(
    { method: "PUT", path: pathOf(index, "_settings"), body },
    `Making ${MARK_PIPELINE} the pipeline of ${index}`,
  );
}

/** True if a pipeline calls ours. */
async function calls(cluster: Cluster, pipeline: string): Promise<boolean> {
  const answer = await cluster.send({
    method: "GET",
    path: `/_ingest/pipeline/${encodeURIComponent(pipeline)}`,
  });
  const found = z
    .record(z.string(), z.object({ processors: z.array(z.record(z.string(), z.unknown())) }))
    .safeParse(answer.body).data?.[pipeline];
  return (found?.processors ?? []).some(
    (processor) =>
      z.object({ name: z.literal(MARK_PIPELINE) }).safeParse(processor.pipeline).success,
  );
}
