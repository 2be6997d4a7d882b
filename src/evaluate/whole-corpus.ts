/** Figures are printed for whole collections only: a document that is missing cannot be found. */
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import type { IngestCounts } from "../pipeline/ingest-run.js";

const countSchema = z.object({ count: z.number().int().min(0) });

/** Failures that leave no judged document out: nothing finds a text that is none, and an id counts once. */
const HARMLESS: readonly ErrorCode[] = ["document_no_text", "document_duplicate"];

/**
 * Checks that all documents of a corpus are in the index that it was ingested into. Only documents
 * without any text may be absent: no system finds them, and collections have such.
 * @throws CspladeError `index_invalid` with the number of those that are missing, and why where that
 *   is known.
 */
export async function demandWholeCorpus(
  cluster: Cluster,
  index: string,
  { read, failures }: Pick<IngestCounts, "read" | "failures">,
  signal?: AbortSignal,
): Promise<void> {
  const failed = failures.filter(({ code }) => !HARMLESS.includes(code));
  if (failed.length > 0) {
    const kinds = failed.map(
      ({ code, count, example }) =>
        `${count} with ${code}, the first ${example.id ?? `in line ${example.line}`}: ${example.reason}`,
    );
    throw missing(index, `could not be indexed (${kinds.join("; ")})`, sum(failed));
  }
  const wanted = read - sum(failures);
  const found = await countDocuments(cluster, index, signal);
  if (found < wanted) throw missing(index, "are not in it", wanted - found);
}

function sum(kinds: IngestCounts["failures"]): number {
  return kinds.reduce((total, { count }) => total + count, 0);
}

function missing(index: string, why: string, count: number): CspladeError {
  return new CspladeError(
    "index_invalid",
    `Nothing is said of how good ${index} is: ${count} documents of the corpus ${why}.`,
    {
      hint: "Mend what keeps them out, and evaluate again: an index made with --index is filled up.",
    },
  );
}

/** Documents of an index; of those that are kept passage by passage, the first passages. */
async function countDocuments(
  cluster: Cluster,
  index: string,
  signal?: AbortSignal,
): Promise<number> {
  const later = { range: { csplade_passage: { gt: 0 } } };
  const answer = await cluster.demand(
    {
      method: "POST",
      path: pathOf(index, "_count"),
      body: { query: { bool: { must_not: [later] } } },
      ...(signal === undefined ? {} : { signal }),
    },
    `Counting the documents of ${index}`,
  );
  return countSchema.parse(answer).count;
}
