/** What a run would take, from a sample that is really read and encoded on this machine. */
import type { Encoder } from "../encoder/encoder.js";
import { linesOf } from "../cluster/bulk-operation.js";
import type { AliasMember } from "../cluster/alias.js";
import { documentSteps } from "../index/index-document.js";
import { inheritedMeta } from "../index/index-template.js";
import { inheritedSettings } from "../index/inherited-settings.js";
import { NOTHING_STORED } from "../index/stored-state.js";
import { encodeForRun } from "./encode-for-run.js";
import { planRun, type PlanContext, type ReindexRequest, type RunPlan } from "./plan-run.js";
import { sampleSlices } from "./sample-slices.js";

/** A plan and its estimates. */
export interface RunEstimate {
  readonly from: readonly string[];
  readonly alias: string;
  /** The index that would be made. */
  readonly target: string;
  readonly model: string;
  /** Documents; of files an estimate. */
  readonly documents: number;
  readonly slices: number;
  /** What the new index and the alias take over. */
  readonly shape: InheritedShape;
  /** An index of the same model, whose vectors are taken over where texts are the same. */
  readonly reuse: string | null;
  /** Documents that were read and encoded to measure. */
  readonly sampled: number;
  /** Of these, documents that would become dead letters. */
  readonly refused: number;
  readonly tokens_per_document: number;
  /** One worker like this machine. */
  readonly documents_per_second: number;
  readonly tokens_per_second: number;
  /** Bytes of bulk requests per document, before the cluster compresses them. */
  readonly bulk_bytes_per_document: number;
  readonly workers: number;
  readonly hours: number;
  /** Worker hours times the price of one; null without a price. */
  readonly cost: number | null;
  /** Bytes of jobs in Redis, at most. */
  readonly redis_bytes: number;
}

/** What a new index takes over from its source, and how the alias will lead to it. */
export interface InheritedShape {
  /** Primary shards; null for what templates and the cluster say. */
  readonly shards: number | null;
  /** Settings below `index`. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** What others noted in the mapping's `_meta`. */
  readonly _meta: Readonly<Record<string, unknown>>;
  /** Filter, routing and the like of the alias; null if it does not exist yet. */
  readonly alias: Omit<AliasMember, "index"> | null;
}

/** What estimating takes besides the request. */
export interface EstimateOptions {
  /** Workers the estimate is for. */
  readonly workers: number;
  /** Price of a worker's hour. */
  readonly cost_per_hour?: number;
  /** Documents to measure with. */
  readonly sample: number;
}

/** Bytes a job takes in Redis, measured (docs/reindexing.md). */
const JOB_BYTES = 1_100;

/** Plans and measures; nothing is written. @throws CspladeError as planning and reading do. */
export async function estimateRun(
  context: PlanContext,
  encoder: Encoder,
  request: ReindexRequest,
  options: EstimateOptions,
): Promise<RunEstimate> {
  const { patience } = context;
  const plan = await planRun(context, request);
  const { run, slices } = plan;
  const { documents, refused } = await sampleSlices(context, plan, options.sample);
  const info = { ...run, name: run.target, indices: [run.target], created: false };
  // Once to warm up: the first batches also pay for the memory they take.
  const texts = documents.map(({ text }) => text);
  await encoder.encodeDocuments(texts.slice(0, 8));
  const started = performance.now();
  const encoded = await encodeForRun(encoder, run, texts, patience.signal);
  const seconds = Math.max(0.001, (performance.now() - started) / 1_000);
  let tokens = 0;
  let bytes = 0;
  for (const [i, document] of documents.entries()) {
    const passages = encoded[i]?.passages ?? [];
    for (const passage of passages) tokens += passage.tokens;
    const context = { shape: run.encoding, stored: NOTHING_STORED };
    for (const operation of documentSteps(info, document, passages, context).flat()) {
      const made = linesOf(operation);
      if ("lines" in made) bytes += Buffer.byteLength(made.lines);
    }
  }
  const planned = run.passes[0]?.documents ?? 0;
  const rate = documents.length / seconds;
  const hours = rate === 0 ? 0 : planned / rate / options.workers / 3_600;
  const per = Math.max(1, documents.length);
  return {
    from: run.from,
    alias: run.alias,
    target: run.target,
    model: run.model.name,
    documents: Math.round(planned),
    slices: slices.length,
    shape: shapeOf(plan),
    reuse: run.reuse ?? null,
    sampled: documents.length + refused,
    refused,
    tokens_per_document: tokens / per,
    documents_per_second: rate,
    tokens_per_second: tokens / seconds,
    bulk_bytes_per_document: Math.round(bytes / per),
    workers: options.workers,
    hours,
    cost:
      options.cost_per_hour === undefined ? null : hours * options.workers * options.cost_per_hour,
    redis_bytes: slices.length * JOB_BYTES,
  };
}

function shapeOf({ run, inherit, alias_now }: RunPlan): InheritedShape {
  const settings =
    inherit?.settings === undefined ? {} : inheritedSettings(inherit.settings, inherit.mappings);
  const alias =
    alias_now === undefined
      ? null
      : Object.fromEntries(Object.entries(alias_now).filter(([name]) => name !== "index"));
  return { shards: run.target_shards ?? null, settings, _meta: inheritedMeta(inherit), alias };
}
