/**
 * `mappings/index.json`, `mappings/nested-passages.json` and `pipelines/csplade-guard.json`: the
 * files users apply with curl are the files the code installs, so they cannot drift apart.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import type { Capabilities } from "../cluster/capabilities.js";
import { packageRoot } from "../config/package-root.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { keptSource, type DenseField } from "./dense-field.js";
import { inheritedSettings, settingAt, type IndexSettings } from "./inherited-settings.js";
import {
  DENSE_FIELD,
  PASSAGES_FIELD,
  SEAL_FIELD,
  SEALED_PART,
  VECTOR_FIELD,
  type IndexMeta,
  type IndexModel,
} from "./index-meta.js";

const fieldSchema = z.looseObject({ type: z.string() });

const indexFileSchema = z.object({
  settings: z.object({ index: z.record(z.string(), z.unknown()) }),
  mappings: z.object({
    properties: z
      .looseObject({
        title: fieldSchema,
        text: fieldSchema,
        csplade: z.object({ type: z.literal("rank_features") }),
        csplade_parent: fieldSchema,
        csplade_passage: fieldSchema,
        csplade_passage_count: fieldSchema,
        csplade_model: fieldSchema,
        csplade_hash: fieldSchema,
        csplade_text_hash: fieldSchema,
      })
      .catchall(fieldSchema),
  }),
});

const nestedFileSchema = z.object({
  properties: z.object({
    [PASSAGES_FIELD]: z.looseObject({
      type: z.literal("nested"),
      properties: z.looseObject({ csplade: z.object({ type: z.literal("rank_features") }) }),
    }),
  }),
});

const pipelineFileSchema = z.object({
  description: z.string(),
  processors: z
    .array(
      z.union([
        z.object({ fail: z.object({ if: z.string(), message: z.string() }) }),
        z.object({ remove: z.object({ field: z.array(z.string()), ignore_missing: z.boolean() }) }),
      ]),
    )
    .min(1),
});

/** An ingest pipeline, ready for `PUT _ingest/pipeline/<id>`. */
export type GuardPipeline = z.infer<typeof pipelineFileSchema>;

/** Choices about a new index that do not change what its vectors mean. */
export interface IndexLayout {
  /** Primary shards; without it what an index template or the cluster says. */
  readonly shards?: number;
  /** Replicas; without it what an index template says, or one as soon as a second node can hold it. */
  readonly replicas?: number;
  /** Fields, rules and settings of the index whose documents are copied. */
  readonly inherit?: InheritedMapping;
}

/** What a copy takes over from the index it is made of. */
export interface InheritedMapping {
  /** The `mappings` object as the cluster gave it. */
  readonly mappings: Readonly<Record<string, unknown>>;
  /** The `index` object of its settings, as the cluster gave it. */
  readonly settings?: IndexSettings;
}

/** Body of `PUT /<index>`. */
export interface IndexBody {
  readonly settings: { readonly index: Readonly<Record<string, unknown>> };
  readonly mappings: {
    readonly _meta: { readonly csplade: IndexMeta; readonly [theirs: string]: unknown };
    readonly _source?: { readonly excludes: readonly string[] };
    readonly properties: Readonly<Record<string, object>>;
    readonly [rule: string]: unknown;
  };
}

