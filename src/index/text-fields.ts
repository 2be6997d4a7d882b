/** The text fields of an index that csplade may know nothing of. */
import type { Cluster } from "../cluster/cluster.js";
import { CspladeError } from "../errors/csplade-error.js";
import { readMappings } from "./searched-indices.js";

/** More fields than this are not searched unasked. */
const MOST_FIELDS = 8;

/**
 * Fields of type `text` outside nested objects, in the mapping's order, of all indices behind a name.
 * @throws CspladeError `index_not_found`; `index_invalid` where there are none, or too many to search
 *   all of them; `cluster_rejected`.
 */
export async function readTextFields(
  cluster: Cluster,
  name: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const mappings = await readMappings(cluster, name, signal);
  const found = new Set<string>();
  for (const { mappings: mapping } of Object.values(mappings)) {
    for (const field of textFieldsIn(mapping?.properties ?? {})) found.add(field);
  }
  if (found.size > 0 && found.size <= MOST_FIELDS) return [...found];
  throw new CspladeError(
    "index_invalid",
    found.size === 0
      ? `${name} has no text field that could be searched.`
      : `${name} has ${found.size} text fields (${[...found].slice(0, 10).join(", ")}, …): say which of them are searched.`,
    { hint: 'Give the option text_fields: --options \'{"text_fields":["title","body"]}\'.' },
  );
}

/** Paths of text fields below some properties of a mapping. */
function textFieldsIn(properties: Readonly<Record<string, unknown>>, above = ""): string[] {
  return Object.entries(properties).flatMap(([name, mapping]) => {
    if (mapping === null || typeof mapping !== "object") return [];
    const { type, properties: below } = mapping as { type?: unknown; properties?: object };
    if (type === "text") return [above + name];
    if (type === "nested" || below === undefined) return [];
    return textFieldsIn(below as Readonly<Record<string, unknown>>, `${above}${name}.`);
  });
}
