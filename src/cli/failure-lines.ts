/** Failed documents by their codes, for people. */
import type { FailureKind } from "../sources/failure-kinds.js";

/** A line per code: how many, and the reason of one of them. */
export function failureLines(kinds: readonly FailureKind[]): string[] {
  return kinds.map(({ code, count, example: { reason, id, line, file } }) => {
    const which = id ?? `line ${line ?? 0} of ${file ?? ""}`;
    return `${count} × ${code}: ${reason} (${which})`;
  });
}
