/** The edits of one search: weighted queries in place of clauses, and beside the text queries of rules. */
import type { MustSlot, ScannedPlace } from "./search-scan.js";
import type { Edit } from "./text-edits.js";

/** Collects them. */
export interface QueryEdits {
  /** The query in place of what stands there. */
  instead(place: ScannedPlace, query: string): void;
  /** What stands there or any of the queries; what must hold in a `filter` scores in a `must`. */
  beside(place: ScannedPlace, queries: readonly string[]): void;
  all(): Edit[];
}

/** @param text of the whole body. */
export function collectEdits(text: string): QueryEdits {
  const edits: Edit[] = [];
  const insertions = new Map<number, { readonly must: MustSlot; readonly queries: string[] }>();
  return {
    instead({ start, end }, content) {
      edits.push({ start, end, content });
    },
    beside({ start, end, must }, queries) {
      const any = [text.slice(start, end), ...queries].join(",");
      const either = `{"bool":{"should":[${any}],"minimum_should_match":1}}`;
      if (must === undefined) {
        edits.push({ start, end, content: either });
        return;
      }
      edits.push({ start, end, content: '{"match_all":{}}' });
      const before = insertions.get(must.start)?.queries ?? [];
      insertions.set(must.start, { must, queries: [...before, either] });
    },
    all() {
      const inserted = [...insertions.values()].flatMap(({ must, queries }): Edit[] => {
        const { start, open, close, tail } = must;
        const own = { start, end: start, content: open + queries.join(",") + close };
        return tail === undefined
          ? [own]
          : [own, { start: tail.at, end: tail.at, content: tail.content }];
      });
      return [...edits, ...inserted];
    },
  };
}
