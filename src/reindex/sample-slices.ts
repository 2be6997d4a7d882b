/** Some documents of a source, drawn from all over it. */
import type { SourceDocument } from "../sources/source-document.js";
import type { PlanContext, RunPlan } from "./plan-run.js";
import { readSlice } from "./slice-reader.js";

/** Slices that the sample is drawn from. */
const SAMPLED_SLICES = 8;

/** A sample, and how many of the documents that were drawn cannot be taken. */
export interface SourceSample {
  readonly documents: readonly SourceDocument[];
  readonly refused: number;
}

/** Reads `size` documents of a planned run, fewer if there are no more. @throws CspladeError as reading does. */
export async function sampleSlices(
  { config, cluster, patience }: PlanContext,
  { run, slices }: Pick<RunPlan, "run" | "slices">,
  size: number,
): Promise<SourceSample> {
  const reading = { cluster, run, patience, maxDocumentBytes: config["ingest.max_document_bytes"] };
  const documents: SourceDocument[] = [];
  let refused = 0;
  const step = Math.max(1, Math.floor(slices.length / SAMPLED_SLICES));
  const drawn = slices.filter((_, i) => i % step === 0).slice(0, SAMPLED_SLICES);
  const each = Math.ceil(size / Math.max(1, drawn.length));
  for (const slice of drawn) {
    let taken = 0;
    for await (const page of readSlice(reading, slice, slice.position)) {
      for (const { content } of page) {
        if (taken >= each) break;
        taken += 1;
        if ("document" in content) documents.push(content.document);
        else refused += 1;
      }
      if (taken >= each) break;
    }
  }
  return { documents, refused };
}
