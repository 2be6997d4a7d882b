/** What went wrong with a search, said so that its author knows which part to change. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, reasonOf, type ClusterResponse } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { QueryClause } from "./query-clause.js";
import type { QueryDialect } from "./query-dialect.js";
import type { VectorField } from "./query-translator.js";

/** The parts of a search that may be at fault. */
export interface FailedSearch {
  readonly index: string;
  readonly fields: readonly VectorField[];
  readonly filter?: QueryClause | readonly QueryClause[] | undefined;
}

/** Type that each dialect's field must have; `rank_feature` and `neural_sparse` share one. */
const VECTOR_TYPES: ReadonlySet<string> = new Set(["rank_features", "sparse_vector"]);

const fieldMappingSchema = z.record(
  z.string(),
  z.object({
    mappings: z.record(
      z.string(),
      z.object({ mapping: z.record(z.string(), z.object({ type: z.string().optional() })) }),
    ),
  }),
);

const validationSchema = z.object({
  valid: z.boolean(),
  error: z.string().optional(),
  explanations: z.array(z.object({ error: z.string().optional() })).optional(),
});

/**
 * The error for a search that the cluster answered with a status of 400 or above.
 * @throws CspladeError the same way, when the index lacks a vector field.
 */
export async function refusedSearch(
  cluster: Cluster,
  answer: ClusterResponse,
  search: FailedSearch,
  dialect: QueryDialect,
): Promise<CspladeError> {
  const reason = reasonOf(answer.body);
  if (answer.status === 404) return missingIndex(cluster, search.index);
  if (answer.status === 400) {
    const filterReason = await whyFilterIsInvalid(cluster, search);
    if (filterReason !== undefined) {
      return new CspladeError("query_invalid", `The filter is not valid: ${filterReason}.`, {
        hint: 'A filter is query DSL, for example {"range": {"year": {"gte": 2020}}}.',
      });
    }
    if (/unknown query \[|no \[query\] registered/.test(JSON.stringify(answer.body))) {
      return new CspladeError(
        "cluster_unsupported",
        `${cluster.url} does not know the query ${dialect}: ${reason}.`,
        { hint: "The dialect rank_feature works on every cluster." },
      );
    }
    await demandVectorFields(cluster, search.index, search.fields);
  }
  return new CspladeError(
    "cluster_rejected",
    `The search on ${search.index} was refused: ${cluster.url} answered ${answer.status}: ${reason}`,
    /maxClauseCount/.test(JSON.stringify(answer.body))
      ? { hint: "Prune the query (query.prune_type top_k), or simplify the filter." }
      : {},
  );
}

/**
 * Makes sure that the index has every vector field that is searched.
 * @throws CspladeError `index_not_found`, or `index_invalid` naming the field and its type.
 */
export async function demandVectorFields(
  cluster: Cluster,
  index: string,
  fields: readonly VectorField[],
): Promise<void> {
  for (const { name } of fields) {
    const answer = await cluster.send({
      method: "GET",
      path: `${pathOf(index)}/_mapping/field/${encodeURIComponent(name)}`,
    });
    if (answer.status === 404) throw missingIndex(cluster, index);
    const parsed = fieldMappingSchema.safeParse(answer.body);
    // Without the right to read mappings the search's own answer has to do.
    if (answer.status >= 400 || !parsed.success) return;
    const types = Object.values(parsed.data).flatMap(({ mappings }) =>
      Object.values(mappings[name]?.mapping ?? {}).map((leaf) => leaf.type ?? "object"),
    );
    if (types.some((type) => VECTOR_TYPES.has(type))) continue;
    const found = types[0];
    throw new CspladeError(
      "index_invalid",
      `The index ${index} cannot be searched: its field ${name} ${
        found === undefined ? "does not exist" : `is of type ${found}, not rank_features`
      }.`,
      { hint: "Fill an index with csplade ingest, or name the field that holds its vectors." },
    );
  }
}

function missingIndex(cluster: Cluster, index: string): CspladeError {
  return new CspladeError("index_not_found", `There is no index ${index} at ${cluster.url}.`, {
    hint: "Check its name with GET _cat/indices, or fill it with csplade ingest.",
  });
}

async function whyFilterIsInvalid(
  cluster: Cluster,
  { index, filter }: FailedSearch,
): Promise<string | undefined> {
  if (filter === undefined) return undefined;
  const answer = await cluster.send({
    method: "POST",
    path: pathOf(index, "_validate", "query"),
    query: { explain: true },
    body: { query: { bool: { filter } } },
  });
  if (answer.status === 400) return reasonOf(answer.body);
  const parsed = validationSchema.safeParse(answer.body);
  if (answer.status >= 400 || !parsed.success || parsed.data.valid) return undefined;
  const { error, explanations = [] } = parsed.data;
  return (
    error ?? explanations.find((shard) => shard.error !== undefined)?.error ?? "no reason given"
  );
}
