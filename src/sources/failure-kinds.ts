/** Failed documents counted by their code, with an example of each: what a summary says of them. */
import type { ErrorCode } from "../errors/csplade-error.js";
import type { DocumentFailure } from "./chunk.js";

/** Failures that share a code. */
export interface FailureKind {
  readonly code: ErrorCode;
  readonly count: number;
  /** The reason of the first one, and which it is. */
  readonly example: {
    readonly reason: string;
    readonly file: string;
    readonly line: number;
    readonly id?: string;
  };
}

/** Adds failures to kinds, in place. */
export function countFailures(kinds: FailureKind[], failures: readonly DocumentFailure[]): void {
  for (const { code, reason, file, line, id } of failures) {
    const at = kinds.findIndex((kind) => kind.code === code);
    const kind = kinds[at];
    if (kind !== undefined) kinds[at] = { ...kind, count: kind.count + 1 };
    else {
      const example = { reason, file, line, ...(id === undefined ? {} : { id }) };
      kinds.push({ code, count: 1, example });
    }
  }
}
