/** Reads the documents of a slice, from its checkpoint on, in pages that are bounded in bytes. */
import type { Cluster } from "../cluster/cluster.js";
import { isPassing, patiently, type Patience } from "../cluster/patience.js";
import { CspladeError } from "../errors/csplade-error.js";
import { isOurField } from "../index/index-meta.js";
import { readFileSlice } from "./file-slices.js";
import { traced } from "../observe/tracing.js";
import { findIndexSource, readDocuments, type StoredDocument } from "../sources/index-source.js";
import {
  parseDocument,
  storedSourceDocument,
  type DocumentProblem,
  type SourceDocument,
} from "../sources/source-document.js";
import type { RunRecord, SliceRecord } from "./run-record.js";

/** A document that was read. */
export interface Arrival {
  /** Where to go on after it. */
  readonly next: number;
  /** Its id, or what names it where it has none that can be read. */
  readonly id: string;
  /** Version in the target: grows with every change in the source. */
  readonly version: number;
  readonly routing?: string;
  /** Its place, for people. */
  readonly place: string;
  readonly content: { readonly document: SourceDocument } | { readonly problem: DocumentProblem };
}

/** What reading needs. */
export interface ReadContext {
  readonly cluster: Cluster;
  readonly run: RunRecord;
  readonly patience: Patience;
  /** Longest line of a file that is taken, bytes. */
  readonly maxDocumentBytes: number;
}

/** Documents of the first page, and most of any. */
const FIRST_PAGE = 128;
const MOST_PAGE = 1_024;

/** Characters of text a page should hold. */
const PAGE_CHARACTERS = 4_000_000;

/** Yields the documents of a slice that come at or after `position`. */
export function readSlice(
  context: ReadContext,
  slice: SliceRecord,
  position: number,
): AsyncGenerator<Arrival[]> {
  return context.run.source.type === "index"
    ? readIndex(context, slice, position)
    : readFile(context, slice, position);
}

/** The version of an operation on the source: sequence numbers begin at 0, versions at 1. */
export function versionOf(seqNo: number): number {
  return seqNo + 1;
}

async function* readIndex(
  context: ReadContext,
  slice: SliceRecord,
  position: number,
): AsyncGenerator<Arrival[]> {
  const { cluster, run, patience } = context;
  if (run.source.type !== "index") return;
  await demandSameSource(context);
  const reader = { index: run.source.index, shard: slice.part, primaries: run.source.primaries };
  // A document that changes again and again never stands still in the range of a pass. Read to the end of
  // what the shard holds by then, each one is met once: it only ever moves ahead of the reading.
  const to = slice.open_end ? Number.MAX_SAFE_INTEGER : slice.to;
  let size = FIRST_PAGE;
  let beyond = 0;
  for (let from = position; from < to && beyond <= run.slice_documents;) {
    let asked = size;
    const read = () =>
      patiently(patience, async () => {
        try {
          const page = { from, to, size };
          asked = size;
          return await readDocuments(cluster, reader, page, patience.signal);
        } catch (thrown) {
          // The answer may have been too large to come through.
          if (isPassing(thrown)) size = Math.max(1, Math.floor(size / 2));
          throw thrown;
        }
      });
    const documents = await traced("csplade.read", {}, async (add) => {
      const found = await read();
      add({ "csplade.documents": found.length });
      return found;
    }).catch((thrown: unknown) => sourceGone(context, thrown));
    const last = documents.at(-1);
    if (last === undefined) return;
    const arrivals = documents.map((document) => arrivalOf(document, run));
    from = last.seq_no + 1;
    size = nextSize(arrivals);
    yield arrivals;
    if (from < slice.to) continue;
    if (documents.length < asked) return;
    beyond += documents.length;
  }
}

