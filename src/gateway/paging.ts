/**
 * `search_after`: a page that goes on behind the last hit of the page before must be weighed as that
 * one was, or hits are lost and doubled. What it was weighed by is a sort key of its own, behind the
 * caller's: the same for every hit, it sorts nothing, and the cluster puts it among the values that the
 * caller sends back for the next page.
 */
import type { Node } from "jsonc-parser";
import { carriesIdf, idfSortKey, readFixedIdf, type FixedIdf } from "../query/fixed-idf.js";
import { property } from "./query-walk.js";
import type { Edit } from "./text-edits.js";

/** The sort of a search, to be carried on. Offsets are UTF-16 units of the whole text. */
export interface Paging {
  /** Where the sort ends, behind its last bracket. */
  readonly end: number;
  /** Where it starts, if it is no list yet. */
  readonly start?: number;
  /** What the page before brought along. */
  readonly carried?: string;
}

/**
 * The paging of a body that is sorted by the score and something else. Nothing where clusters take no
 * further key: beside `collapse`, and for a `hybrid` query.
 * @param base offset of the body in the whole text.
 */
export function pagingOf(body: Node, base: number): Paging | undefined {
  const sort = property(body, "sort");
  if (sort === undefined || property(body, "collapse") !== undefined) return undefined;
  if (property(property(body, "query"), "hybrid") !== undefined) return undefined;
  const keys = keysOf(sort);
  if (!carriesIdf(keys)) return undefined;
  const after = property(body, "search_after");
  const carried: unknown = after?.children?.[keys.length]?.value;
  const place = {
    end: base + sort.offset + sort.length,
    ...(sort.type === "array" ? {} : { start: base + sort.offset }),
  };
  if (after === undefined) return place;
  // Values that the caller made are as many as the caller's keys.
  if (typeof carried !== "string" || readFixedIdf(carried) === undefined) return undefined;
  return { ...place, carried };
}

/** What the page before was weighed by. */
export function carriedIdf({ carried }: Paging): FixedIdf | undefined {
  return carried === undefined ? undefined : readFixedIdf(carried);
}

/** The edits that add the key. @param idf as `writeFixedIdf` gives it. */
export function carryOn({ start, end }: Paging, idf: string): Edit[] {
  const key = JSON.stringify(idfSortKey(idf));
  if (start === undefined) return [{ start: end - 1, end: end - 1, content: `,${key}` }];
  return [
    { start, end: start, content: "[" },
    { start: end, end, content: `,${key}]` },
  ];
}

/** The fields that a sort names, in order. */
function keysOf(sort: Node): string[] {
  if (sort.type === "array") return (sort.children ?? []).flatMap(keysOf);
  if (sort.type === "string") return [String(sort.value)];
  return (sort.children ?? []).map(({ children }) => String(children?.[0]?.value));
}
