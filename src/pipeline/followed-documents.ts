/**
 * Gives documents of an index their vectors in place: what was written since the last look is read by its
 * sequence numbers, encoded if its text is not the one of its vector, and written back, unless somebody
 * else wrote it meanwhile.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { vectorRecord, htmlRecord, identityOf } from "../config/document-identity.js";
import type { Config } from "../config/settings.js";
import {
  documentEncoding,
  encodeDocuments,
  judgeDocuments,
  writeReady,
  type Arriving,
  type DocumentPath,
  type Refusal,
} from "../documents/document-path.js";
import type { Encoder } from "../encoder/encoder.js";
import { CspladeError, type ErrorCode } from "../errors/csplade-error.js";
import { JsonObject, withoutMembers } from "../json/json-object.js";
import { membersOf, skipSpace } from "../json/positions.js";
import { JsonText, type BulkOperation } from "../cluster/bulk-operation.js";
import { bulkWriterOptions, createBulkWriter, type BulkWriter } from "../cluster/bulk-writer.js";
import type { IndexInfo } from "../index/csplade-index.js";
import { isOurField } from "../index/index-meta.js";
import {
  followedUpTo,
  noteFollowed,
  prepareFollowedIndex,
  REFUSED_FIELD,
} from "../index/followed-index.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import { countFailure, type FailureKind } from "../sources/failure-kinds.js";
import {
  findIndexSource,
  readDocuments,
  settledUpTo,
  type StoredDocument,
} from "../sources/index-source.js";
import { storedSourceDocument } from "../sources/source-document.js";
import { indexModelOf } from "../documents/index-model.js";

/** How an index is followed. */
export interface FollowOptions {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  /** An index, or an alias of one. */
  readonly index: string;
  /** End when every document that was there has its vector, instead of waiting for more. */
  readonly once: boolean;
  readonly metrics?: WorkerMetrics;
  /** Told after each round. */
  readonly onProgress?: (counts: FollowCounts) => void;
  /** Told what was survived, and which documents were refused. */
  readonly onTrouble?: (message: string) => void;
  readonly signal: AbortSignal;
}

/** What became of documents. */
export interface FollowCounts {
  /** The concrete index. */
  readonly index: string;
  /** Got a vector. */
  readonly encoded: number;
  /** Were changed or deleted by somebody else meanwhile; the change is taken in its turn. */
  readonly overtaken: number;
  /** Cannot be encoded; the reason's code is in the document's `csplade_refused`. */
  readonly refused: number;
  /** Those by the code, with an example of each. */
  readonly failures: readonly FailureKind[];
  readonly tokens: number;
}

/** Documents of the first round, and most of any. */
const FIRST_ROUND = 16;
const MOST_ROUND = 512;

/** Characters of text a round should hold. */
const ROUND_CHARACTERS = 2_000_000;

/** Pause before the index is asked again when nothing was left to be done, milliseconds. */
const IDLE_MS = 1_000;

/** How often it is noted how far the index was read, milliseconds. */
const NOTE_MS = 60_000;

/** How long that may take once the command was stopped, milliseconds. */
const LAST_NOTE_MS = 5_000;

/** A document that came, and where it stands. */
interface Arrival extends Arriving {
  readonly hit: StoredDocument;
}

interface Following extends FollowOptions {
  readonly info: IndexInfo;
  readonly writer: BulkWriter;
  readonly patience: Patience;
}

/**
 * Prepares the index and follows it until the signal fires, or until nothing is left with `once`.
 * @throws CspladeError as {@link prepareFollowedIndex}; `cluster_unreachable` at the end of the patience.
 */
