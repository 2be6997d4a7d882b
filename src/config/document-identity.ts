/** What decides which document is which and what is stored for it: kept by its index, and by dead letters. */
import { z } from "zod";
import { CspladeError } from "../errors/csplade-error.js";
import type { Config, SettingName } from "./settings.js";

/** How vectors are cut. */
export const pruningSchema = z.object({
  prune_type: z.enum(["none", "top_k", "max_ratio", "alpha_mass", "abs_value"]),
  prune_ratio: z.number(),
  quantize_bits: z.number().int(),
});

/** Settings `document.prune_type`, `document.prune_ratio` and `document.quantize_bits`. */
export type Pruning = z.infer<typeof pruningSchema>;

/** Schema of an identity as it is stored. */
export const identitySchema = z.object({
  id_field: z.string().min(1),
  text_fields: z.array(z.string().min(1)).min(1).readonly(),
  /** Text fields that hold HTML; none where it is left out, as in what earlier versions wrote. */
  html_fields: z.array(z.string().min(1)).readonly().optional(),
  title_field: z.string().min(1),
  passages: z.enum(["merged", "nested", "documents"]),
  pruning: pruningSchema,
  /** Factor of the terms that the model adds to documents; 1 where it is left out, as in what earlier versions wrote. */
  expansion: z.number().min(0).max(1).optional(),
  /** Whether documents have the checkpoint's dense vector too; not where it is left out. */
  dense: z.boolean().optional(),
});

/** How documents are identified, read and encoded. */
export type DocumentIdentity = z.infer<typeof identitySchema>;

/** Parts of an identity that were asked for, and not only left at their defaults. */
export type GivenIdentity = Partial<DocumentIdentity>;

const SETTINGS = {
  id_field: ["ingest.id_field"],
  text_fields: ["ingest.text_fields"],
  html_fields: ["ingest.html_fields"],
  title_field: ["ingest.title_field"],
  passages: ["ingest.passages"],
  pruning: ["document.prune_type", "document.prune_ratio", "document.quantize_bits"],
  expansion: ["document.expansion"],
  dense: ["document.dense"],
} as const satisfies Record<keyof DocumentIdentity, readonly SettingName[]>;

/** Names of the settings that give a part of an identity. */
export function settingsOfIdentity(part: keyof DocumentIdentity): readonly SettingName[] {
  return SETTINGS[part];
}

/** The identity that a configuration gives. */
export function identityOf(config: Config): DocumentIdentity {
  return {
    id_field: config["ingest.id_field"],
    text_fields: config["ingest.text_fields"],
    html_fields: config["ingest.html_fields"].toSorted(),
    title_field: config["ingest.title_field"],
    passages: config["ingest.passages"],
    pruning: {
      prune_type: config["document.prune_type"],
      prune_ratio: config["document.prune_ratio"],
      quantize_bits: config["document.quantize_bits"],
    },
    expansion: config["document.expansion"],
    dense: config["document.dense"],
  };
}

/** The parts of which a setting was given. */
export function givenIdentity(
  config: Config,
  isGiven: (setting: SettingName) => boolean,
): GivenIdentity {
  const parts = Object.entries(identityOf(config)).filter(([part]) =>
    SETTINGS[part as keyof DocumentIdentity].some(isGiven),
  );
  return Object.fromEntries(parts);
}

/** Fields of a document whose texts are encoded. */
export interface TextFields {
  readonly text_fields: readonly string[];
  /** Those of them that hold HTML. */
  readonly html_fields?: readonly string[] | undefined;
}

/** What a record says of HTML: nothing where no field holds any, as in records of earlier versions. */
export function htmlRecord({ html_fields = [] }: Pick<TextFields, "html_fields">): {
  readonly html_fields?: readonly string[];
} {
  return html_fields.length === 0 ? {} : { html_fields };
}

/** Parts of an identity that say which vectors documents have. */
export type VectorChoices = Pick<GivenIdentity, "expansion" | "dense">;

/**
 * What a record says of vectors: nothing of expansion where all of it counts, nothing of dense vectors
 * where there are none, as in records of earlier versions.
 */
export function vectorRecord({ expansion = 1, dense = false }: VectorChoices): VectorChoices {
  return { ...(expansion === 1 ? {} : { expansion }), ...(dense ? { dense } : {}) };
}

/** @throws CspladeError `config_invalid` for a field of HTML whose text is not encoded: a typing error would encode markup. */
export function demandHtmlTexts({ text_fields, html_fields = [] }: TextFields): void {
  const strange = html_fields.filter((field) => !text_fields.includes(field));
  if (strange.length === 0) return;
  throw new CspladeError(
    "config_invalid",
    `ingest.html_fields names ${strange.join(", ")}, but the text fields are ${text_fields.join(", ")}.`,
    { hint: "Name fields with HTML in ingest.text_fields (--text-fields) too, or leave them out." },
  );
}

/** A part of an identity in words. */
export function identityPhrase(
  value: NonNullable<DocumentIdentity[keyof DocumentIdentity]>,
): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if ("prune_type" in value) {
    const { prune_type, prune_ratio, quantize_bits } = value;
    const cut = prune_type === "none" ? "none" : `${prune_type} ${prune_ratio}`;
    return `${cut}, ${quantize_bits} bits`;
  }
  return value.length === 0 ? "none" : value.join(",");
}