/** Builds the body that creates an index: the file's, with this index's fields, model and guard. */
export function indexBody(
  meta: IndexMeta,
  guard: Partial<Record<GuardPlace, string>>,
  layout: IndexLayout & {
    readonly constant_keyword?: boolean;
    /** Settings (below `index`) that an index template decides: the file's give way. */
    readonly decided?: IndexSettings;
    /** Of an index with dense vectors. */
    readonly dense?: DenseField | undefined;
    /** Of the cluster; without it nothing is said of how it builds `_source`. */
    readonly capabilities?: Capabilities;
  },
): IndexBody {
  const file = readTemplate("mappings/index.json", indexFileSchema);
  const { dense, capabilities, decided = {} } = layout;
  const settings = { ...settingsOf(file.settings.index, layout), ...dense?.settings };
  return {
    settings: {
      index: {
        ...settings,
        ...(capabilities === undefined ? {} : keptSource(capabilities, settings, decided)),
        ...guard,
      },
    },
    mappings: {
      ...inheritedRules(layout.inherit),
      _meta: { ...inheritedMeta(layout.inherit), csplade: meta },
      ...(meta.store_vectors ? {} : { _source: { excludes: leftOut(meta) } }),
      properties: {
        ...fieldsOf(file.mappings.properties, meta, layout.inherit),
        ...(dense === undefined ? {} : { [DENSE_FIELD]: dense.mapping }),
        // Ingest pipelines do not see the update actions of bulk requests; the mapping does.
        ...(layout.constant_keyword === true
          ? { csplade_model: { type: "constant_keyword", value: meta.fingerprint } }
          : {}),
        ...(meta.store_vectors ? {} : { [SEAL_FIELD]: SEAL_MAPPING }),
      },
    },
  };
}

/** What `_source` lacks in an index that does not store vectors. */
export const LEFT_OUT = [VECTOR_FIELD, `${PASSAGES_FIELD}.${VECTOR_FIELD}`, SEALED_PART] as const;

/** As {@link LEFT_OUT}; the dense vector too, where there is one. */
function leftOut(meta: IndexMeta): readonly string[] {
  return meta.dense === true ? [...LEFT_OUT, DENSE_FIELD] : LEFT_OUT;
}

/** Only checked, never searched; and checked whatever the index is told about malformed values. */
const SEAL_MAPPING = {
  type: "geo_point",
  index: false,
  doc_values: false,
  ignore_malformed: false,
} as const;

/** The file's own `title` and `text` stand for whatever the title and text fields are called. */
function fieldsOf(
  properties: z.infer<typeof indexFileSchema>["mappings"]["properties"],
  meta: IndexMeta,
  inherit: InheritedMapping | undefined,
): Record<string, object> {
  const { title, text, ...ours } = properties;
  const fields: Record<string, object> = {};
  const inherited = propertiesSchema.safeParse(inherit?.mappings.properties).data ?? {};
  const isThere = (name: string) => Object.hasOwn(inherited, name.split(".", 1)[0] ?? name);
  for (const name of meta.text_fields) if (!isThere(name)) fields[name] = text;
  if (!isThere(meta.title_field)) fields[meta.title_field] = title;
  for (const [name, field] of Object.entries(inherited)) {
    if (name !== VECTOR_FIELD && !name.startsWith(`${VECTOR_FIELD}_`)) fields[name] = field;
  }
  return { ...fields, ...ours, [PASSAGES_FIELD]: passagesField(meta) };
}

/**
 * A mapping with a nested field anywhere makes the cluster keep nested documents out of every
 * query on the vectors by a filter, which costs several times the query itself (`npm run
 * bench:search`): only an index of nested passages has one. Elsewhere the name is taken, so that
 * a stray document does not become a field per term.
 */
function passagesField({ passages }: IndexMeta): object {
  if (passages !== "nested") return { type: "object", enabled: false };
  return readTemplate("mappings/nested-passages.json", nestedFileSchema).properties[PASSAGES_FIELD];
}

const propertiesSchema = z.record(z.string(), z.record(z.string(), z.unknown()));

