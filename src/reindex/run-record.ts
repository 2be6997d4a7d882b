/**
 * What is remembered of a run: one document per run and one per slice, in the cluster that is
 * written. Redis may forget everything; the records alone say what is still to be done.
 */
import { z } from "zod";
import { aliasMemberSchema } from "../cluster/alias.js";

/** Where the documents come from. */
const sourceSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("index"),
    /** The concrete index. */
    index: z.string(),
    /** Tells the index from a later one of the same name. */
    uuid: z.string(),
    shards: z.number().int().min(1),
    /** Read from primary shards only: replicas of segment replication may lag. */
    primaries: z.boolean(),
    /** URL of the cluster that has it, where it is not the one that is written; never with credentials. */
    cluster: z.string().optional(),
  }),
  z.object({
    type: z.literal("files"),
    files: z.array(
      z.object({
        path: z.string(),
        bytes: z.number().int().min(0),
        compression: z.enum(["none", "gzip", "zstd"]),
        form: z.enum(["document", "hit"]),
        start: z.number().int().min(0),
        /** Added to an offset in this file, it orders all lines of the source. */
        base: z.number().int().min(0),
      }),
    ),
  }),
]);

/** Where a run stands. */
const runStates = [
  "copying",
  "catching_up",
  "verifying",
  "following",
  "done",
  "failed",
  "rolled_back",
] as const;

const controlSchema = z.object({
  paused: z.boolean(),
  /** Documents per second of all workers together; null: as fast as they can. */
  documents_per_second: z.number().positive().nullable(),
  /** Slices at once of all workers together; null: as many as the workers take. */
  concurrency: z.number().int().positive().nullable(),
});

const passSchema = z.object({
  number: z.number().int().min(0),
  task: z.enum(["copy", "sweep"]),
  /** Per shard, the sequence number up to which this pass copies; empty for files. */
  up_to: z.array(z.number().int()),
  /** When `up_to` was read, ISO 8601: what was acknowledged before is in the pass. */
  as_of: z.string(),
  slices: z.number().int().min(0),
  /** Documents planned. */
  documents: z.number().min(0),
});

const verificationSchema = z.object({
  ok: z.boolean(),
  problems: z.array(z.string()),
  source_documents: z.number().int().nullable(),
  target_documents: z.number().int(),
  dead_letters: z.number().int(),
  /** Documents of the source that were looked up in the new index, out of every shard. */
  source_sampled: z.number().int().default(0),
  /** Of these, missing there or older. */
  behind: z.number().int().default(0),
  /** Of these, with a field that is not the source's. */
  altered: z.number().int().default(0),
  /** Documents of the new index that were encoded again. */
  sampled: z.number().int(),
  /** Sampled documents whose stored vector is not what encoding gives now. */
  differing: z.number().int(),
  /** Largest relative difference of a sampled vector. */
  worst_difference: z.number(),
  queries: z.number().int(),
  /** Mean share of the old index's first ten hits that the new index also has; null without one. */
  overlap_at_10: z.number().nullable(),
  /** Share of sampled documents found among the first ten by their own words, new and old. */
  found_new: z.number().nullable(),
  found_old: z.number().nullable(),
});

/** What became of documents. `read` is the sum of the outcomes. */
export const countsSchema = z.object({
  /** Documents of the source that were looked at. */
  read: z.number().int(),
  written: z.number().int(),
  /** Already in the index with this content. */
  unchanged: z.number().int(),
  /** The index holds a newer version. */
  superseded: z.number().int(),
  dead_letters: z.number().int(),
  /** Of the written ones: sent through the model. */
  encoded: z.number().int(),
  /** Of the written ones: vector taken over because the text is the same. */
  reused: z.number().int(),
  /** Removed from the target because the source has them no more. */
  deleted: z.number().int(),
  truncated: z.number().int(),
  /** Of the written ones: without a vector (`ingest.min_quality`). */
  low_quality: z.number().int().default(0),
  tokens: z.number().int(),
});

/** What became of documents. */
export type SliceCounts = z.infer<typeof countsSchema>;

const gateSchema = z.object({
  /** Folder of the judged questions, from the root: whoever resumes the run may stand elsewhere. */
  judgements: z.string(),
  /** `METRIC>=VALUE` with commas. */
  require: z.string().optional(),
  /** A saved evaluation or run file, from the root. */
  no_worse_than: z.string().optional(),
});

/** What a new index has to show before the alias moves. */
export type RunGate = z.infer<typeof gateSchema>;

