/** Which of its hits a search's body asks for: the numbers, where they stand, and how to ask for others. */
import type { Node } from "jsonc-parser";
import { eachProperty, property } from "./query-walk.js";
import type { Edit } from "./text-edits.js";

/** The page of a search's body. Offsets are UTF-16 units of the whole text. */
export interface HitsPage {
  /** Behind the body's first brace. */
  readonly open: number;
  readonly from?: PageNumber;
  readonly size?: PageNumber;
  /** What gives the hits another order than their scores'. */
  readonly ordered_by?: "sort" | "search_after";
}

/** A number as somebody wrote it. */
interface PageNumber {
  readonly value: unknown;
  readonly start: number;
  readonly end: number;
}

/** @param base offset of the body in the whole text. */
export function hitsPageOf(body: Node, base: number): HitsPage {
  const from = numberOf(property(body, "from"), base);
  const size = numberOf(property(body, "size"), base);
  const sort = property(body, "sort");
  const other =
    property(body, "search_after") !== undefined
      ? "search_after"
      : sort !== undefined && !isByScore(sort)
        ? "sort"
        : undefined;
  return {
    open: base + body.offset + 1,
    ...(from === undefined ? {} : { from }),
    ...(size === undefined ? {} : { size }),
    ...(other === undefined ? {} : { ordered_by: other }),
  };
}

/** The edits that ask for the first hits, of a body that is not empty. */
export function firstHits({ open, from, size }: HitsPage, count: number): Edit[] {
  const first = from === undefined ? [] : [{ ...placeOf(from), content: "0" }];
  return size === undefined
    ? [...first, { start: open, end: open, content: `"size":${count},` }]
    : [...first, { ...placeOf(size), content: String(count) }];
}

function placeOf({ start, end }: PageNumber): Pick<Edit, "start" | "end"> {
  return { start, end };
}

function numberOf(node: Node | undefined, base: number): PageNumber | undefined {
  if (node === undefined) return undefined;
  const start = base + node.offset;
  return { value: node.value as unknown, start, end: start + node.length };
}

/** Whether a sort says what holds without one: by the score, best first. */
function isByScore(sort: Node): boolean {
  if (sort.type === "array") {
    const [key, ...more] = sort.children ?? [];
    return more.length === 0 && key !== undefined && key.type !== "array" && isByScore(key);
  }
  if (sort.type === "string") return sort.value === "_score";
  let by = true;
  eachProperty(sort, (name, how) => {
    const order: unknown = how.type === "object" ? property(how, "order")?.value : how.value;
    if (name !== "_score" || (order !== undefined && order !== "desc")) by = false;
  });
  return by;
}
