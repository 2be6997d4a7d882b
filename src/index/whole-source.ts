/**
 * Whether `_source` of an index is what was written to it. A document that is copied or written back
 * from a partial one would lack in every search what it lacks there.
 */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { liftSources } from "../cluster/lifted-sources.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { JsonObject } from "../json/json-object.js";
import { isOurField } from "./index-meta.js";
import { settingAt, type IndexSettings } from "./inherited-settings.js";

const sourceSchema = z.object({
  enabled: z.boolean().optional(),
  mode: z.string().optional(),
  includes: z.array(z.string()).optional(),
  excludes: z.array(z.string()).optional(),
});

/** Settings by which a cluster builds `_source` out of the fields, and the value that says so. */
const BUILT: Readonly<Record<string, string>> = {
  "index.derived_source.enabled": "true",
  "index.mapping.source.mode": "synthetic",
};

/**
 * @param source `_source` of the mapping.
 * @param settings the index's settings, flat or not.
 * @throws CspladeError `index_invalid` naming what is left out, or how documents are built anew.
 */
export function demandWholeSource(index: string, source: unknown, settings: IndexSettings): void {
  const lack = lackOf(source, settings);
  if (lack === undefined) return;
  throw new CspladeError(
    "index_invalid",
    `The index ${index} ${lack}: a document that is written from it would lose what it lacks, and be found by it no more.`,
    {
      hint: "Encode the documents where they come from: csplade ingest, or an index that keeps them whole.",
    },
  );
}

function lackOf(source: unknown, settings: IndexSettings): string | undefined {
  const { enabled, mode, includes = [], excludes = [] } = sourceSchema.safeParse(source).data ?? {};
  if (enabled === false || mode === "disabled") return "keeps no _source";
  const built = Object.entries(BUILT).find(
    ([name, value]) => String(settingAt(settings, name)) === value,
  );
  if (mode === "synthetic") return "builds _source out of its fields (_source.mode: synthetic)";
  if (built !== undefined) return `builds _source out of its fields (${built.join(": ")})`;
  if (includes.length > 0)
    return `keeps only a part of _source (_source.includes: ${includes.join(", ")})`;
  const theirs = excludes.filter((name) => !isOurField(name.split(".", 1)[0] ?? name));
  if (theirs.length > 0)
    return `keeps only a part of _source (_source.excludes: ${theirs.join(", ")})`;
  return undefined;
}

/** Documents looked at to see whether a field that others are copied to has a text of its own. */
const LOOKED_AT = 10;

/**
 * Makes sure that no text field is filled by `copy_to` alone: its text is in no document.
 * @throws CspladeError `index_invalid` naming the fields it is copied from.
 */
export async function demandOwnTexts(
  cluster: Cluster,
  index: string,
  properties: unknown,
  textFields: readonly string[],
): Promise<void> {
  const copied = copiesOf(properties, "");
  for (const field of textFields) {
    const from = copied.filter(({ to }) => to.includes(field)).map(({ name }) => name);
    if (from.length === 0) continue;
    const doing = `Looking for texts of ${field} in ${index}`;
    const body = { size: LOOKED_AT, query: { exists: { field } } };
    const path = pathOf(index, "_search");
    const text = await cluster.demandText({ method: "POST", path, body }, doing);
    const { sources } = liftSources(text, ["hits", "hits"], doing);
    const hasOwn = (source: string) => {
      const read = JsonObject.read(source);
      return "object" in read && read.object.valuesAt(field).length > 0;
    };
    if (sources.length === 0 || sources.some(hasOwn)) continue;
    throw new CspladeError(
      "index_invalid",
      `The text field ${field} of ${index} is filled by copy_to from ${from.join(", ")}, so no document holds its text.`,
      { hint: `Encode those fields instead: --text-fields ${from.join(",")}.` },
    );
  }
}

const fieldSchema = z.looseObject({
  copy_to: z.union([z.string(), z.array(z.string())]).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
});

function copiesOf(
  properties: unknown,
  prefix: string,
): { readonly name: string; readonly to: readonly string[] }[] {
  return Object.entries(Object(properties) as object).flatMap(([part, raw]: [string, unknown]) => {
    const field = fieldSchema.safeParse(raw).data;
    const name = `${prefix}${part}`;
    const own = { name, to: [field?.copy_to ?? []].flat() };
    return [own, ...copiesOf(field?.properties, `${name}.`)];
  });
}
