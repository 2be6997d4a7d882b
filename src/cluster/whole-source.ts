/**
 * How whole documents are asked for. From 9.2 on Elasticsearch takes `dense_vector`, `sparse_vector` and
 * `rank_vectors` fields out of `_source`, on disk and in answers, unless the index or the request says
 * otherwise: a document copied or written back from such an answer would lose its own vectors.
 * What was taken out comes back as the cluster's numbers.
 */
import { UNKNOWN_VERSION } from "./capabilities.js";
import type { Cluster } from "./cluster.js";
import { CspladeError } from "../errors/csplade-error.js";

/** `_source` of a search body whose hits are whole documents. */
export async function wholeSource(
  cluster: Cluster,
  index: string,
): Promise<true | Readonly<{ exclude_vectors: false }>> {
  const { hides_vectors } = await cluster.capabilities(index);
  return hides_vectors ? { exclude_vectors: false } : true;
}

/** Parameters of a get or a multi-get that answers with whole documents. */
export async function wholeSourceQuery(
  cluster: Cluster,
  index: string,
): Promise<Readonly<Record<string, string>>> {
  const { hides_vectors } = await cluster.capabilities(index);
  return hides_vectors ? { _source_exclude_vectors: "false" } : {};
}

/** Types of fields that only Elasticsearch has, and leaves out. */
const HIDDEN = /"type":"(dense_vector|rank_vectors)"/;

/**
 * Refuses an index whose documents may come without some of their fields, and nobody could tell.
 * @param properties of its mapping.
 * @throws CspladeError `index_invalid` where fields are vectors and the cluster does not tell its version.
 */
export async function demandVectorsTold(
  cluster: Cluster,
  index: string,
  properties: unknown,
): Promise<void> {
  const { version } = await cluster.capabilities(index);
  const [, type] = HIDDEN.exec(JSON.stringify(properties ?? {})) ?? [];
  if (version !== UNKNOWN_VERSION || type === undefined) return;
  throw new CspladeError(
    "index_invalid",
    `The index ${index} has fields of type ${type}, and ${cluster.url} does not tell these credentials its version: from Elasticsearch 9.2 on such fields are left out of documents unless they are asked for.`,
    { hint: "Grant monitor (cluster:monitor/main) to whoever reads and writes documents." },
  );
}