/** Schema of a run's record, format 1. */
export const runSchema = z.object({
  kind: z.literal("run"),
  format: z.literal(1),
  run: z.string(),
  /** Whose queues its slices are in (`redis.prefix`). */
  redis_prefix: z.string().optional(),
  state: z.enum(runStates),
  /** Why the run failed. */
  message: z.string().optional(),
  source: sourceSchema,
  /** What `--from` said. */
  from: z.array(z.string()),
  alias: z.string(),
  /** The new index. */
  target: z.string(),
  model: z.object({
    fingerprint: z.string(),
    name: z.string(),
    variant: z.enum(["bi", "echo", "causal"]),
    vocabulary_size: z.number().int(),
  }),
  id_field: z.string(),
  text_fields: z.array(z.string()),
  /** Those of them that hold HTML. */
  html_fields: z.array(z.string()).readonly().optional(),
  title_field: z.string(),
  passages: z.enum(["merged", "nested", "documents"]),
  /** Factor of the terms that the model adds, where it is not 1. */
  expansion: z.number().min(0).max(1).optional(),
  /** Documents have the checkpoint's dense vector too. */
  dense: z.boolean().optional(),
  /** Settings that shape vectors: the same for all workers, whatever their own say. */
  encoding: z.object({
    prune_type: z.enum(["none", "top_k", "max_ratio", "alpha_mass", "abs_value"]),
    prune_ratio: z.number(),
    quantize_bits: z.number().int(),
    max_passages: z.number().int(),
    /** Setting `ingest.min_quality`. */
    min_quality: z.number().default(0),
  }),
  /** An index of the same model whose vectors are taken over where the text is the same. */
  reuse: z.string().optional(),
  slice_documents: z.number().int().min(1),
  /** Its documents say which write stored them (`StampedHash`); those of older versions of csplade do not. */
  stamped: z.boolean().default(false),
  control: controlSchema,
  /** Passes that are planned, in order; the last one may be under way. Of a long run the newest. */
  passes: z.array(passSchema),
  /** Sums of the slices of passes with a number below `below`: their records are gone. */
  folded: z
    .object({
      below: z.number().int().min(1),
      slices: z.number().int().min(0),
      planned: z.number().min(0),
      counts: countsSchema,
    })
    .optional(),
  /** Tokens per document, from the sample and then from what is encoded. */
  tokens_per_document: z.number().min(0),
  verification: verificationSchema.optional(),
  /** Whoever coordinates puts judged questions to the new index before the swap. */
  gate: gateSchema.optional(),
  /** Primary shards of the new index, where its source is an index. */
  target_shards: z.number().int().min(1).optional(),
  /** Settings of the new index that are others while it is filled, as they are to be; null: the default. */
  restore: z.record(z.string(), z.string().nullable()).optional(),
  /** Deletes that the source had seen (by its counter) when the new index was last swept, or begun. */
  deletes_seen: z.number().int().optional(),
  /** An index whose writes are blocked for the swap, and since when (ISO 8601). */
  hold: z.object({ index: z.string(), since: z.string() }).optional(),
  /** Indices behind the alias before the swap; `--rollback` goes back to them. */
  previous: z.array(z.string()).optional(),
  /** How the alias led to them: noted before it is moved. */
  previous_alias: z.array(aliasMemberSchema).optional(),
  /** Per shard of the new index, the last sequence number before the swap: what is later is not the run's. */
  swapped_at: z.array(z.number().int()).optional(),
  /** Who coordinates, and until when if it is not heard of again (ISO 8601). */
  coordinator: z.object({ owner: z.string(), until: z.string() }).optional(),
  /** The coordinator's span, for traces of slices to link to. */
  traceparent: z.string().optional(),
  created_at: z.string(),
  finished_at: z.string().optional(),
});

/** A run's record. */
export type RunRecord = z.infer<typeof runSchema>;
/** Steering of a run. */
export type RunControl = RunRecord["control"];
/** A pass of a run. */
export type RunPass = RunRecord["passes"][number];
/** Number of the pass that comes after those of a run. */
export function nextPass(run: Pick<RunRecord, "passes">): number {
  return (run.passes.at(-1)?.number ?? -1) + 1;
}

/** What a verification found. */
export type Verification = z.infer<typeof verificationSchema>;

/** Schema of a slice's record. */
export const sliceSchema = z.object({
  kind: z.literal("slice"),
  run: z.string(),
  number: z.number().int().min(0),
  pass: z.number().int().min(0),
  task: z.enum(["copy", "sweep"]),
  /** Shard of the index, or position of the file. */
  part: z.number().int().min(0),
  /** First and (exclusive) last sequence number, or byte offset of the file. */
  from: z.number().int().min(0),
  to: z.number().int().min(0),
  /** Documents planned; for files an estimate. */
  documents: z.number().min(0),
  /** The last one of a shard: what changes while it is read moves behind `to`, and is read there. */
  open_end: z.boolean().default(false),
  /** The alias leads to the target by then: only what the run itself wrote may be replaced. */
  after_swap: z.boolean().default(false),
  state: z.enum(["open", "running", "done", "failed"]),
  /** Everything before this sequence number or offset is done. */
  position: z.number().int().min(0),
  counts: countsSchema,
  /** Ids of the first documents of which some text was left out. */
  truncated_ids: z.array(z.string()).default([]),
  /** Who works on it: the worker's name and one token per claim. */
  worker: z.string().optional(),
  claim: z.string().optional(),
  /** Claims so far. */
  claims: z.number().int().min(0),
  /** Where it stood when it was claimed. */
  claimed_from: z.number().int().min(0).optional(),
  /** Claims in a row that ended without a word at one place: is a document there killing workers? */
  crashes: z.number().int().min(0),
  /** Devices that broke at this place since something was done here last. */
  broken_devices: z.array(z.string()).default([]),
  /** Most documents of a window after such ends, growing again with each checkpoint; 0: no bound. */
  careful: z.number().int().min(0),
  message: z.string().optional(),
  /** When it was claimed first, and last went on (ISO 8601). */
  started_at: z.string().optional(),
  updated_at: z.string().optional(),
});

/** A slice's record. */
export type SliceRecord = z.infer<typeof sliceSchema>;

/** A record without the message of a failure that is over. */
export function withoutMessage<T extends { readonly message?: string | undefined }>(
  record: T,
): Omit<T, "message"> {
  const rest: { -readonly [K in keyof T]: T[K] } = { ...record };
  delete rest.message;
  return rest;
}

/** Counts of nothing. */
export function noCounts(): SliceCounts {
  return {
    read: 0,
    written: 0,
    unchanged: 0,
    superseded: 0,
    dead_letters: 0,
    encoded: 0,
    reused: 0,
    deleted: 0,
    truncated: 0,
    low_quality: 0,
    tokens: 0,
  };
}

/** Adds the second counts to the first. */
export function addCounts(sum: SliceCounts, more: Readonly<SliceCounts>): void {
  for (const key of Object.keys(sum) as (keyof SliceCounts)[]) sum[key] += more[key];
}