/** Text decides how much memory a page takes. */
function nextSize(page: readonly Arrival[]): number {
  const characters = page.reduce(
    (sum, { content }) => sum + ("document" in content ? content.document.text.length : 0),
    0,
  );
  const wanted = (PAGE_CHARACTERS / Math.max(1, characters)) * page.length;
  return Math.max(1, Math.min(MOST_PAGE, 2 * page.length, Math.floor(wanted)));
}

function arrivalOf(stored: StoredDocument, run: RunRecord): Arrival {
  return {
    next: stored.seq_no + 1,
    id: stored.id,
    version: versionOf(stored.seq_no),
    ...(stored.routing === undefined ? {} : { routing: stored.routing }),
    place: `sequence number ${stored.seq_no}`,
    // Vectors of the source's own model are left behind.
    content: storedSourceDocument(stored.id, stored.source, isOurField, run),
  };
}

/** Makes sure that the index is still the one the run was planned for. */
export async function demandSameSource(
  context: Pick<ReadContext, "run" | "cluster" | "patience">,
): Promise<void> {
  const { cluster, run, patience } = context;
  const { source } = run;
  if (source.type !== "index") return;
  const found = await patiently(patience, () =>
    findIndexSource(cluster, source.index, patience.signal),
  ).catch((thrown: unknown) => sourceGone(context, thrown));
  if (found.uuid === source.uuid) return;
  throw new CspladeError(
    "index_invalid",
    `The source index ${source.index} is another one than when the run began: it was deleted and made again.`,
    { hint: `Start a new run: csplade reindex --from ${source.index} --to ${run.alias} --new.` },
  );
}

/**
 * Says in a sentence that the source of a run is gone, if that is what was thrown.
 * @throws CspladeError always.
 */
export async function sourceGone(
  { run, cluster, patience }: Pick<ReadContext, "run" | "cluster" | "patience">,
  thrown: unknown,
): Promise<never> {
  if (!(thrown instanceof CspladeError) || thrown.code !== "index_not_found") throw thrown;
  const { source } = run;
  const index = source.type === "index" ? source.index : "";
  // A cluster that is just starting may not know its indices yet.
  await patiently(patience, () =>
    cluster.demand(
      {
        method: "GET",
        path: "/_cluster/health",
        query: { wait_for_status: "yellow", timeout: "10s" },
      },
      "Asking for the cluster's health",
    ),
  );
  const answer = await cluster.send({ method: "HEAD", path: `/${encodeURIComponent(index)}` });
  if (answer.status !== 404) {
    throw new CspladeError("cluster_busy", `The index ${index} was away for a moment.`);
  }
  throw new CspladeError(
    "index_not_found",
    `The source index ${index} does not exist any more; what was copied is in ${run.target}.`,
    {
      hint: `Restore ${index} from a snapshot under its name and start again, or keep ${run.target} as it is.`,
      cause: thrown,
    },
  );
}

async function* readFile(
  context: ReadContext,
  slice: SliceRecord,
  position: number,
): AsyncGenerator<Arrival[]> {
  const { run } = context;
  if (run.source.type !== "files") return;
  const file = run.source.files[slice.part];
  if (file === undefined) throw new CspladeError("source_unreadable", "The run has no such file.");
  const range = { from: position, to: slice.to, aligned: position > slice.from };
  let page: Arrival[] = [];
  let characters = 0;
  for await (const line of readFileSlice(file, range, context.maxDocumentBytes)) {
    const place = `offset ${line.offset} of ${file.path}`;
    const { found } = line;
    const content: Arrival["content"] =
      found.fault === undefined
        ? parseDocument(found.content, run, found)
        : { problem: found.fault };
    const id = "document" in content ? content.document.id : (content.problem.id ?? place);
    page.push({
      next: line.next,
      id,
      version: file.base + line.offset + 1,
      ...(found.routing === undefined ? {} : { routing: found.routing }),
      place,
      content,
    });
    characters += line.bytes;
    if (page.length >= MOST_PAGE || characters >= PAGE_CHARACTERS) {
      yield page;
      page = [];
      characters = 0;
    }
  }
  if (page.length > 0) yield page;
}
