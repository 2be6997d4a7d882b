/** An index that holds CSPLADE vectors: creating it, checking it, asking which model it is of. */
import { packageVersion } from "../config/package-root.js";
import type { Capabilities } from "../cluster/capabilities.js";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { adoptEmpty, takenAnew } from "./empty-index.js";
import {
  demandSamePlan,
  metaOf,
  modelPhrase,
  parseMeta,
  planOf,
  type IndexPlan,
} from "./index-meta.js";
import { decidedSettings } from "./decided-settings.js";
import { guardName, indexBody, type GuardPlace } from "./index-template.js";
import { settingAt } from "./inherited-settings.js";
import {
  demandVersion,
  denseFieldOf,
  guardedPlan,
  infoOf,
  mappingsSchema,
  metaIn,
  signalOf,
  type IndexInfo,
  type IndexRequest,
  type Mappings,
} from "./index-request.js";
import { moveGuard, putGuard, restoreGuard } from "./model-guard.js";
import { writeAliasBody } from "../cluster/write-alias.js";

export type { IndexInfo, IndexRequest };

/** Names of user's indices: what OpenSearch allows, without the patterns that mean several. */
const INDEX_NAME = /^[^-_+.A-Z\\/*?"<>| ,#:][^A-Z\\/*?"<>| ,#:]{0,254}$/;

/**
 * Creates the index if it is missing. If it is there, checks that its vectors are of the
 * same model and its passages kept the same way. An existing index without a model is
 * taken over if it is empty (a user, or an index template, created it beforehand).
 * @throws CspladeError `model_mismatch` naming both models; `index_invalid` for a bad name,
 *   other passages, an index with documents that csplade did not create, a data stream, an alias
 *   of several indices, a required routing or a block on reading;
 *   `cluster_rejected`, `cluster_unreachable`.
 */
export async function ensureIndex(cluster: Cluster, request: IndexRequest): Promise<IndexInfo> {
  if (!INDEX_NAME.test(request.name)) {
    throw new CspladeError("index_invalid", `"${request.name}" cannot be the name of an index.`, {
      hint: "Use lowercase letters, digits, hyphens and underscores, starting with a letter or digit.",
    });
  }
  const found = await askIndex(cluster, request);
  if (found === undefined) {
    const made = await createIndex(cluster, request);
    if (made !== undefined) return { ...infoOf(made, [made.name], true), made: true };
    // Another worker created it meanwhile: it must pass the same checks as any existing index.
    return checkExisting(cluster, request, await demandIndex(cluster, request));
  }
  return checkExisting(cluster, request, found);
}

/**
 * Asks which model an index is of, for the query side. Aliases and patterns are followed;
 * all indices behind one must agree.
 * @throws CspladeError `index_not_found`; `index_invalid` if it has no CSPLADE vectors or keeps
 *   passages in several ways; `model_mismatch` if indices behind the name are of different models.
 */
export async function readIndexModel(
  cluster: Cluster,
  name: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<IndexInfo> {
  const answer = await cluster.send({
    method: "GET",
    path: `${pathOf(name)}/_mapping`,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (answer.status === 404) throw notFound(name);
  const mappings = parseMappings(cluster, answer.status, answer.body, name);
  return agreeing(name, mappings);
}

/** Makes everything written so far visible to searches. */
export async function refreshIndex(cluster: Cluster, name: string): Promise<void> {
  await cluster.demand(
    { method: "POST", path: `${pathOf(name)}/_refresh` },
    `Refreshing the index ${name}`,
  );
}

/** Deletes an index. @returns false if it was not there. */
export async function deleteIndex(cluster: Cluster, name: string): Promise<boolean> {
  if (!INDEX_NAME.test(name)) {
    throw new CspladeError(
      "index_invalid",
      `Deleting "${name}" is refused: it does not name one index.`,
    );
  }
  const answer = await cluster.send({ method: "DELETE", path: pathOf(name) });
  if (answer.status === 404) return false;
  if (answer.status < 400) return true;
  throw new CspladeError(
    "cluster_rejected",
    `Deleting the index ${name}: ${cluster.url} answered ${answer.status}: ${reasonOf(answer.body)}`,
  );
}

async function askIndex(cluster: Cluster, request: IndexRequest): Promise<Mappings | undefined> {
  const answer = await cluster.send({
    method: "GET",
    path: pathOf(request.name),
    query: { flat_settings: true },
    ...signalOf(request),
  });
  if (answer.status === 404) return undefined;
  return parseMappings(cluster, answer.status, answer.body, request.name);
}

async function demandIndex(cluster: Cluster, request: IndexRequest): Promise<Mappings> {
  const found = await askIndex(cluster, request);
  if (found === undefined) throw notFound(request.name);
  return found;
}

/** @returns what was made, or undefined if the index exists by now. */
async function createIndex(
  cluster: Cluster,
  request: IndexRequest,
): Promise<IndexRequest | undefined> {
  const capabilities = await demandVersion(cluster, request.name);
  const constant_keyword = hasConstantKeyword(capabilities);
  const decided = await decidedSettings(cluster, request);
  const dense = denseFieldOf(request, capabilities);
  const place = guardPlaceIn(request, settingAt(decided, "default_pipeline"));
  if (place !== undefined) await putGuard(cluster, request, place);
  const made = place === "final_pipeline" ? request : guardedPlan(request);
  const answer = await cluster.send({
    method: "PUT",
    path: pathOf(request.name),
    body: {
      aliases: writeAliasBody(request.name),
      ...indexBody(
        metaOf(made, packageVersion),
        place === undefined ? {} : { [place]: guardName(request.model, place) },
        { ...request, constant_keyword, decided, dense, capabilities },
      ),
    },
    ...signalOf(request),
  });
  if (answer.status < 400) return made;
  const reason = reasonOf(answer.body);
  if (reason.includes("resource_already_exists_exception")) return undefined;
  throw new CspladeError(
    "cluster_rejected",
    `Creating the index ${request.name}: ${cluster.url} answered ${answer.status}: ${reason}`,
  );
}

/**
 * Where the guard of a new index stands. A default pipeline that a template names is its owner's choice
 * and stays. What csplade ingest writes passes it, and then the guard; what was copied from another index
 * passes none, for which the guard may not be the final one: the mapping alone refuses other models there.
 */
function guardPlaceIn(request: IndexRequest, theirs: unknown): GuardPlace | undefined {
  if (request.guarded === false) return undefined;
  if (theirs === undefined || theirs === "_none") return "default_pipeline";
  return request.inherit === undefined ? "final_pipeline" : undefined;
}

/** A field that refuses every value but one: OpenSearch since 2.14, Elasticsearch since 7.7. */
function hasConstantKeyword({ distribution, major, minor }: Capabilities): boolean {
  if (distribution === "elasticsearch") return major > 7 || (major === 7 && minor >= 7);
  return major > 2 || (major === 2 && minor >= 14);
}

async function checkExisting(
  cluster: Cluster,
  request: IndexRequest,
  found: Mappings,
): Promise<IndexInfo> {
  demandWritable(request, found);
  const [only] = Object.keys(found);
  const without = Object.keys(found).filter((index) => metaIn(found, index) === undefined);
  if (only !== undefined && Object.keys(found).length === 1 && without.length === 1) {
    return adoptEmpty(cluster, request, only, found);
  }
  const info = await takenAnew(cluster, request, found, agreeing(request.name, found));
  const { given } = request;
  const passages = given === undefined ? request.passages : (given.passages ?? info.passages);
  demandSamePlan(info, { ...request, passages }, request.name);
  if (request.guarded === false) return info;
  await restoreGuard(cluster, request, found);
  return (await moveGuard(cluster, request, found)) ? { ...info, guard: "default_pipeline" } : info;
}

/** Refuses at once what no write, or no look at what is stored, could ever succeed with. */
function demandWritable({ name, inherit }: IndexRequest, found: Mappings): void {
  const refuse = (problem: string, hint: string) => {
    throw new CspladeError("index_invalid", `${name} cannot be written to: ${problem}.`, { hint });
  };
  const indices = Object.keys(found);
  if (indices.length > 1) {
    refuse(`it leads to several indices (${indices.join(", ")})`, "Name one of them.");
  }
  for (const { data_stream, mappings, settings } of Object.values(found)) {
    if (data_stream !== undefined) {
      refuse("it is a data stream, whose documents cannot be replaced", "Use an index.");
    }
    if (mappings?._routing?.required === true && inherit === undefined) {
      refuse(
        "its mapping demands a routing of every document, and csplade ingest gives none",
        "Use an index without _routing.required.",
      );
    }
    if (String(settings?.["index.blocks.read"]) === "true") {
      refuse(
        "index.blocks.read is set, and what is stored must be compared",
        "Lift the block and start again.",
      );
    }
  }
}

/** One plan for all indices behind a name. */
function agreeing(name: string, found: Mappings): IndexInfo {
  const indices = Object.keys(found).sort();
  const [first] = indices;
  if (first === undefined) throw notFound(name);
  const plans = indices.map((index) => {
    const raw = metaIn(found, index);
    if (raw === undefined) {
      throw new CspladeError(
        "index_invalid",
        `The index ${index}${index === name ? "" : ` (behind ${name})`} has no CSPLADE vectors: its mapping's _meta.csplade is missing.`,
        { hint: "Name an index that csplade ingest or csplade reindex wrote." },
      );
    }
    return planOf(parseMeta(raw, index));
  });
  const plan = plans[0] as IndexPlan;
  plans.forEach((other, i) => {
    const index = indices[i] as string;
    if (other.model.fingerprint !== plan.model.fingerprint) {
      throw new CspladeError(
        "model_mismatch",
        `${name} leads to indices of different models: ${first} holds vectors of ${modelPhrase(plan.model)}, ` +
          `${index} of ${modelPhrase(other.model)}. One question cannot be asked of both.`,
        { hint: "Search one of them, or reindex them with one model." },
      );
    }
    if (other.passages !== plan.passages) {
      throw new CspladeError(
        "index_invalid",
        `${name} leads to indices that keep passages in different ways: ${first} "${plan.passages}", ${index} "${other.passages}".`,
        { hint: "Search one of them." },
      );
    }
  });
  // Nothing is lost by a seal where none is needed.
  const stored = plans.every(({ store_vectors }) => store_vectors !== false);
  const dense = plans.every((each) => each.dense === true);
  return {
    name,
    indices,
    created: false,
    ...plan,
    ...(dense || plan.dense === undefined ? {} : { dense }),
    ...(stored ? {} : { store_vectors: false }),
  };
}

function parseMappings(cluster: Cluster, status: number, body: unknown, name: string): Mappings {
  const parsed = mappingsSchema.safeParse(body);
  if (status < 400 && parsed.success) return parsed.data;
  throw new CspladeError(
    "cluster_rejected",
    `Reading the mapping of ${name}: ${cluster.url} answered ${status}: ${status < 400 ? "no mapping" : reasonOf(body)}`,
  );
}

function notFound(name: string): CspladeError {
  return new CspladeError("index_not_found", `There is no index or alias ${name}.`, {
    hint: "csplade ingest creates it.",
  });
}
