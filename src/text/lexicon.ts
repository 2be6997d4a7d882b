/**
 * The lexicon of a checkpoint (`lexicon.json`): how common words were in the texts that the
 * model was made from, and the constants of the lexical part of its vectors.
 */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { idf, type IdfRange } from "../sparse/idf.js";

const positive = z.number().positive().max(1e6);

const lexiconSchema = z.object({
  format: z.literal(1),
  /** Porter2, for words of the letters a to z. */
  stemmer: z.literal("porter2"),
  /** Words that do not count, unless a text has no others. */
  stop_words: z.array(z.string().min(1)),
  /** Texts that were counted. */
  documents: z.number().int().min(0),
  /** Stem → how many of those texts have it; a stem that is not there is in none. */
  document_frequencies: z.record(z.string().min(1), z.number().int().min(0)),
  idf_range: z
    .tuple([positive, positive])
    .refine(([least, greatest]) => least <= greatest, { message: "the least comes first" }),
  /** BM25's. */
  k1: z.number().min(0).max(1000),
  b: z.number().min(0).max(1),
  /** Words of a text of ordinary length. */
  length: positive,
  /** Share of the lexical weight that the document's side has; the query's has its inverse. */
  unit: positive,
  /** Factor of the model's own weights. */
  model_weight: z.object({
    document: z.number().min(0).max(1000),
    query: z.number().min(0).max(1000),
  }),
  /**
   * Most terms that the model may add to the own words of a query, or of a document; without it as
   * many as fit.
   */
  expansions: z
    .object({
      query: z.number().int().min(0).max(100_000),
      document: z.number().int().min(0).max(100_000).optional(),
    })
    .optional(),
  /** Most terms of a query, its own words and the model's together. */
  query_terms: z.number().int().min(1).max(1024).optional(),
  /**
   * `shared`: what the model gives to a word adds to the weight that the text itself gives it.
   * `apart`: the model's terms meet only the model's; those of a document have length 1 together.
   */
  model_terms: z.enum(["shared", "apart"]).default("shared"),
});

/** A lexicon. */
export interface Lexicon extends Omit<
  z.infer<typeof lexiconSchema>,
  "stop_words" | "document_frequencies" | "idf_range"
> {
  readonly stop_words: ReadonlySet<string>;
  readonly document_frequencies: ReadonlyMap<string, number>;
  readonly idf_range: IdfRange;
}

/**
 * Reads a lexicon.
 * @throws CspladeError `model_invalid` naming what is wrong with the file.
 */
export function readLexicon(file: string): Lexicon {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new CspladeError("model_invalid", `${file} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
  const parsed = lexiconSchema.safeParse(raw);
  if (!parsed.success) {
    throw new CspladeError(
      "model_invalid",
      `${file} is no lexicon of format 1: ${z.prettifyError(parsed.error)}`,
      { hint: "Export the checkpoint again, or use a newer csplade." },
    );
  }
  const { stop_words, document_frequencies, ...constants } = parsed.data;
  return {
    ...constants,
    stop_words: new Set(stop_words),
    document_frequencies: new Map(Object.entries(document_frequencies)),
  };
}

/** The idf of a stem in the texts that the model was made from. */
export function idfOf(stem: string, lexicon: Lexicon): number {
  const found = lexicon.document_frequencies.get(stem) ?? 0;
  return idf(lexicon.documents, found, lexicon.idf_range);
}