export async function followIndex(options: FollowOptions): Promise<FollowCounts> {
  const { config, cluster, encoder, signal, metrics } = options;
  const patience = { config, signal, onTrouble: options.onTrouble };
  const { text_fields, title_field, html_fields, pruning, expansion, dense } = identityOf(config);
  const plan = {
    model: indexModelOf(encoder.manifest),
    passages: config["ingest.passages"],
    text_fields,
    title_field,
    ...htmlRecord({ html_fields }),
    pruning,
    ...vectorRecord({ expansion, dense }),
  };
  const info = await patiently(patience, () => prepareFollowedIndex(cluster, options.index, plan));
  const writer = createBulkWriter(cluster, {
    ...bulkWriterOptions(config),
    onRetry({ operations, reason, cause }) {
      metrics?.retried(cause, operations);
      options.onTrouble?.(`Writing ${operations} documents again: ${reason}`);
    },
  });
  const following: Following = { ...options, info, writer, patience };
  const failures: FailureKind[] = [];
  const counts = { index: info.name, encoded: 0, overtaken: 0, refused: 0, failures, tokens: 0 };
  const source = await patiently(patience, () => findIndexSource(cluster, info.name, signal));
  const next = await patiently(patience, () => followedUpTo(cluster, source));
  let noted: string | undefined = next.join();
  let notedAt = performance.now();
  const note = async (patience: Patience) => {
    if (next.join() === noted) return;
    noted = next.join();
    notedAt = performance.now();
    await patiently(patience, () => noteFollowed(cluster, source, next));
  };
  let size = FIRST_ROUND;
  try {
    for (let round = 1; !signal.aborted; round++) {
      const before = { ...counts };
      const upTo = await patiently(patience, () => settledUpTo(cluster, source, signal));
      let met = 0;
      for (const [shard, last] of upTo.entries()) {
        const reader = { index: info.name, shard, primaries: source.primaries };
        for (let from = next[shard] ?? 0; from <= last;) {
          const range = { from, to: last + 1, size };
          const page = await patiently(patience, () =>
            readDocuments(cluster, reader, range, signal),
          );
          met += page.length;
          const characters = await oneRound(following, page, counts);
          from = page.length < size ? last + 1 : (page.at(-1)?.seq_no ?? last) + 1;
          next[shard] = from;
          if (page.length === 0) continue;
          const wanted = (ROUND_CHARACTERS / Math.max(1, characters)) * page.length;
          size = Math.max(1, Math.min(MOST_ROUND, 2 * page.length, Math.floor(wanted)));
          options.onProgress?.({ ...counts });
        }
      }
      const overtaken = counts.overtaken - before.overtaken;
      const worked = counts.encoded - before.encoded + counts.refused - before.refused;
      // The second round meets what the first one wrote, and what overtook it. Applications may never rest.
      if (options.once && overtaken === 0 && (worked === 0 || round > 1)) break;
      if (met > 0 || options.once) continue;
      if (performance.now() - notedAt >= NOTE_MS) await note(patience);
      await sleep(IDLE_MS, undefined, { signal }).catch(() => {});
    }
    await note({ ...patience, signal: AbortSignal.timeout(LAST_NOTE_MS) });
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
    // Without it the next command reads some more.
    await note({ ...patience, signal: AbortSignal.timeout(LAST_NOTE_MS) }).catch(() => {});
  } finally {
    await writer.close();
  }
  return counts;
}

/** Whether a document's vector is that of its text, or the reason why it has none that it is refused for. */
function isUpToDate({ source }: StoredDocument, field: string, value: string): boolean {
  const member = membersOf(source, skipSpace(source, 0));
  for (const { name, value: start, end } of member) {
    if (name === field) return source.slice(start, end) === JSON.stringify(value);
  }
  return false;
}

