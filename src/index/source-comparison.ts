/** Whether an index holds of a document what its source holds. */
import { JsonObject, withoutMembers } from "../json/json-object.js";
import { isOurField } from "./index-meta.js";

/**
 * Compares two `_source` texts, csplade's own fields left out. Fields may stand in another order,
 * as some clusters give them back; digits, values and names may not differ. Not for documents that
 * are passages, which have a part of the text.
 * @returns the first field that differs, or undefined if none does.
 */
export function differingField(source: string, stored: string): string | undefined {
  const [mine, theirs] = [source, stored].map((text) => withoutMembers(text, isOurField));
  if (mine === theirs) return undefined;
  const [a, b] = [readable(mine ?? ""), readable(theirs ?? "")];
  if (a.canonical() === b.canonical()) return undefined;
  const names = new Set([...a.members, ...b.members].map(({ name }) => name));
  return [...names].find((name) => memberOf(a, name) !== memberOf(b, name)) ?? "";
}

function memberOf(object: JsonObject, name: string): string | undefined {
  const text = object.textOf(name);
  return text === undefined ? undefined : readable(`{"":${text}}`).canonical();
}

/** What a cluster gave has been JSON to it; what is none to us differs from everything. */
function readable(text: string): JsonObject {
  const read = JsonObject.read(text);
  return "object" in read ? read.object : JsonObject.of({ "": text });
}
