/**
 * Removes from the target what the source has no more: one slice of the target's own documents. Before
 * the swap also what the source has in a newer state. The pass that follows copies that state; but a
 * document may come and go between passes, absent whenever one reads and there whenever one sweeps, and
 * would keep a state in the target that it last had long ago.
 */
import { z } from "zod";
import { patiently } from "../cluster/patience.js";
import { pathOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import { writeDocuments } from "../index/document-write.js";
import { deletionSteps } from "../index/index-document.js";
import { readStamp } from "../index/write-stamp.js";
import { readDocuments, type StoredDocument } from "../sources/index-source.js";
import { noCounts } from "./run-record.js";
import type { SliceClaim } from "./slice-claim.js";
import { demandSameSource, versionOf } from "./slice-reader.js";
import type { SliceEnding, SliceTask } from "./slice-task.js";

/** Documents asked about at once. */
const PAGE = 1_000;

const mgetSchema = z.object({
  docs: z.array(
    z.object({
      _id: z.string(),
      _seq_no: z.number().int().optional(),
      found: z.boolean().optional(),
      error: z.unknown().optional(),
    }),
  ),
});

/** Sweeps until the slice ends, the worker drains or the run is paused. */
export async function sweepSlice(task: SliceTask, claim: SliceClaim): Promise<SliceEnding> {
  const { cluster, run, info, writer, config, signal, metrics } = task;
  if (run.source.type !== "index") return "done";
  const patience = { config, cluster, signal, onTrouble: task.onTrouble };
  await demandSameSource({ cluster, run, patience });
  const { part, to, after_swap } = claim.record;
  const reader = { index: run.target, shard: part, primaries: true, ...filterOf(run.passages) };
  for (let from = claim.record.position; from < to;) {
    if (task.drain.aborted) return "drained";
    if ((await task.controls.current(run.run)).control.paused) return "paused";
    const page = await patiently(patience, () =>
      readDocuments(cluster, reader, { from, to, size: PAGE, source: OUR_FIELDS }, signal),
    );
    const last = page.at(-1);
    if (last === undefined) return "done";
    const current = await patiently(patience, () => versionsIn(task, page));
    const outdated = page.flatMap((document, i) => {
      const there = current[i];
      if (after_swap) return there === undefined && isOfRun(task, part, document) ? [document] : [];
      // One more than the version that is there: a newer one, written meanwhile, stays.
      if (there === undefined) return [{ ...document, version: document.version + 1 }];
      if (there <= document.version) return [];
      return [{ ...document, version: Math.max(document.version, there - 1) }];
    });
    const results = await writeDocuments(
      writer,
      outdated.map((document) => {
        const passages = Number(fieldsOf(document).csplade_passage_count ?? 0);
        const stored = { hash: undefined, passages };
        // Past the swap only the very state that was looked at goes.
        const over = after_swap && info.passages !== "documents" ? { over: document } : {};
        return deletionSteps(info, { ...document, ...over, id: sourceId(document) }, stored);
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

const OUR_FIELDS = ["csplade_hash", "csplade_parent", "csplade_passage_count"];

/** After the swap an application may have written a document, or changed one of the run's. */
function isOfRun({ run }: SliceTask, part: number, document: StoredDocument): boolean {
  if (document.seq_no <= (run.swapped_at?.[part] ?? -1)) return true;
  const { csplade_hash } = fieldsOf(document);
  return typeof csplade_hash === "string" && readStamp(csplade_hash).written === document.version;
}

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

/** The versions that the source's documents would have in the target; undefined: it has none. */
async function versionsIn(
  { cluster, run, signal }: SliceTask,
  page: readonly StoredDocument[],
): Promise<(number | undefined)[]> {
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
  return page.map((document, i) => {
    const { _id, _seq_no, found, error } = answer.docs[i] ?? {};
    const isThere = found === true;
    if (_id !== sourceId(document) || error !== undefined || (isThere && _seq_no === undefined)) {
      throw new CspladeError(
        "cluster_busy",
        `Asking ${index} which documents it still has: no usable answer for ${document.id}.`,
      );
    }
    return isThere && _seq_no !== undefined ? versionOf(_seq_no) : undefined;
  });
}
