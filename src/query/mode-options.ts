/** Options of the search modes as they come from outside: a command line, a file, a request. */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";
import { ALL_RANKINGS } from "./hybrid.js";
import type { SearchMode } from "./search-mode.js";
import type { SearchRequest } from "./search-request.js";

/** The options of a search request that belong to its mode. */
export type ModeOptions = Pick<SearchRequest, "two_phase" | "ann" | "lexical" | "hybrid">;

const isUnique = (names: readonly string[]) => new Set(names).size === names.length;

const schemas = {
  plain: z.strictObject({}),
  two_phase: z.strictObject({
    prune_type: z.enum(["none", "top_k", "max_ratio", "alpha_mass", "abs_value"]).optional(),
    prune_ratio: z.number().optional(),
    pagination_depth: z.number().optional(),
    expansion_rate: z.number().optional(),
    max_window_size: z.number().optional(),
  }),
  ann: z.strictObject({
    k: z.number().optional(),
    top_n: z.number().optional(),
    heap_factor: z.number().optional(),
  }),
  lexical: z.strictObject({
    expansion: z.number().optional(),
    text_fields: z.array(z.string().min(1)).min(1).max(100).optional(),
  }),
  hybrid: z.strictObject({
    technique: z.enum(["rrf", "min_max"]).optional(),
    rank_constant: z.number().optional(),
    weights: z.array(z.number()).min(1).max(3).optional(),
    rankings: z
      .array(z.enum(ALL_RANKINGS))
      .min(1)
      .max(3)
      .refine(isUnique, "each ranking stands once")
      .optional(),
    pagination_depth: z.number().optional(),
    requests: z.enum(["one", "two"]).optional(),
  }),
} as const;

/**
 * Reads the options of a mode. Ranges are checked by the search itself.
 * @throws CspladeError `query_invalid` naming the option that is unknown or of a wrong type.
 */
export function readModeOptions(mode: SearchMode, options: unknown): ModeOptions {
  const parsed = schemas[mode].safeParse(options);
  if (!parsed.success) {
    const known = Object.keys(schemas[mode].shape).join(", ");
    throw new CspladeError(
      "query_invalid",
      `The options of mode ${mode} do not fit: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}`,
      { hint: known === "" ? `Mode ${mode} has no options.` : `Its options are ${known}.` },
    );
  }
  return mode === "plain" ? {} : { [mode]: withoutUndefined(parsed.data) };
}

/** An option that is not given must not hide its default. */
function withoutUndefined(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
