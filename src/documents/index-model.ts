import type { Manifest } from "../encoder/manifest.js";
import type { IndexModel } from "../index/index-meta.js";

/** What an index remembers of a checkpoint. */
export function indexModelOf(manifest: Manifest): IndexModel {
  const { fingerprint, name, variant, vocabulary_size, dense } = manifest;
  const model = { fingerprint, name, variant, vocabulary_size };
  return dense === undefined ? model : { ...model, dense_dimension: dense.dimension };
}
