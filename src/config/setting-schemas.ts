/** Kinds of values that settings have, whether a file, the environment or a flag gives them. */
import { z } from "zod";

/** A number, or a string that is one: `Number` alone takes "", [] and true for numbers too. */
export const numeric = (schema: z.ZodNumber) =>
  z.preprocess(
    (value) => (typeof value === "string" && value.trim() !== "" ? Number(value) : value),
    schema,
  );

/** A whole number within limits. */
export const count = (min: number, max: number, fallback: number) =>
  numeric(z.number().int().min(min).max(max)).default(fallback);

/** How much of what a model adds counts, 0 to 1; the ends also in words. */
export const factor = (fallback: number) =>
  z
    .preprocess(
      (value) => (value === "none" ? 0 : value === "all" ? 1 : value),
      numeric(z.number().min(0).max(1)),
    )
    .default(fallback);

/** A URL of some protocols. */
export const url = (fallback: string, protocols: RegExp) =>
  z.url({ protocol: protocols, error: `must be a URL such as ${fallback}` }).default(fallback);

/** True or false, also as words. */
export const flag = (fallback: boolean) =>
  z
    .union([z.boolean(), z.enum(["true", "false"]).transform((word) => word === "true")])
    .default(fallback);

/** Names, also in one string with commas between them; none at all only where that is the default. */
export const names = (fallback: string[]) =>
  z
    .preprocess(
      (value) => {
        if (typeof value !== "string") return value;
        if (fallback.length === 0 && value.trim() === "") return [];
        return value.split(",").map((name) => name.trim());
      },
      z
        .array(z.string().min(1))
        .min(Math.min(1, fallback.length))
        .max(32)
        .refine((list) => new Set(list).size === list.length, "must not name a field twice"),
    )
    .default(fallback);

/** A list that an environment variable gives as JSON and the file as YAML. */
export const jsonList = <T extends z.ZodType>(schema: T) =>
  z
    .preprocess((value, context) => {
      if (typeof value !== "string") return value;
      try {
        return JSON.parse(value) as unknown;
      } catch {
        context.addIssue({ code: "custom", message: "must be a JSON list" });
        return z.NEVER;
      }
    }, z.array(schema).max(1000))
    .default([]);

/** One row of the settings table. */
export interface Setting {
  readonly schema: z.ZodType;
  /** Environment variable that sets it. */
  readonly env: string;
  /** One sentence for people. */
  readonly help: string;
  /** Never printed or logged. */
  readonly secret?: true;
}
