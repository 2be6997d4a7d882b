/** The text fields of an index that csplade may know nothing of. */
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { mappingsSchema } from "./index-request.js";

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
  const answer = await cluster.send({
    method: "GET",
    path: pathOf(name, "_mapping"),
    ...(signal === undefined ? {} : { signal }),
  });
  const parsed = mappingsSchema.safeParse(answer.body);
  if (answer.status === 404 || (parsed.success && Object.keys(parsed.data).length === 0)) {
    throw new CspladeError("index_not_found", `There is no index or alias ${name}.`);
  }
  if (answer.status >= 400 || !parsed.success) {
    throw new CspladeError(
      "cluster_rejected",
      `Reading the mapping of ${name}: ${cluster.url} answered ${answer.status}: ${answer.status < 400 ? "no mapping" : reasonOf(answer.body)}`,
    );
  }
  const found = new Set<string>();
  for (const { mappings } of Object.values(parsed.data)) {
    for (const field of textFieldsIn(mappings?.properties ?? {})) found.add(field);
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
