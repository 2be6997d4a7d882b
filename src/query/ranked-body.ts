/** How a mode ranks only the best hits of a first look. */
import type { BodyParts } from "./around.js";

/** What such a mode puts into the search body besides the query of the first look. */
export interface RankedBody {
  /** Parts of the body that make the ranking: `rescore`, `search_pipeline`. */
  readonly parts: BodyParts;
  /** Hits of each shard that are ranked; never fewer than are asked for. */
  readonly window: number;
}
