/** The job of an ingest: a chunk of a file and how to ingest it. Its size does not depend on the texts. */
import { z } from "zod";
import { jobCareSchema } from "./job-care.js";

const chunkSchema = z.object({
  file: z.string(),
  form: z.enum(["document", "hit"]).default("document"),
  offset: z.number().int().min(0),
  bytes: z.number().int().min(0),
  first_line: z.number().int().min(1),
  lines: z.number().int().min(1),
  skip: z.array(z.number().int()).readonly(),
});

/** Schema of a job's data, checked when a worker takes it (another version may have written it). */
export const ingestJobSchema = z.object({
  format: z.literal(1),
  /** The run it belongs to. */
  run: z.string(),
  /** Index that is written. */
  index: z.string(),
  /** Fingerprint the run was planned with; a worker with another model refuses the job. */
  fingerprint: z.string(),
  chunk: chunkSchema,
  id_field: z.string(),
  text_fields: z.array(z.string()).readonly(),
  /** Those of them that hold HTML. */
  html_fields: z.array(z.string()).readonly().optional(),
  /** Factor of the terms that the model adds, where it is not 1. */
  expansion: z.number().min(0).max(1).optional(),
  /** Documents have the checkpoint's dense vector too. */
  dense: z.boolean().optional(),
  passages: z.enum(["merged", "nested", "documents"]),
  /** Encode documents again although neither text nor model changed. */
  force: z.boolean(),
  /** Where devices broke over it. */
  care: jobCareSchema.optional(),
});

/** Data of an ingest job. */
export type IngestJob = z.infer<typeof ingestJobSchema>;

const failureSchema = z.object({
  file: z.string(),
  line: z.number(),
  offset: z.number(),
  bytes: z.number(),
  code: z.string(),
  reason: z.string(),
  id: z.string().optional(),
  beside: z.object({ id: z.string().optional(), routing: z.string().optional() }).optional(),
});

/** Schema of what a finished job returns: counts and failures, no texts. */
export const ingestJobResultSchema = z.object({
  encoded: z.number().int(),
  written: z.number().int(),
  skipped: z.number().int(),
  truncated: z.number().int(),
  /** Ids of the first of them. */
  truncated_ids: z.array(z.string()).default([]),
  /** Documents written without a vector (`ingest.min_quality`). */
  low_quality: z.number().int().default(0),
  passages: z.number().int(),
  tokens: z.number().int(),
  terms: z.number().int(),
  failures: z.array(failureSchema),
});

/** Result of an ingest job. */
export type IngestJobResult = z.infer<typeof ingestJobResultSchema>;

/** What a job returns whose run was over when it was taken: nothing of it was written. */
export const droppedSchema = z.object({ dropped: z.literal(true) });

/** The run that a job of this id belongs to. */
export function runOfJob(id: string): string {
  return id.slice(0, id.lastIndexOf("-"));
}

/** Id of a run's job. */
export function ingestJobId(run: string, number: number): string {
  return `${run}-${number}`;
}