/** What the file says gives way to what the source had, what a template says and what is asked for. */
function settingsOf(
  file: IndexSettings,
  { inherit, shards, replicas, decided = {} }: Parameters<typeof indexBody>[2],
): Record<string, unknown> {
  const inherited =
    inherit?.settings === undefined ? {} : inheritedSettings(inherit.settings, inherit.mappings);
  const isReplicas = (name: string) => /^(auto_expand|number_of)_replicas$/.test(name);
  const hasReplicas =
    replicas !== undefined ||
    Object.keys(decided).some(isReplicas) ||
    Object.keys(inherited).some(isReplicas);
  const rest = Object.entries(file).filter(
    ([name]) => settingAt(decided, name) === undefined && !(hasReplicas && isReplicas(name)),
  );
  const settings: Record<string, unknown> = { ...Object.fromEntries(rest), ...inherited };
  if (replicas !== undefined) {
    delete settings.auto_expand_replicas;
    settings.number_of_replicas = replicas;
  }
  if (shards !== undefined) settings.number_of_shards = shards;
  return settings;
}

/** Parts of a mapping that are not taken over as they are. */
const NOT_RULES = new Set(["_meta", "_source", "properties"]);

/** Everything a mapping says besides its fields: dynamic rules, routing, runtime fields. */
function inheritedRules(inherit: InheritedMapping | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(inherit?.mappings ?? {}).filter(([name]) => !NOT_RULES.has(name)),
  );
}

/** What others noted in the source's `_meta`; `csplade` there tells of the source's own vectors. */
export function inheritedMeta(inherit: InheritedMapping | undefined): Record<string, unknown> {
  const meta = z.record(z.string(), z.unknown()).safeParse(inherit?.mappings._meta).data ?? {};
  return Object.fromEntries(Object.entries(meta).filter(([name]) => name !== "csplade"));
}

/** How the names of guard pipelines begin. */
export const GUARD_PREFIX = "csplade-guard-";

/** Where a guard pipeline stands. */
export type GuardPlace = "default_pipeline" | "final_pipeline";

/**
 * Name of the guard pipeline of a model. As the final one it sees csplade's own writes too, and then it
 * is another.
 */
export function guardName(model: IndexModel, place: GuardPlace = "default_pipeline"): string {
  return `${GUARD_PREFIX}${model.fingerprint}${place === "final_pipeline" ? "-final" : ""}`;
}

/**
 * The guard pipeline of a model: refuses, inside the cluster, every document whose vectors come from
 * another one, whoever writes it. As the default pipeline it also takes the hash off what others
 * write: the next ingest or reindexing sees that the document is not as it left it.
 */
export function guardPipeline(model: IndexModel, place: GuardPlace): GuardPipeline {
  const file = readTemplate("pipelines/csplade-guard.json", pipelineFileSchema);
  // Braces would be read as a mustache template.
  const name = model.name.replaceAll(/[{}]/g, "");
  const fill = (text: string) =>
    text.replaceAll("MODEL_NAME", () => name).replaceAll("FINGERPRINT", model.fingerprint);
  return {
    description: fill(file.description),
    processors: file.processors.flatMap((processor): GuardPipeline["processors"] => {
      if ("remove" in processor) return place === "final_pipeline" ? [] : [processor];
      const { fail } = processor;
      return [{ fail: { if: fill(fail.if), message: fill(fail.message) } }];
    }),
  };
}

/** The file's fields of vectors, for an index that has fields of its own. */
export function vectorFields(meta: IndexMeta, dense?: DenseField): Record<string, object> {
  const { properties } = readTemplate("mappings/index.json", indexFileSchema).mappings;
  const ours = Object.entries(properties).filter(
    ([name]) => name === VECTOR_FIELD || name.startsWith(`${VECTOR_FIELD}_`),
  );
  return {
    ...Object.fromEntries(ours),
    ...(dense === undefined ? {} : { [DENSE_FIELD]: dense.mapping }),
    [PASSAGES_FIELD]: passagesField(meta),
  };
}

function readTemplate<T>(name: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(readFileSync(path.join(packageRoot, name), "utf8")));
  } catch (cause) {
    throw new CspladeError("file_invalid", `${name} cannot be used: ${messageOf(cause)}`, {
      cause,
      hint: "It belongs to the installation: restore it as it was.",
    });
  }
}
