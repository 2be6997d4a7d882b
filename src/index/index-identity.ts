/** What an index records of its documents' identity, against what a command asks for. */
import { isDeepStrictEqual } from "node:util";
import {
  identityPhrase,
  settingsOfIdentity,
  type DocumentIdentity,
  type GivenIdentity,
} from "../config/document-identity.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { IndexPlan } from "./index-meta.js";

/** A part in which a command contradicts an index. */
export interface Contradiction {
  readonly part: keyof DocumentIdentity;
  readonly found: string;
  readonly given: string;
}

/** What an index has of which it says nothing. */
const UNSAID: GivenIdentity = { html_fields: [], expansion: 1, dense: false };

/** Where what is asked for is another thing than what an index records. */
export function contradictions(found: IndexPlan, given: GivenIdentity): Contradiction[] {
  return (Object.keys(given) as (keyof DocumentIdentity)[]).flatMap((part) => {
    const there = found[part] ?? UNSAID[part];
    const asked = given[part];
    if (there === undefined || asked === undefined || isDeepStrictEqual(there, asked)) return [];
    return [{ part, found: identityPhrase(there), given: identityPhrase(asked) }];
  });
}

/** @throws CspladeError `index_invalid` with both values. */
export function demandNoContradiction(
  index: string,
  [first, ...others]: readonly Contradiction[],
): void {
  if (first === undefined) return;
  const said = [first, ...others].map(
    ({ part, found, given }) =>
      `${settingsOfIdentity(part).join(", ")}: the index has "${found}", this command "${given}"`,
  );
  throw new CspladeError(
    "index_invalid",
    `The index ${index} holds documents that were written with other settings. ${said.join("; ")}.`,
    {
      hint: "Leave the setting out, or write to a new index; csplade reindex encodes what is there with new settings.",
    },
  );
}