/** Encodes and writes some documents. @returns the characters of their texts. */
async function oneRound(
  following: Following,
  hits: readonly StoredDocument[],
  counts: {
    encoded: number;
    overtaken: number;
    refused: number;
    failures: FailureKind[];
    tokens: number;
  },
): Promise<number> {
  const { config, info, writer, metrics, signal } = following;
  const path: DocumentPath = {
    ...following,
    encoding: { ...documentEncoding(config), ...info.pruning },
  };
  const arrivals = hits.map((hit): Arrival => {
    const { id, source } = hit;
    return { hit, content: storedSourceDocument(id, source, isOurField, info) };
  });
  const found = await judgeDocuments(path, arrivals);
  const judged = found.judged.filter(
    ({ arrival, text_hash }) => !isUpToDate(arrival.hit, "csplade_text_hash", text_hash),
  );
  const encoded = await encodeDocuments(path, judged);
  const ready = encoded.ready.map(({ judged: each, steps }) => ({
    judged: each,
    // Neither merged nor nested passages take more than one operation.
    steps: steps.map((step) =>
      step.map(({ document }) => inPlace(info, each.arrival.hit, document ?? {})),
    ),
  }));
  const started = performance.now();
  const written = await writeReady(writer, ready, signal);
  metrics?.bulk((performance.now() - started) / 1_000);
  const refused = [...found.refusals, ...encoded.refusals, ...written.refusals].filter(
    ({ arrival, code }) => !isUpToDate(arrival.hit, REFUSED_FIELD, code),
  );
  const overtaken = await markRefused(following, refused, counts.failures);
  const results = written.results.map(({ status }) => status);
  const outcome = {
    written: results.filter((status) => status === "written").length,
    superseded: overtaken + results.filter((status) => status === "skipped").length,
    dead_letters: refused.length - overtaken,
    encoded: encoded.counts.encoded,
    low_quality: encoded.counts.low_quality,
    tokens: encoded.counts.tokens,
  };
  counts.encoded += outcome.written;
  counts.overtaken += outcome.superseded;
  counts.refused += outcome.dead_letters;
  counts.tokens += outcome.tokens;
  metrics?.count("follow", outcome);
  return found.judged.reduce((sum, { document }) => sum + document.text.length, 0);
}

/** A document with the reason why it has no vector. */
function refusedText(own: string, code: ErrorCode): JsonText {
  const read = JsonObject.read(own);
  if (!("object" in read)) return new JsonText(own);
  return new JsonText(read.object.with([[REFUSED_FIELD, JSON.stringify(code)]]));
}

/** Replaces a document, if it is still the one that was read, past every pipeline: none builds it anew. */
function inPlace(info: IndexInfo, hit: StoredDocument, document: object | JsonText): BulkOperation {
  return {
    index: info.name,
    id: hit.id,
    action: "index",
    document,
    ...(hit.routing === undefined ? {} : { routing: hit.routing }),
    if_seq_no: hit.seq_no,
    if_primary_term: hit.primary_term,
    pipeline: "_none",
  };
}

/**
 * Notes on documents that they are refused; else they would come again for ever.
 * @param failures what was refused so far by its code; the new ones are added
 * @returns how many somebody changed meanwhile: they come again as they are now.
 */
async function markRefused(
  { info, writer, signal, onTrouble }: Following,
  refused: readonly Refusal<Arrival>[],
  failures: FailureKind[],
): Promise<number> {
  const marks = refused.map(({ arrival: { hit }, code }) =>
    inPlace(info, hit, refusedText(withoutMembers(hit.source, isOurField), code)),
  );
  const results = await writer.write(marks, signal);
  let overtaken = 0;
  for (const [i, result] of results.entries()) {
    const { arrival, code, reason } = refused[i] as Refusal<Arrival>;
    if (result.status === "skipped") {
      overtaken += 1;
      continue;
    }
    countFailure(failures, code, { reason, id: arrival.hit.id });
    onTrouble?.(`${arrival.hit.id} cannot be encoded: ${reason}`);
    if (result.status !== "failed") continue;
    throw new CspladeError(
      "cluster_rejected",
      `A document cannot be written back, not even without a vector: ${result.reason}`,
      { hint: "Mend or delete the document, or the mapping; then start again." },
    );
  }
  return overtaken;
}
