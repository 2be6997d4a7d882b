/** What a cluster's index templates decide of an index before it is made. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { matchesPattern } from "../cluster/wildcard.js";
import type { IndexSettings } from "./inherited-settings.js";

const simulatedSchema = z.object({
  template: z.object({
    settings: z.object({ index: z.record(z.string(), z.unknown()).default({}) }).optional(),
  }),
});

const legacySchema = z.record(
  z.string(),
  z.object({
    index_patterns: z.array(z.string()),
    order: z.number().default(0),
    settings: z.record(z.string(), z.unknown()).default({}),
  }),
);

/**
 * Settings, by their path below `index`, that templates give an index of this name; none where they may
 * not be asked for.
 */
export async function decidedSettings(
  cluster: Cluster,
  { name, signal }: { readonly name: string; readonly signal?: AbortSignal },
): Promise<IndexSettings> {
  const asked = signal === undefined ? {} : { signal };
  const path = pathOf("_index_template", "_simulate_index", name);
  const answer = await cluster.send({ method: "POST", path, ...asked });
  // Clusters before 7.9 have no such templates; who may create an index need not be allowed to ask.
  const simulated = answer.status < 400 ? simulatedSchema.safeParse(answer.body).data : undefined;
  const decided = simulated?.template.settings?.index ?? {};
  if (Object.keys(decided).length > 0) return decided;
  // The older kind counts where none of the newer kind fits; of several the one of the highest order wins.
  const older = await cluster.send({
    method: "GET",
    path: "/_template",
    query: { flat_settings: true },
    ...asked,
  });
  const found = older.status < 400 ? (legacySchema.safeParse(older.body).data ?? {}) : {};
  const fitting = Object.values(found)
    .filter(({ index_patterns }) => index_patterns.some((each) => matchesPattern(each, name)))
    .sort((a, b) => a.order - b.order);
  const settings = Object.assign({}, ...fitting.map((each) => each.settings)) as IndexSettings;
  return Object.fromEntries(
    Object.entries(settings).map(([path, value]) => [path.replace(/^index\./, ""), value]),
  );
}
