/** Ingests files from start to end, with a worker in this process: what `csplade ingest` does. */
import { createHash, randomUUID } from "node:crypto";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Cluster } from "../cluster/cluster.js";
import {
  demandHtmlTexts,
  vectorRecord,
  givenIdentity,
  htmlRecord,
  identityOf,
  identityPhrase,
  settingsOfIdentity,
  type GivenIdentity,
} from "../config/document-identity.js";
import { settings, type Config, type SettingName } from "../config/settings.js";
import { meanLength } from "../documents/mean-length.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError, messageOf, type ErrorCode } from "../errors/csplade-error.js";
import {
  deleteIndex,
  ensureIndex,
  readIndexModel,
  refreshIndex,
  type IndexInfo,
} from "../index/csplade-index.js";
import { countDocuments } from "../index/empty-index.js";
import { openIngestQueue } from "../queue/ingest-queue.js";
import { isGone, thisProcess } from "../queue/process-owner.js";
import { identityOfLetters, openDeadLetters } from "../sources/dead-letters.js";
import type { ColumnType } from "../sources/delimited.js";
import { lookAtFirst, type FirstDocuments } from "../sources/first-documents.js";
import type { FileFormat } from "../sources/sniff.js";
import type { FileOrigin } from "../sources/source-file.js";
import { spoolFolder, sweepSpoolFolders } from "../sources/spool-folder.js";
import { spool, type Spooled } from "../sources/spool.js";
import { startChunkWorker } from "./chunk-worker.js";
import { indexModelOf } from "../documents/index-model.js";
import { runIngest, type IngestCounts } from "./ingest-run.js";

/** What is ingested, and how. */
export interface IngestRequest {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  /** Files of any format that is known, packed or not, BEIR folders, `-` for standard input. */
  readonly inputs: readonly string[];
  /** The format of all inputs; told from their first bytes if it is not given. */
  readonly format?: FileFormat | undefined;
  /** Types of columns that are no strings. */
  readonly types?: Readonly<Record<string, ColumnType>> | undefined;
  readonly index: string;
  /** The inputs are dead-letter files. */
  readonly fromDeadLetters?: boolean;
  /**
   * Which settings were given: an index that holds documents refuses what contradicts them. Without
   * it, those that are not at their defaults.
   */
  readonly isGiven?: (setting: SettingName) => boolean;
  /** Where failed documents go; made only if there are any. */
  readonly deadLetters: string;
  /** Encode again although neither text nor model changed. */
  readonly force?: boolean;
  /** Work in this process (the default), or only queue for `csplade worker` processes. */
  readonly work?: boolean;
  /** Called with what the sources are and their size before the first document. */
  readonly onStart?: (sources: IngestSources) => void;
  readonly onProgress?: (counts: IngestCounts) => void;
  /** Called with what the worker survived (lost connections, retried writes). */
  readonly onTrouble?: (message: string) => void;
  readonly signal: AbortSignal;
}

/** What is ingested. */
export interface IngestSources {
  readonly bytes: number;
  readonly files: readonly FileOrigin[];
}

