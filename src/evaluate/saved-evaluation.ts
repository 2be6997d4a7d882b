/** Evaluations as files: what `csplade eval --save` writes, and `--compare` and `--report` read. */
import { readFile, writeFile } from "node:fs/promises";
import { z } from "zod";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import type { QueryResults } from "./compare-results.js";
import { parseMetric, runMetrics, type MetricName, type Metrics, type Qrels } from "./metrics.js";
import { parseRun } from "./run-file.js";

const metrics = z
  .looseObject({
    "ndcg@10": z.number(),
    "mrr@10": z.number(),
    "map@100": z.number(),
    "recall@100": z.number(),
  })
  .refine((values) => Object.keys(values).every((name) => parseMetric(name) !== undefined), {
    error: "has a key that is no metric",
  })
  .transform((values) => values as unknown as Metrics);

const significance = z.object({ difference: z.number(), p_value: z.number() });

/** Pairs: so many terms, and how many vectors have that many. */
const termCounts = z.array(z.tuple([z.number().int().min(0), z.number().int().min(1)]));

const systemSchema = z.object({
  /** `csplade` (plain scoring), `bm25`, or another mode of search. */
  name: z.string().min(1),
  metrics,
  /** Query id → its metrics. */
  per_query: z.record(z.string(), metrics),
  /** Milliseconds of a search alone, one at a time; absent where it was not timed. */
  ms_p50: z.number().optional(),
  ms_p95: z.number().optional(),
  /** nDCG@10 minus that of plain scoring. */
  versus_plain: significance.optional(),
});

const savedSchema = z.object({
  format: z.literal("csplade-evaluation/1"),
  /** Version of csplade, and when it was made (ISO 8601). */
  csplade: z.string(),
  made_at: z.string(),
  /** What people call it in plots and tables. */
  label: z.string().min(1),
  dataset: z.string(),
  model: z.string(),
  /** What decides size and quality besides the model: precision, pruning, quantization. */
  settings: z.record(z.string(), z.union([z.string(), z.number()])),
  documents: z.number().int(),
  failed_documents: z.number().int(),
  /** Query id → text. */
  queries: z.record(z.string(), z.string()),
  systems: z.array(systemSchema).min(1),
  versus_bm25: significance,
  /** Milliseconds of a question asked alone, encoding included. */
  ms_per_query_p50: z.number(),
  index_bytes: z.number(),
  terms_per_query: termCounts,
  /** Empty where the index does not keep its vectors in `_source`. */
  terms_per_document: termCounts,
});

/** A saved evaluation. */
export type SavedEvaluation = z.infer<typeof savedSchema>;
/** One system of a saved evaluation. */
export type SavedSystem = z.infer<typeof systemSchema>;

/** Writes an evaluation. @throws CspladeError `file_invalid` when the file cannot be written. */
export async function saveEvaluation(file: string, evaluation: SavedEvaluation): Promise<void> {
  try {
    await writeFile(file, `${JSON.stringify(evaluation)}\n`);
  } catch (cause) {
    throw new CspladeError(
      "file_invalid",
      `The evaluation ${file} cannot be written: ${messageOf(cause)}`,
      { cause },
    );
  }
}

/** Reads a saved evaluation. @throws CspladeError `file_invalid`. */
export async function readEvaluation(file: string): Promise<SavedEvaluation> {
  return parseEvaluation(await readText(file), file);
}

/** What {@link readResults} needs of a collection to judge run files. */
export interface Judgements {
  readonly qrels: Qrels;
  /** Metrics besides the headline ones. */
  readonly metrics: readonly MetricName[];
}

/**
 * Reads results to compare: a saved evaluation (`FILE`, its plain scoring, or `FILE#SYSTEM`), or a
 * run in TREC's format, which is judged here.
 * @throws CspladeError `file_invalid`, also for a run without `judgements`.
 */
export async function readResults(
  name: string,
  judgements: Judgements | undefined,
): Promise<{ readonly results: QueryResults; readonly saved?: SavedEvaluation }> {
  const [, file = name, system] = /^(.*?)(?:#([^#/]*))?$/s.exec(name) ?? [];
  const text = await readText(file);
  if (text.trimStart().startsWith("{")) {
    const saved = parseEvaluation(text, file);
    return { saved, results: { name, per_query: systemOf(saved, system ?? "csplade", file) } };
  }
  if (judgements === undefined) {
    throw new CspladeError("usage", `${file} is a run, and there are no judgements for it.`, {
      hint: "Give the collection too: --data FOLDER.",
    });
  }
  const per_query = runMetrics(parseRun(text, file), judgements.qrels, judgements.metrics);
  return { results: { name, per_query } };
}

function systemOf(
  saved: SavedEvaluation,
  name: string,
  file: string,
): ReadonlyMap<string, Metrics> {
  const system = saved.systems.find((one) => one.name === name);
  if (system !== undefined) return new Map(Object.entries(system.per_query));
  throw new CspladeError("file_invalid", `${file} has no system ${name}.`, {
    hint: `It has ${saved.systems.map((one) => one.name).join(", ")}.`,
  });
}

function parseEvaluation(text: string, file: string): SavedEvaluation {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw invalid(file, messageOf(cause), cause);
  }
  const parsed = savedSchema.safeParse(raw);
  if (!parsed.success) throw invalid(file, z.prettifyError(parsed.error), parsed.error);
  return parsed.data;
}

function invalid(file: string, reason: string, cause: unknown): CspladeError {
  return new CspladeError("file_invalid", `${file} is no saved evaluation: ${reason}`, {
    cause,
    hint: "csplade eval --save FILE writes one.",
  });
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new CspladeError("file_invalid", `${file} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
}
