/** Removes from the target what the source has no more: one slice of the target's own documents. */
import { z } from "zod";
import { patiently } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { writeDocuments } from "../index/document-write.js";
import { deletionSteps } from "../index/index-document.js";
import { readDocuments, type StoredDocument } from "../sources/index-source.js";
import { noCounts } from "./run-record.js";
import type { SliceClaim } from "./slice-claim.js";
import { demandSameSource } from "./slice-reader.js";
import type { SliceEnding, SliceTask } from "./slice-task.js";

/** Documents asked about at once. */
const PAGE = 1_000;

const mgetSchema = z.object({
  docs: z.array(
    z.object({ _id: z.string(), found: z.boolean().optional(), error: z.unknown().optional() }),
  ),
});

/** Sweeps until the slice ends, the worker drains or the run is paused. */
export async function sweepSlice(task: SliceTask, claim: SliceClaim): Promise<SliceEnding> {
  const { cluster, run, info, writer, config, signal, metrics } = task;
  if (run.source.type !== "index") return "done";
  const patience = { config, cluster, signal, onTrouble: task.onTrouble };
  await demandSameSource({ cluster, run, patience });
  const { part, to } = claim.record;
  const reader = { index: run.target, shard: part, primaries: true, ...filterOf(run.passages) };
  for (let from = claim.record.position; from < to;) {
    if (task.drain.aborted) return "drained";
    if ((await task.controls.current(run.run)).control.paused) return "paused";
    const page = await patiently(patience, () =>
      readDocuments(cluster, reader, { from, to, size: PAGE, source: OUR_FIELDS }, signal),
    );
    const last = page.at(-1);
    if (last === undefined) return "done";
    const gone = await patiently(patience, () => goneFrom(task, page));
    // One more than the version that is there: a newer one, written meanwhile, stays.
    const results = await writeDocuments(
      writer,
      gone.map((document) => {
        const passages = Number(fieldsOf(document).csplade_passage_count ?? 0);
        const stored = { hash: undefined, passages };
        const version = document.version + 1;
        return deletionSteps(info, { ...document, id: sourceId(document), version }, stored);
      }),
      signal,
    );
    const counts = noCounts();
    counts.deleted = results.filter(({ status }) => status === "written").length;
    metrics.count("reindex", counts);
    from = last.seq_no + 1;
    await claim.checkpoint(from, counts);
  }
  return "done";
}

const OUR_FIELDS = ["csplade_parent", "csplade_passage_count"];

/** In `documents` mode the first passage stands for its document. */
function filterOf(passages: string): { filter?: object } {
  return passages === "documents" ? { filter: { term: { csplade_passage: 0 } } } : {};
}

function sourceId(document: StoredDocument): string {
  const { csplade_parent } = fieldsOf(document);
  return typeof csplade_parent === "string" ? csplade_parent : document.id;
}

/** The fields that were asked for, which are csplade's own. */
function fieldsOf({ source }: StoredDocument): Readonly<Record<string, unknown>> {
  return JSON.parse(source) as Record<string, unknown>;
}

async function goneFrom(
  { cluster, run, signal }: SliceTask,
  page: readonly StoredDocument[],
): Promise<StoredDocument[]> {
  const index = run.source.type === "index" ? run.source.index : "";
  const docs = page.map((document) => ({
    _id: sourceId(document),
    _source: false,
    ...(document.routing === undefined ? {} : { routing: document.routing }),
  }));
  const answer = mgetSchema.parse(
    await cluster.demand(
      { method: "POST", path: pathOf(index, "_mget"), body: { docs }, signal },
      `Asking ${index} which documents it still has`,
    ),
  );
  return page.filter((document, i) => {
    const found = answer.docs[i];
    if (found?._id !== sourceId(document) || found.error !== undefined) {
      throw new CspladeError(
        "cluster_busy",
        `Asking ${index} which documents it still has: no usable answer for ${document.id}.`,
      );
    }
    return found.found !== true;
  });
}