/** What an ingest did. */
export interface IngestSummary extends IngestCounts {
  /** What the sources were found to be. */
  readonly sources: readonly FileOrigin[];
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
  const over = new AbortController();
  const signal = AbortSignal.any([request.signal, encoder.broken, over.signal]);
  const started = performance.now();
  const run = `${shortHash(index)}-${randomUUID().slice(0, 8)}`;
  const closers: (() => Promise<void>)[] = [];
  try {
    const queue = await openIngestQueue(config, encoder.manifest.fingerprint);
    closers.push(() => queue.close());
    const lease = await queue.begin(run, signal, request.onTrouble ?? (() => {}));
    closers.push(() => lease.end());
    const stop = () => over.abort(lease.over.reason);
    lease.over.addEventListener("abort", stop, { once: true });
    const spooled = await spoolInputs({ ...request, signal }, run);
    closers.push(() => spooled.remove());
    const asked = await askedIdentity(request);
    const wanted = { ...identityOf(config), ...asked };
    const there = await planOfIndex(request);
    const fields = {
      id_field: asked.id_field ?? there?.id_field ?? wanted.id_field,
      text_fields: asked.text_fields ?? there?.text_fields ?? wanted.text_fields,
      html_fields: asked.html_fields ?? (there ?? wanted).html_fields,
    };
    // Where the index says it, other text fields are a contradiction to be told as such.
    if (there?.html_fields === undefined) demandHtmlTexts(fields);
    const isFeed = there !== undefined;
    const { texts } = await lookAtFirst(
      spooled.files,
      fields,
      config["ingest.max_document_bytes"],
      isFeed,
    );
    const model = indexModelOf(encoder.manifest);
    const mean_length =
      wanted.passages === "merged" ? await meanLength(encoder, texts, signal) : undefined;
    const info = await ensureIndex(cluster, {
      name: index,
      model,
      ...wanted,
      given: asked,
      ...(mean_length === undefined ? {} : { mean_length }),
      store_vectors: config["document.store_vectors"],
      signal,
    });
    const { title_field, text_fields, passages } = info;
    const { id_field = wanted.id_field, pruning = wanted.pruning } = info;
    let isWritten = false;
    closers.push(async () => {
      if (isWritten || info.made !== true || request.signal.aborted) return;
      await lease.end();
      if (await queue.isAlone(run)) await discardEmpty(cluster, index);
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
    const html = htmlRecord(info);
    const vectors = vectorRecord(info);
    const own = { id_field, text_fields, ...html, title_field, passages, pruning };
    const identity = { ...own, ...vectors };
    const deadLetters = openDeadLetters(request.deadLetters, identity, spooled.files);
    closers.push(() => deadLetters.close());
    const sources = spooled.files.map(({ origin }) => origin);
    request.onStart?.({ bytes: spooled.bytes, files: sources });
    const counts = await runIngest({
      config,
      queue,
      run,
      files: spooled.files,
      job: {
        index,
        fingerprint: model.fingerprint,
        id_field,
        text_fields,
        ...html,
        ...vectors,
        passages,
        force: request.force === true,
      },
      deadLetters,
      onProgress: request.onProgress ?? (() => {}),
      onWait: request.onTrouble,
      signal,
    });
    isWritten = counts.written + counts.skipped > 0 || counts.failed === 0;
    await deadLetters.close();
    await refreshIndex(cluster, index);
    return {
      index,
      model: model.name,
      sources,
      ...counts,
      seconds: (performance.now() - started) / 1000,
      dead_letters: deadLetters.count > 0 ? deadLetters.path : null,
    };
  } catch (thrown) {
    if (request.signal.aborted) throw thrown;
    if (over.signal.aborted) throw over.signal.reason;
    throw encoder.broken.aborted ? encoder.broken.reason : thrown;
  } finally {
    for (const close of closers.reverse()) {
      // What ends badly keeps nothing else from ending, and hides no reason.
      await close().catch((thrown: unknown) => request.onTrouble?.(messageOf(thrown)));
    }
  }
}

/** What files are and hold, before anything is done with them. */
export interface Inspection extends FirstDocuments {
  readonly sources: readonly FileOrigin[];
}

/**
 * Reads the files as an ingest would and looks at their first documents: what `--dry-run` shows.
 * @throws CspladeError as {@link ingestFiles} before it begins to work.
 */
export async function inspectFiles(
  request: Pick<
    IngestRequest,
    "config" | "inputs" | "format" | "types" | "fromDeadLetters" | "isGiven" | "signal"
  >,
): Promise<Inspection> {
  const { config } = request;
  const spooled = await spoolInputs(request, `inspect-${randomUUID().slice(0, 8)}`);
  try {
    const fields = { ...identityOf(config), ...(await askedIdentity(request)) };
    demandHtmlTexts(fields);
    const first = await lookAtFirst(spooled.files, fields, config["ingest.max_document_bytes"]);
    return { sources: spooled.files.map(({ origin }) => origin), ...first };
  } finally {
    await spooled.remove();
  }
}

async function spoolInputs(
  request: Parameters<typeof inspectFiles>[0],
  run: string,
): Promise<Spooled> {
  const { config, inputs, format, types, fromDeadLetters, signal } = request;
  const parent = path.join(config.home, "spool");
  await sweepSpoolFolders(parent, isGone);
  return spool({
    inputs,
    fromDeadLetters: fromDeadLetters === true,
    format,
    types,
    maxDocumentBytes: config["ingest.max_document_bytes"],
    folder: spoolFolder(parent, run, thisProcess),
    stdin: process.stdin,
    signal,
  });
}

/**
 * What is asked for, and not only left at its default: by the letters that are replayed, so that mended
 * documents take the places of those that failed, and by the command.
 * @throws CspladeError `config_invalid` where the two say different things.
 */
async function askedIdentity({
  config,
  inputs,
  fromDeadLetters,
  isGiven = (setting) => !isDefault(config, setting),
}: Pick<
  IngestRequest,
  "config" | "inputs" | "fromDeadLetters" | "isGiven"
>): Promise<GivenIdentity> {
  const given = givenIdentity(config, isGiven);
  if (fromDeadLetters !== true) return given;
  const noted = await identityOfLetters(inputs);
  for (const part of Object.keys(given) as (keyof GivenIdentity)[]) {
    const [then, now] = [noted[part], given[part]];
    if (then === undefined || now === undefined || isDeepStrictEqual(then, now)) continue;
    const setting = settingsOfIdentity(part).join(", ");
    throw new CspladeError(
      "config_invalid",
      `The failed documents were read with ${setting} "${identityPhrase(then)}", but this command says "${identityPhrase(now)}".`,
      { hint: `Leave ${setting} out: a replay uses what the letters note.` },
    );
  }
  return { ...noted, ...given };
}

function isDefault(config: Config, setting: SettingName): boolean {
  return isDeepStrictEqual(config[setting], settings[setting].schema.parse(undefined));
}

/** An index that was made for a run of which nothing could be written goes with it. */
async function discardEmpty(cluster: Cluster, index: string): Promise<void> {
  if ((await countDocuments(cluster, index)) === 0) await deleteIndex(cluster, index);
}

/** What the index records, if it is there and records anything. */
async function planOfIndex({
  cluster,
  index,
  signal,
}: IngestRequest): Promise<IndexInfo | undefined> {
  try {
    return await readIndexModel(cluster, index, { signal });
  } catch (thrown) {
    // What is wrong with an index that is there is said when it is to be written.
    const isAnswer = thrown instanceof CspladeError && NO_MODEL.has(thrown.code);
    if (!isAnswer) throw thrown;
    return undefined;
  }
}

const NO_MODEL: ReadonlySet<ErrorCode> = new Set([
  "index_not_found",
  "index_invalid",
  "model_mismatch",
]);

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 6);
}
