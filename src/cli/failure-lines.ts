/** What is to be said of some documents of a run, for people: those that failed, and those that are cut. */
import pc from "picocolors";
import type { FailureKind } from "../sources/failure-kinds.js";

/** A line per code: how many, and the reason of one of them. */
export function failureLines(kinds: readonly FailureKind[]): string[] {
  return kinds.map(({ code, count, example: { reason, id, line, file } }) => {
    const which = id ?? `line ${line ?? 0} of ${file ?? ""}`;
    return `${count} × ${code}: ${reason} (${which})`;
  });
}

/** How many documents lost some of their text, and which; nothing where none did. */
export function truncatedLines({
  truncated,
  truncated_ids: ids,
}: {
  readonly truncated: number;
  readonly truncated_ids: readonly string[];
}): string[] {
  if (truncated === 0) return [];
  const named = `${truncated > ids.length ? "the first " : ""}${ids.join(", ")}`;
  return [pc.yellow(`${truncated} documents are longer than ingest.max_passages allows: ${named}`)];
}
