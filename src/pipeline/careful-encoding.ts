/** Encoding of a chunk over which devices broke: one document at a time, without those that are to blame. */
import {
  addEncodingCounts,
  encodeDocuments,
  noEncodingCounts,
  type Arriving,
  type DocumentPath,
  type EncodedDocuments,
  type JudgedDocument,
} from "../documents/document-path.js";
import { isDeviceFailure } from "../errors/csplade-error.js";
import { blamedBy, BrokenOverLineError, isCareful, type JobCare } from "../queue/job-care.js";

/** A document and its line of the chunk's file. */
interface InFile extends Arriving {
  readonly line: { readonly number: number };
}

/**
 * Encodes documents as `encodeDocuments` does, alone where the job's past asks for it.
 * @throws BrokenOverLineError over which document the device broke, where they were encoded alone.
 */
export async function encodeWithCare<A extends InFile>(
  path: DocumentPath,
  judged: readonly JudgedDocument<A>[],
  care: JobCare | undefined,
): Promise<EncodedDocuments<A>> {
  if (!isCareful(care)) return encodeDocuments(path, judged);
  const all: EncodedDocuments<A> = { ready: [], refusals: [], counts: noEncodingCounts() };
  for (const each of judged) {
    const { number } = each.arrival.line;
    const devices = blamedBy(care, number);
    if (devices !== undefined) {
      const reason = `The devices ${devices.join(", ")} broke while they encoded this document alone.`;
      all.refusals.push({ arrival: each.arrival, code: "document_breaks_device", reason });
      continue;
    }
    try {
      const one = await encodeDocuments(path, [each]);
      all.ready.push(...one.ready);
      all.refusals.push(...one.refusals);
      addEncodingCounts(all.counts, one.counts);
    } catch (thrown) {
      if (!isDeviceFailure(thrown)) throw thrown;
      throw new BrokenOverLineError(number, thrown);
    }
  }
  return all;
}
