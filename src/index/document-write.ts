/** Writes documents whose operations must be acknowledged in steps. */
import type { BulkOperation, WriteResult } from "../cluster/bulk-operation.js";
import type { BulkWriter } from "../cluster/bulk-writer.js";
import { UnacknowledgedError } from "../cluster/write-failure.js";

/** One document's operations, from `documentSteps` or `deletionSteps`. */
export type DocumentSteps = readonly (readonly BulkOperation[])[];

/**
 * Writes documents side by side, each step only after the one before was written. A document
 * counts as written when all of its operations are; the first one that is not decides otherwise.
 * @returns one result per document, in order.
 * @throws UnacknowledgedError with one result per document: undefined means "write it again".
 */
export async function writeDocuments(
  writer: BulkWriter,
  documents: readonly DocumentSteps[],
  signal?: AbortSignal,
): Promise<WriteResult[]> {
  const outcomes: (WriteResult | undefined)[] = documents.map(() => undefined);

  const most = Math.max(0, ...documents.map((steps) => steps.length));
  for (let step = 0; step < most; step++) {
    const owners: number[] = [];
    const operations: BulkOperation[] = [];
    for (const [i, steps] of documents.entries()) {
      if (outcomes[i] !== undefined) continue;
      for (const operation of steps[step] ?? []) {
        owners.push(i);
        operations.push(operation);
      }
    }
    let results: readonly (WriteResult | undefined)[];
    let failure: UnacknowledgedError | undefined;
    try {
      results = await writer.write(operations, signal);
    } catch (thrown) {
      if (!(thrown instanceof UnacknowledgedError)) throw thrown;
      failure = thrown;
      results = thrown.results;
    }
    settle(documents, step, owners, results, outcomes);
    if (failure !== undefined) throw new UnacknowledgedError(failure.why, outcomes);
  }
  return outcomes.filter((outcome) => outcome !== undefined);
}

function settle(
  documents: readonly DocumentSteps[],
  step: number,
  owners: readonly number[],
  results: readonly (WriteResult | undefined)[],
  outcomes: (WriteResult | undefined)[],
): void {
  const unfinished = new Set<number>();
  const last = new Map<number, WriteResult>();
  for (const [n, owner] of owners.entries()) {
    const result = results[n];
    if (result === undefined) unfinished.add(owner);
    else if (result.status !== "written") outcomes[owner] ??= result;
    else last.set(owner, result);
  }
  for (const [owner, result] of last) {
    const done = step === (documents[owner]?.length ?? 0) - 1;
    if (done && !unfinished.has(owner)) outcomes[owner] ??= result;
  }
}
