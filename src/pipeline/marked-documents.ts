/**
 * Gives documents of an index their vectors in place: what has none is read, encoded and written
 * back, unless somebody else wrote it meanwhile. The index itself says what is still to be done.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { patiently, type Patience } from "../cluster/patience.js";
import { liftSources } from "../cluster/lifted-sources.js";
import { pathOf } from "../cluster/request.js";
import { identityOf } from "../config/document-identity.js";
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
import { JsonText, type BulkOperation } from "../index/bulk-operation.js";
import { bulkWriterOptions, createBulkWriter, type BulkWriter } from "../index/bulk-writer.js";
import { refreshIndex, type IndexInfo } from "../index/csplade-index.js";
import { isOurField } from "../index/index-meta.js";
import { prepareMarkedIndex, REFUSED_FIELD, UNENCODED } from "../index/marked-index.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";
import { countFailure, type FailureKind } from "../sources/failure-kinds.js";
import { storedSourceDocument } from "../sources/source-document.js";
import { indexModelOf } from "./index-model.js";

/** How an index is followed. */
export interface FollowOptions {
  readonly config: Config;
  readonly cluster: Cluster;
  readonly encoder: Encoder;
  /** An index, or an alias of one. */
  readonly index: string;
  /** End when nothing is left to be done, instead of waiting for more. */
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

const pageSchema = z.object({
  hits: z.object({
    hits: z.array(
      z.object({
        _id: z.string(),
        _routing: z.string().optional(),
        _seq_no: z.number(),
        _primary_term: z.number(),
        _source: z.number(),
      }),
    ),
  }),
});

/** A document without a vector, as it was read. */
type Hit = Omit<z.infer<typeof pageSchema>["hits"]["hits"][number], "_source"> & {
  readonly source: string;
};

/** A document that came, and where it stands. */
interface Arrival extends Arriving {
  readonly hit: Hit;
}

interface Following extends FollowOptions {
  readonly info: IndexInfo;
  readonly writer: BulkWriter;
  readonly patience: Patience;
}

/**
 * Prepares the index and follows it until the signal fires, or until nothing is left with `once`.
 * @throws CspladeError as {@link prepareMarkedIndex}; `cluster_unreachable` at the end of the patience.
 */
export async function followMarked(options: FollowOptions): Promise<FollowCounts> {
  const { config, cluster, encoder, signal, metrics } = options;
  const patience = { config, signal, onTrouble: options.onTrouble };
  const plan = {
    model: indexModelOf(encoder.manifest),
    passages: config["ingest.passages"],
    text_fields: config["ingest.text_fields"],
    title_field: config["ingest.title_field"],
    pruning: identityOf(config).pruning,
  };
  const info = await patiently(patience, () => prepareMarkedIndex(cluster, options.index, plan));
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
  let size = FIRST_ROUND;
  // What was written before this began must be seen.
  let stale = true;
  try {
    while (!signal.aborted) {
      if (stale || options.once) await patiently(patience, () => refreshIndex(cluster, info.name));
      const hits = await patiently(patience, () => unencoded(following, size));
      stale = hits.length > 0;
      if (hits.length === 0) {
        if (options.once) break;
        await sleep(IDLE_MS, undefined, { signal }).catch(() => {});
        continue;
      }
      const characters = await oneRound(following, hits, counts);
      const wanted = (ROUND_CHARACTERS / Math.max(1, characters)) * hits.length;
      size = Math.max(1, Math.min(MOST_ROUND, 2 * hits.length, Math.floor(wanted)));
      options.onProgress?.({ ...counts });
    }
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  } finally {
    await writer.close();
  }
  return counts;
}

async function unencoded({ cluster, info, signal }: Following, size: number): Promise<Hit[]> {
  const doing = `Asking ${info.name} which documents have no vector`;
  const text = await cluster.demandText(
    {
      method: "POST",
      path: pathOf(info.name, "_search"),
      query: { allow_partial_search_results: false },
      body: { size, query: UNENCODED, sort: ["_doc"], seq_no_primary_term: true },
      signal,
    },
    doing,
  );
  const { answer, sources } = liftSources(text, ["hits", "hits"], doing);
  return pageSchema.parse(answer).hits.hits.map(({ _source, ...hit }) => ({
    ...hit,
    source: sources[_source] ?? "{}",
  }));
}

/** Encodes and writes some documents. @returns the characters of their texts. */
async function oneRound(
  following: Following,
  hits: readonly Hit[],
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
    const { _id, source } = hit;
    return { hit, content: storedSourceDocument(_id, source, isOurField, info.text_fields) };
  });
  const { judged, refusals } = await judgeDocuments(path, arrivals);
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
  const refused = [...refusals, ...encoded.refusals, ...written.refusals];
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
  return judged.reduce((sum, { document }) => sum + document.text.length, 0);
}

/** A document with the reason why it has no vector. */
function refusedText(own: string, code: ErrorCode): JsonText {
  const read = JsonObject.read(own);
  if (!("object" in read)) return new JsonText(own);
  return new JsonText(read.object.with([[REFUSED_FIELD, JSON.stringify(code)]]));
}

/** Replaces a document, if it is still the one that was read, past the pipeline that marks it. */
function inPlace(info: IndexInfo, hit: Hit, document: object | JsonText): BulkOperation {
  return {
    index: info.name,
    id: hit._id,
    action: "index",
    document,
    ...(hit._routing === undefined ? {} : { routing: hit._routing }),
    if_seq_no: hit._seq_no,
    if_primary_term: hit._primary_term,
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
    countFailure(failures, code, { reason, id: arrival.hit._id });
    onTrouble?.(`${arrival.hit._id} cannot be encoded: ${reason}`);
    if (result.status !== "failed") continue;
    throw new CspladeError(
      "cluster_rejected",
      `A document cannot be written back, not even without a vector: ${result.reason}`,
      { hint: "Mend or delete the document, or the mapping; then start again." },
    );
  }
  return overtaken;
}
