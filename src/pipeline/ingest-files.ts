/** Ingests files from start to end, with a worker in this process: what `csplade ingest` does. */
import { createHash, randomUUID } from "node:crypto";
import path from "node:path";
import type { Cluster } from "../cluster/cluster.js";
import type { Config } from "../config/settings.js";
import type { Encoder } from "../encoder/encoder.js";
import { ensureIndex, refreshIndex } from "../index/csplade-index.js";
import { openIngestQueue } from "../queue/ingest-queue.js";
import { idFieldOfLetters, openDeadLetters } from "../sources/dead-letters.js";
import { spool } from "../sources/spool.js";
import { startChunkWorker } from "./chunk-worker.js";
import { indexModelOf } from "./index-model.js";
import { runIngest, type IngestCounts } from "./ingest-run.js";

/** What is ingested, and how. */
export interface IngestRequest {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  /** NDJSON files (plain or gzip), BEIR folders, `-` for standard input. */
  readonly inputs: readonly string[];
  readonly index: string;
  /** The inputs are dead-letter files. */
  readonly fromDeadLetters?: boolean;
  /** Where failed documents go; made only if there are any. */
  readonly deadLetters: string;
  /** Encode again although neither text nor model changed. */
  readonly force?: boolean;
  /** Work in this process (the default), or only queue for `csplade worker` processes. */
  readonly work?: boolean;
  /** Called with the size of the sources before the first document. */
  readonly onStart?: (totalBytes: number) => void;
  readonly onProgress?: (counts: IngestCounts) => void;
  /** Called with what the worker survived (lost connections, retried writes). */
  readonly onTrouble?: (message: string) => void;
  readonly signal: AbortSignal;
}

/** What an ingest did. */
export interface IngestSummary extends IngestCounts {
  readonly index: string;
  /** Name of the model the documents were encoded with. */
  readonly model: string;
  readonly seconds: number;
  /** Path of the failed documents; null if none failed. */
  readonly dead_letters: string | null;
}

/** How long running jobs may take to end when the command stops, milliseconds. */
const DRAIN_MS = 30_000;

/**
 * Creates the index if it is missing, ingests, and makes the documents searchable.
 * @throws CspladeError as its parts do. Documents that fail are counted, not thrown.
 */
export async function ingestFiles(request: IngestRequest): Promise<IngestSummary> {
  const { config, cluster, encoder, index } = request;
  const signal = AbortSignal.any([request.signal, encoder.broken]);
  const started = performance.now();
  const run = `${shortHash(index)}-${randomUUID().slice(0, 8)}`;
  const closers: (() => Promise<void>)[] = [];
  try {
    const queue = await openIngestQueue(config, encoder.manifest.fingerprint);
    closers.push(() => queue.close());
    const spooled = await spool({
      inputs: request.inputs,
      fromDeadLetters: request.fromDeadLetters === true,
      folder: path.join(config.home, "spool", run),
      stdin: process.stdin,
      signal,
    });
    closers.push(() => spooled.remove());
    // Mended documents are to take the places of those that failed.
    const noted = request.fromDeadLetters === true ? await idFieldOfLetters(request.inputs) : null;
    const id_field = noted ?? config["ingest.id_field"];
    const model = indexModelOf(encoder.manifest);
    const info = await ensureIndex(cluster, {
      name: index,
      model,
      passages: config["ingest.passages"],
      text_fields: config["ingest.text_fields"],
      title_field: config["ingest.title_field"],
      store_vectors: config["document.store_vectors"],
      signal,
    });
    if (request.work !== false) {
      const worker = await startChunkWorker({
        config,
        cluster,
        encoder,
        onTrouble: request.onTrouble,
      });
      closers.push(() => worker.close(DRAIN_MS));
    }
    const deadLetters = openDeadLetters(request.deadLetters, { id_field });
    closers.push(() => deadLetters.close());
    request.onStart?.(spooled.bytes);
    const counts = await runIngest({
      config,
      queue,
      run,
      files: spooled.files,
      job: {
        index,
        fingerprint: model.fingerprint,
        id_field,
        text_fields: info.text_fields,
        passages: info.passages,
        force: request.force === true,
      },
      deadLetters,
      onProgress: request.onProgress ?? (() => {}),
      onWait: request.onTrouble,
      signal,
    });
    await refreshIndex(cluster, index);
    return {
      index,
      model: model.name,
      ...counts,
      seconds: (performance.now() - started) / 1000,
      dead_letters: deadLetters.count > 0 ? deadLetters.path : null,
    };
  } catch (thrown) {
    throw encoder.broken.aborted && !request.signal.aborted ? encoder.broken.reason : thrown;
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 6);
}
