/** A copy of an index with pruned vectors: what a pruning costs and saves, without encoding again. */
import type { Cluster } from "../cluster/cluster.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { NewMember } from "../json/json-object.js";
import { fromFeatures, toFeatures } from "../sparse/features.js";
import { prune, type PruneOptions } from "../sparse/prune.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import { copyIndex, storedObject, type IndexDefinition } from "../index/copied-index.js";
import { readIndexModel } from "../index/csplade-index.js";
import { PASSAGES_FIELD, storedFeatures, VECTOR_FIELD } from "../index/index-meta.js";
import { scanIndex } from "../cluster/scan-index.js";

/** What is copied where. */
export interface PrunedIndexRequest {
  /** An index that holds its vectors in `_source`, pruned as they are. */
  readonly from: string;
  /** Must not exist. */
  readonly into: string;
  readonly pruning: PruneOptions;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes the index. Its documents keep the content hashes of the old one's: it is for measuring, and
 * ingesting into it with other settings encodes them anew. A failure leaves no half-made index behind.
 * @throws CspladeError `config_invalid` for a ratio that does not fit its type; `index_invalid` for an
 * index without vectors in `_source`, or behind several indices; `cluster_rejected` if `into` exists;
 * and what reading and writing throw.
 */
export async function makePrunedIndex(
  cluster: Cluster,
  writer: BulkWriter,
  { from, into, pruning, signal }: PrunedIndexRequest,
): Promise<void> {
  const info = await readIndexModel(cluster, from, signal === undefined ? {} : { signal });
  const [source] = info.indices;
  if (info.indices.length !== 1 || source === undefined) {
    throw new CspladeError(
      "index_invalid",
      `${from} leads to ${info.indices.length} indices; name one of them.`,
    );
  }
  await demandVectors(cluster, source, signal);
  const isPruned = (name: string) => name === VECTOR_FIELD || name === PASSAGES_FIELD;
  const prunedVector = (holder: object): object => {
    const features = storedFeatures(holder);
    if (features === undefined) return {};
    return { [VECTOR_FIELD]: toFeatures(prune(fromFeatures(features), pruning)) };
  };
  await copyIndex(cluster, writer, {
    from: source,
    into,
    signal,
    define: withoutPruning,
    rewrite(text) {
      const object = storedObject(text, source);
      const ours = Object.fromEntries(
        [VECTOR_FIELD, PASSAGES_FIELD].map((name) => [name, object.value(name)]),
      );
      const passages = passagesOf(ours)?.map((each) => ({ ...each, ...prunedVector(each) }));
      const pruned = {
        ...prunedVector(ours),
        ...(passages === undefined ? {} : { [PASSAGES_FIELD]: passages }),
      };
      const members = Object.entries(pruned).map(([name, value]): NewMember => [
        name,
        JSON.stringify(value),
      ]);
      return object.without(isPruned).with(members);
    },
  });
}

/** What the old index records of its vectors' pruning does not hold for the copy. */
function withoutPruning({ mappings, settings }: IndexDefinition): IndexDefinition {
  const csplade = { ...mappings._meta.csplade };
  delete csplade.pruning;
  return { mappings: { ...mappings, _meta: { ...mappings._meta, csplade } }, settings };
}

/** Of the first page: one may have documents without a vector, but not only such. */
async function demandVectors(
  cluster: Cluster,
  index: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const source = [VECTOR_FIELD, `${PASSAGES_FIELD}.${VECTOR_FIELD}`];
  for await (const page of scanIndex(cluster, index, { source, signal })) {
    const holders = page.flatMap(({ source: text }) => {
      const holder = JSON.parse(text) as object;
      return [holder, ...(passagesOf(holder) ?? [])];
    });
    if (holders.some((holder) => storedFeatures(holder) !== undefined)) return;
    throw new CspladeError(
      "index_invalid",
      `The documents of ${index} carry no vectors in _source, so there is nothing to prune.`,
      { hint: "Ingest them into an index that holds vectors in _source (document.store_vectors)." },
    );
  }
}

function passagesOf(document: object): readonly object[] | undefined {
  const passages: unknown = Reflect.get(document, PASSAGES_FIELD);
  return Array.isArray(passages) ? passages : undefined;
}
