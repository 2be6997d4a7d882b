import type { Manifest } from "../encoder/manifest.js";
import type { IndexModel } from "../index/index-meta.js";

/** What an index remembers of a checkpoint. */
export function indexModelOf(manifest: Manifest): IndexModel {
  const { fingerprint, name, variant, vocabulary_size } = manifest;
  return { fingerprint, name, variant, vocabulary_size };
}
