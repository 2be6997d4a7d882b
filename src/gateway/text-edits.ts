/** Places of a text replaced, everything else left as it is. */

/** A stretch of a text (UTF-16 offsets, `end` not included) and what comes in its place. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly content: string;
}

/** Applies edits that do not overlap; those at the same place in the order given. */
export function applyEdits(text: string, edits: readonly Edit[]): string {
  const sorted = [...edits].sort((a, b) => a.start - b.start || a.end - b.end);
  const parts: string[] = [];
  let from = 0;
  for (const { start, end, content } of sorted) {
    parts.push(text.slice(from, start), content);
    from = end;
  }
  parts.push(text.slice(from));
  return parts.join("");
}
