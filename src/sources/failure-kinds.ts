/** Failed documents counted by their code, with an example of each: what a summary says of them. */
import type { ErrorCode } from "../errors/csplade-error.js";
import type { DocumentFailure } from "./chunk.js";

/** A failed document and its reason. */
export interface FailureExample {
  readonly reason: string;
  readonly id?: string;
  /** Where it stands, if it came from a file. */
  readonly file?: string;
  readonly line?: number;
}

/** Failures that share a code. */
export interface FailureKind<E extends FailureExample = FailureExample> {
  readonly code: ErrorCode;
  readonly count: number;
  /** The first one. */
  readonly example: E;
}

/** A failed document of a file. */
export type FileFailureExample = Required<Omit<FailureExample, "id">> & Pick<FailureExample, "id">;

/** Adds a failure to kinds, in place. */
export function countFailure<E extends FailureExample>(
  kinds: FailureKind<E>[],
  code: ErrorCode,
  example: E,
): void {
  const at = kinds.findIndex((kind) => kind.code === code);
  const kind = kinds[at];
  if (kind === undefined) kinds.push({ code, count: 1, example });
  else kinds[at] = { ...kind, count: kind.count + 1 };
}

/** Adds failures of files to kinds, in place. */
export function countFailures(
  kinds: FailureKind<FileFailureExample>[],
  failures: readonly DocumentFailure[],
): void {
  for (const { code, reason, file, line, id } of failures) {
    countFailure(kinds, code, { reason, file, line, ...(id === undefined ? {} : { id }) });
  }
}
