/** Vectors that an index holds already, taken over where text and model are the same. */
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { CspladeError } from "../errors/csplade-error.js";
import { readVectors, type StoredVectors } from "../index/stored-vectors.js";
import type { JudgedDocument } from "./document-path.js";

/** Gives documents the vectors that `index` holds of the same texts. Not for passages as documents. */
export async function carryVectors(
  cluster: Cluster,
  patience: Patience,
  index: string,
  judged: readonly JudgedDocument[],
): Promise<void> {
  if (judged.length === 0) return;
  const keys = judged.map(({ document, arrival: { routing } }) => ({
    id: document.id,
    ...(routing === undefined ? {} : { routing }),
  }));
  let found: (StoredVectors | undefined)[];
  try {
    found = await patiently(patience, () => readVectors(cluster, index, keys, patience.signal));
  } catch (thrown) {
    // An index to take over from may be deleted meanwhile: then everything is encoded.
    if (thrown instanceof CspladeError && thrown.code === "index_not_found") return;
    throw thrown;
  }
  for (const [i, each] of judged.entries()) {
    const stored = found[i];
    if (stored === undefined) continue;
    if (stored.hash === each.hash || stored.text_hash === each.text_hash) {
      each.vectors = stored.vectors;
    }
  }
}
