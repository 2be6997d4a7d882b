/**
 * Pages by `search_after` of a search that csplade makes itself: the next one is weighed as the page
 * before was, whichever process asks for it (`fixed-idf.ts`).
 */
import type { WeighedVector } from "./corpus-idf.js";
import { carriesIdf, idfSortKey, readFixedIdf, writeFixedIdf, type FixedIdf } from "./fixed-idf.js";

/** A sort that takes one more key. */
export interface PagedSort {
  /** What the page before was weighed by. */
  readonly before: FixedIdf | undefined;
  /** The sort with a key that tells the next page what this one was weighed by. */
  carryOn(fixed: WeighedVector["fixed"]): Readonly<Record<string, unknown>>;
}

/**
 * The sort among the parts of a search body; undefined where there is none that can be carried on, and
 * where the values of `search_after` are not those of a hit.
 */
export function pagedSort(
  body: Readonly<Record<string, unknown>> | undefined,
): PagedSort | undefined {
  const { sort, search_after: after } = body ?? {};
  const keys = [sort].flat();
  const fields = keys.flatMap(fieldsOf);
  if (!carriesIdf(fields)) return undefined;
  const carried: unknown = Array.isArray(after) ? after[fields.length] : undefined;
  const before = typeof carried === "string" ? readFixedIdf(carried) : undefined;
  if (after !== undefined && before === undefined) return undefined;
  return {
    before,
    carryOn(fixed) {
      const idf = fixed === undefined ? carried : writeFixedIdf([fixed]);
      // A page beyond the first has a value for the key, whatever became of the question.
      return typeof idf === "string" ? { ...body, sort: [...keys, idfSortKey(idf)] } : (body ?? {});
    },
  };
}

function fieldsOf(key: unknown): string[] {
  if (typeof key === "string") return [key];
  return key !== null && typeof key === "object" ? Object.keys(key) : [];
}
