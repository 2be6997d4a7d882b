/** How fast a file of documents is ingested, from its first byte to the refreshed index. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { deleteIndex } from "../src/index/csplade-index.js";
import { ingestFiles, type IngestRequest } from "../src/pipeline/ingest-files.js";
import { countCpu, type CpuTime } from "./cpu-time.js";

/** An ingest that can be repeated. */
export interface RepeatedIngest {
  /** Documents per second, and CPU time of each. */
  once(): Promise<{ rate: number; cpu: CpuTime }>;
  /** Removes the file. */
  end(): Promise<void>;
}

/** Writes documents to a file that is then ingested, each time into an index of its own. */
export async function ingestOf(
  what: Pick<IngestRequest, "config" | "cluster" | "encoder" | "onTrouble">,
  documents: readonly object[],
): Promise<RepeatedIngest> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "csplade-bench-"));
  const file = path.join(folder, "documents.ndjson");
  await writeFile(file, documents.map((each) => `${JSON.stringify(each)}\n`).join(""));
  return {
    async once() {
      const index = `bench-ingest-${randomBytes(3).toString("hex")}`;
      const deadLetters = path.join(folder, "dead-letters.ndjson");
      const { signal } = new AbortController();
      const cpuOf = await countCpu(what.cluster);
      const done = await ingestFiles({ ...what, inputs: [file], index, deadLetters, signal });
      const cpu = await cpuOf(done.written);
      if (done.written !== documents.length) throw new Error("Not every document was written.");
      await deleteIndex(what.cluster, index);
      return { rate: done.written / done.seconds, cpu };
    },
    end: () => rm(folder, { recursive: true }),
  };
}
