/** Whether the documents of an index are what they may be, byte for byte, told in few words. */
import { createHash } from "node:crypto";
import { withoutMembers } from "../../src/json/json-object.js";
import { isOurField } from "../../src/index/index-meta.js";
import { textsOf } from "./writers.js";

/** What was compared, and what was wrong. */
export interface FidelityReport {
  /** Documents compared. */
  readonly compared: number;
  /** Writes of applications that were acknowledged. */
  readonly writes: number;
  /** Not there although nobody deleted them. */
  readonly lost: number;
  /** There twice, or although somebody deleted them. */
  readonly doubled: number;
  /** There with another text. */
  readonly altered: number;
  /** Some of them. */
  readonly examples: readonly string[];
}

/** Nothing was compared yet. */
const NOTHING: FidelityReport = {
  compared: 0,
  writes: 0,
  lost: 0,
  doubled: 0,
  altered: 0,
  examples: [],
};

/** The sums of reports. */
export function sumOf(reports: readonly FidelityReport[]): FidelityReport {
  return reports.reduce(
    (sum, each) => ({
      compared: sum.compared + each.compared,
      writes: sum.writes + each.writes,
      lost: sum.lost + each.lost,
      doubled: sum.doubled + each.doubled,
      altered: sum.altered + each.altered,
      examples: [...sum.examples, ...each.examples].slice(0, 20),
    }),
    NOTHING,
  );
}

/** Whether nothing is wrong. */
export function isClean({ lost, doubled, altered }: FidelityReport): boolean {
  return lost + doubled + altered === 0;
}

/** Compares an index with what may be in it; null: not there. */
export async function compare(
  url: string,
  { index, phase }: { readonly index: string; readonly phase: string },
  ids: readonly string[],
  allowed: (id: string) => readonly (string | null)[],
): Promise<FidelityReport> {
  const there = await textsOf(url, index);
  const wrong = { lost: 0, doubled: 0, altered: 0 };
  const examples: string[] = [];
  const count = (what: keyof typeof wrong, id: string) => {
    wrong[what] += 1;
    if (examples.length < 5) {
      const now = there.get(id)?.map(inBrief).join(" and ") ?? "nothing";
      const may = ids.length === 0 ? "nothing" : allowed(id).map(inBrief).join(" or ");
      examples.push(`${what} ${phase}, in ${index}: ${id} is ${now}; may be ${may}`);
    }
  };
  for (const id of new Set([...ids, ...there.keys()])) {
    const [text, ...more] = there.get(id) ?? [];
    const may = ids.length === 0 ? [null] : allowed(id);
    if (more.length > 0) count("doubled", id);
    else if (text === undefined) {
      if (!may.includes(null)) count("lost", id);
    } else if (may.every((each) => each === null)) count("doubled", id);
    else if (!may.some((each) => each !== null && isOwnTextOf(text, each))) count("altered", id);
  }
  return { ...NOTHING, compared: there.size, ...wrong, examples };
}

/** What is wrong in a line that a log cut short still shows: counts, and an example of each kind. */
export function inWords(report: FidelityReport): string {
  const { compared, lost, doubled, altered, examples } = report;
  const firsts = ["lost", "doubled", "altered"].flatMap(
    (kind) => examples.find((example) => example.startsWith(kind)) ?? [],
  );
  return [`${lost} lost, ${doubled} doubled, ${altered} altered of ${compared}`, ...firsts].join(
    "; ",
  );
}

/** A state of a document: its version and last update, and its digest for what these do not tell. */
function inBrief(text: string | null): string {
  if (text === null) return "nothing";
  const version = /in version (\d+)/.exec(text)?.[1] ?? "?";
  const updated = /"updated":([^,}]+)/.exec(text)?.[1];
  const own = withoutMembers(text, isOurField);
  const digest = createHash("sha256").update(own).digest("hex").slice(0, 6);
  return `v${version}${updated === undefined ? "" : `+${updated}`} (${digest}, ${own.length} characters)`;
}

/** Whether a stored document is this text, with nothing but csplade's fields behind its own. */
function isOwnTextOf(stored: string, text: string): boolean {
  if (stored === text) return true;
  const own = text.includes('"csplade') ? withoutMembers(text, isOurField) : text;
  const head = own.slice(0, own.lastIndexOf("}")).trimEnd();
  const tail = own.slice(head.length);
  if (!stored.startsWith(head) || !stored.endsWith(tail)) return false;
  const between = stored.slice(head.length, stored.length - tail.length);
  if (between === "") return true;
  if (!between.startsWith(',"csplade')) return false;
  const ours = JSON.parse(`{${between.slice(1)}}`) as object;
  return Object.keys(ours).every((name) => /^csplade(_|$)/.test(name));
}
