/** The indices behind a name or pattern, sorted by whether a question of one model can be put to them. */
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import {
  demandSameModel,
  parseMeta,
  planOf,
  type IndexModel,
  type IndexPlan,
} from "./index-meta.js";
import { mappingsSchema, metaIn, type Mappings } from "./index-request.js";

/** Indices by what they hold; each list is in alphabetical order. */
export interface SortedIndices {
  /** Those with vectors of the model. */
  readonly names: readonly string[];
  /** How these keep them; undefined where there are none. */
  readonly plan: IndexPlan | undefined;
  /** Those with vectors of another model, or of a version that cannot be read. */
  readonly foreign: readonly string[];
  /** Those without vectors. */
  readonly without: readonly string[];
}

/**
 * One index that cannot be asked does not keep the others from being asked.
 * @param metas `_meta.csplade` of each index.
 * @throws CspladeError `model_mismatch` or `index_invalid` where there are only foreign ones, and
 *   `index_invalid` where passages are kept in several ways.
 */
export function sortIndices(
  metas: Readonly<Record<string, unknown>>,
  model: IndexModel,
): SortedIndices {
  const names: string[] = [];
  const foreign: string[] = [];
  const without: string[] = [];
  let plan: IndexPlan | undefined;
  let refused: CspladeError | undefined;
  for (const name of Object.keys(metas).sort()) {
    if (metas[name] === undefined) {
      without.push(name);
      continue;
    }
    let next: IndexPlan;
    try {
      next = planOf(parseMeta(metas[name], name));
      demandSameModel(next.model, model, name);
    } catch (thrown) {
      if (!(thrown instanceof CspladeError)) throw thrown;
      refused ??= thrown;
      foreign.push(name);
      continue;
    }
    if (plan !== undefined && plan.passages !== next.passages) {
      throw new CspladeError(
        "index_invalid",
        `${names[0] ?? ""} keeps passages as "${plan.passages}", ${name} as "${next.passages}"; one search cannot ask both.`,
        { hint: "Name fewer indices." },
      );
    }
    names.push(name);
    // Shards without the field would fail where dense vectors are asked for.
    plan = next.dense === true ? (plan ?? next) : { ...(plan ?? next), dense: next.dense };
  }
  if (plan === undefined && refused !== undefined) throw refused;
  return { names, plan, foreign, without };
}

/** Indices to put a question to. */
export interface SearchedIndices extends SortedIndices {
  readonly plan: IndexPlan;
}

/**
 * Asks what is behind an index, an alias, a pattern, or several of them with commas between.
 * @throws CspladeError `index_not_found`; `index_invalid` if none has vectors; as
 *   {@link sortIndices}.
 */
export async function readSearchedIndices(
  cluster: Cluster,
  name: string,
  model: IndexModel,
  signal?: AbortSignal,
): Promise<SearchedIndices> {
  const sorted = sortIndices(metasOf(await readMappings(cluster, name, signal)), model);
  if (sorted.plan !== undefined) return { ...sorted, plan: sorted.plan };
  const [first] = sorted.without;
  if (first === undefined) {
    throw new CspladeError("index_not_found", `No index is behind ${name}.`, {
      hint: "csplade ingest creates one.",
    });
  }
  throw new CspladeError(
    "index_invalid",
    `The index ${first}${first === name ? "" : ` (behind ${name})`} has no CSPLADE vectors: its mapping's _meta.csplade is missing.`,
    { hint: "Name an index that csplade ingest or csplade reindex wrote." },
  );
}

/**
 * The mappings of what is behind an index, an alias, a pattern, or several of them with commas between.
 * @throws CspladeError `index_not_found`, `cluster_rejected`.
 */
export async function readMappings(
  cluster: Cluster,
  name: string,
  signal?: AbortSignal,
): Promise<Mappings> {
  const answer = await cluster.send({
    method: "GET",
    path: pathOf(name, "_mapping"),
    ...(signal === undefined ? {} : { signal }),
  });
  if (answer.status === 404) {
    throw new CspladeError("index_not_found", `There is no index or alias ${name}.`, {
      hint: "csplade ingest creates it.",
    });
  }
  const parsed = mappingsSchema.safeParse(answer.body);
  if (answer.status < 400 && parsed.success) return parsed.data;
  throw new CspladeError(
    "cluster_rejected",
    `Reading the mapping of ${name}: ${cluster.url} answered ${answer.status}: ${answer.status < 400 ? "no mapping" : reasonOf(answer.body)}`,
  );
}

function metasOf(found: Mappings): Record<string, unknown> {
  return Object.fromEntries(Object.keys(found).map((index) => [index, metaIn(found, index)]));
}
